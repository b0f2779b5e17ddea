"""Encoding files on Ray beside `peephole encode` alone: documents a second, and a driver that is killed.

    python -m benchmarks.encoding CORPUS MODEL [--documents 669357] [--files 16] [--repeats 3]

CORPUS is written as one JSONL file and as FILES Parquet files. `peephole encode` of the one, to a Parquet
file, and `peephole encode --ray local` of the many take turns. Seconds are those of whole processes; what the
start of Ray takes of them is measured with two files of a document each. Then a run on Ray is killed with
SIGKILL when half of the files are there, and resumed. Ids and vectors are compared.
On a machine that others use too only ratios mean anything; the load is recorded.
Prints a table and writes benchmarks/results/encoding.json.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
from pyarrow import parquet

from benchmarks.common import RESULTS, ROOT, command_of, parser_of, write_result
from retrieval.data.dataset import Dataset
from retrieval.evaluation.provenance import provenance

COMMAND = (sys.executable, str(ROOT / "cli.py"), "encode")


def write_corpus(corpus: Path, count: int, files: int, work: Path) -> int:
    """Write all.jsonl, many/*.parquet and one.parquet; returns the number of documents."""
    documents = [(d.id, d.title, d.text) for d in islice(Dataset(corpus).documents(), count)]
    rows = [dict(zip(("_id", "title", "text"), document, strict=True)) for document in documents]
    with (work / "all.jsonl").open("w") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    (work / "many").mkdir()
    (work / "few").mkdir()
    for number in range(files):
        part = rows[number * len(rows) // files : (number + 1) * len(rows) // files]
        parquet.write_table(pyarrow.Table.from_pylist(part), work / "many" / f"part-{number:03}.parquet")
    for number in range(2):
        parquet.write_table(pyarrow.Table.from_pylist(rows[:1]), work / "few" / f"{number}.parquet")
    return len(rows)


def seconds(*arguments: object) -> tuple[float, dict[str, Any]]:
    """Seconds of `peephole encode` and what it prints."""
    start = time.perf_counter()
    command = [*COMMAND, *map(str, arguments), "--json"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return time.perf_counter() - start, json.loads(done.stdout)


def vectors(paths: list[Path]) -> tuple[list[str], np.ndarray]:
    """Ids and vectors of Parquet files, one after the other."""
    tables = [parquet.read_table(path) for path in paths]
    ids = [one for table in tables for one in table["id"].to_pylist()]
    flat = [table["vector"].combine_chunks().values.to_numpy() for table in tables]
    return ids, np.concatenate(flat).reshape(len(ids), -1)


def kill_and_resume(model: Path, work: Path, files: int) -> dict[str, Any]:
    """Kill a run on Ray when half of the files are there; resume, and look which files were made again."""
    output = work / "killed-files"
    arguments = [str(work / "many" / "*.parquet"), "-m", str(model), "-o", str(output), "--ray", "local"]
    driver = subprocess.Popen([*COMMAND, *arguments])
    while len(list(output.glob("*.parquet"))) < files // 2:
        assert driver.poll() is None
        time.sleep(0.01)
    driver.kill()
    driver.wait()
    time.sleep(2)  # Ray ends by itself when it has seen that the driver is gone
    there = {path: path.stat().st_mtime_ns for path in output.glob("*.parquet")}
    took, told = seconds(*arguments, "--resume")
    return {
        "there_after_the_kill": len(there),
        "kept": told["kept"],
        "made_again": sum(path.stat().st_mtime_ns != then for path, then in there.items()),
        "files": told["files"],
        "left_over": len(list(output.glob(".*"))),
        "resumed_s": round(took, 1),
    }


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("--documents", type=int, default=669_357)
    parser.add_argument("--files", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    model = options.model.resolve()
    loads = [os.getloadavg()[0]]
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        count = write_corpus(options.corpus, options.documents, options.files, work)
        alone, ray, start = [], [], []
        for _ in range(options.repeats):
            alone.append(seconds(work / "all.jsonl", "-m", model, "-o", work / "alone.parquet")[0])
            many = work / "many" / "*.parquet"
            ray.append(seconds(many, "-m", model, "-o", work / "ray", "--ray", "local")[0])
            few = work / "few" / "*.parquet"
            start.append(seconds(few, "-m", model, "-o", work / "few-out", "--ray", "local")[0])
            loads.append(os.getloadavg()[0])
        resumed = kill_and_resume(model, work, options.files)
        ids, expected = vectors([work / "alone.parquet"])
        same = {}
        for name in ("ray", "killed-files"):
            found_ids, found = vectors(sorted((work / name).glob("*.parquet")))
            assert found_ids == ids
            same[name] = float(np.abs(found - expected).max())
    facts = {
        "documents": count,
        "files": options.files,
        "seconds": {
            name: [round(one, 1) for one in times]
            for name, times in (("alone", alone), ("ray", ray), ("ray_start", start))
        },
        "documents_a_second": {
            "alone": round(count / statistics.median(alone)),
            "ray": round(count / statistics.median(ray)),
            "ray_without_its_start": round(count / (statistics.median(ray) - statistics.median(start))),
        },
        "ray_to_alone": round(statistics.median(a / r for a, r in zip(alone, ray, strict=True)), 2),
        "largest_difference_of_a_component": same,
        "killed_and_resumed": resumed,
        "load_averages": [round(load, 1) for load in loads],
    }
    write_result(RESULTS / "encoding.json", {**provenance(command_of("benchmarks.encoding")), **facts})
    for name, value in facts.items():
        print(f"{name:36} {value}")


if __name__ == "__main__":
    main()
