"""From a file of pairs to the first answer, in two commands: how long it takes from each kind of file.

    python -m benchmarks.pairs DATA [--rows 2000] [--work FOLDER]

DATA: a BEIR folder. The first ROWS judged pairs of its training split, question and answer, are written as
faq.csv, faq.jsonl and faq.parquet. From each, `peephole train` and `peephole build` run as a user runs them,
with default settings, each in its own process; then a test question is searched, and `peephole evaluate`
scores the queries that training left out. Times are seconds of whole processes. The models' weights, and all
files of the indexes but those that hold times, are compared byte for byte.
Prints a table and writes benchmarks/results/pairs.json.
"""

from __future__ import annotations

import csv
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.common import RESULTS, ROOT, command_of, parser_of, write_result
from retrieval.data.dataset import Dataset
from retrieval.data.pairs.joining import split_of
from retrieval.evaluation.provenance import provenance

COMMAND = (sys.executable, str(ROOT / "cli.py"))
KINDS = ("csv", "jsonl", "parquet")
WITH_TIMES = frozenset({"training.json", "manifest.json", ".lock", "CURRENT"})

Row = dict[str, str]


def pairs(data: Path, count: int) -> list[Row]:
    """Questions and answers of a data set, in the order of its qrels."""
    dataset = Dataset(data)
    texts = {one.id: f"{one.title}\n{one.text}".strip() for one in dataset.documents()}
    judged = ((query, document) for query, grades in dataset.qrels("train").items() for document in grades)
    return [
        {"question": dataset.queries[query], "answer": texts[document]}
        for query, document in islice(judged, count)
    ]


def write_table(path: Path, rows: list[Row]) -> None:
    """Write the rows as the kind of file that the name says."""
    if path.suffix == ".parquet":
        import pyarrow
        from pyarrow import parquet

        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
        return
    with path.open("w", encoding="utf-8", newline="") as file:
        if path.suffix == ".csv":
            table = csv.DictWriter(file, list(rows[0]))
            table.writeheader()
            table.writerows(rows)
        else:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def run(*arguments: object) -> tuple[float, Any]:
    """Seconds of a command as a process of its own, and the JSON it prints."""
    start = time.perf_counter()
    command = [*COMMAND, *map(str, arguments), "--json"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return round(time.perf_counter() - start, 2), json.loads(done.stdout)


def digest(folder: Path) -> str:
    """A digest of the names and contents of the files that hold no times."""
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*")):
        if file.is_file() and file.name not in WITH_TIMES and "report" not in file.parts:
            content = hashlib.sha256(file.read_bytes()).hexdigest()
            digest.update(f"{file.relative_to(folder)}\0{content}\n".encode())
    return digest.hexdigest()


def measure(table: Path, question: str) -> dict[str, Any]:
    """What one kind of file takes and gives."""
    model, index = table.with_suffix(f"{table.suffix}.model"), table.with_suffix(f"{table.suffix}.index")
    train, trained = run("train", table, "-o", model)
    build, _ = run("build", table, "-m", model, "-o", index)
    search, found = run("search", index, question)
    _, scores = run("evaluate", index, table)
    return {
        "bytes": table.stat().st_size,
        "data": trained["data"],
        "train_s": train,
        "build_s": build,
        "search_s": search,
        "nothing_to_first_answer_s": round(train + build + search, 2),
        "first_answer": found["hits"][0]["id"],
        "nDCG@10": {mode: round(values["nDCG@10"], 4) for mode, values in scores["modes"].items()},
        "test_queries": scores["queries"],
        "weights_sha256": hashlib.sha256((model / "weights.safetensors").read_bytes()).hexdigest(),
        "model_sha256": digest(model),
        "index_sha256": digest(index),
    }


def print_table(kinds: dict[str, dict[str, Any]]) -> None:
    print(f"{'':8} {'train s':>8} {'build s':>8} {'search s':>8} {'all s':>8} {'dense':>7} {'hybrid':>7}")
    for kind, one in kinds.items():
        times = (one["train_s"], one["build_s"], one["search_s"], one["nothing_to_first_answer_s"])
        said = " ".join(f"{value:8.2f}" for value in times)
        print(f"{kind:8} {said} {one['nDCG@10']['dense']:7.4f} {one['nDCG@10']['hybrid']:7.4f}")


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--output", type=Path, default=RESULTS / "pairs.json")
    options = parser.parse_args()
    rows = pairs(options.data, options.rows)
    question = next(row["question"] for row in rows if split_of(row["question"]) == "test")
    kinds: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        work = options.work or Path(folder)
        work.mkdir(parents=True, exist_ok=True)
        for kind in KINDS:
            table = work / f"faq.{kind}"
            write_table(table, rows)
            kinds[kind] = measure(table, question)
    same = {
        name: len({one[f"{name}_sha256"] for one in kinds.values()}) == 1
        for name in ("weights", "model", "index")
    }
    facts = {"rows": len(rows), "question": question, "same_bytes": same, "kinds": kinds}
    write_result(options.output, {**provenance(command_of("benchmarks.pairs")), **facts})
    print_table(kinds)
    print(f"the same to the byte: {same}")


if __name__ == "__main__":
    main()
