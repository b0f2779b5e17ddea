"""Do the towers earn their place? Each tower on each data set, several seeds, on the test split.

    python -m benchmarks.towers DATA... [--seeds 3] [--towers lstm cnn dnn bag lstm-paper] [--teacher FOLDER]

DATA are BEIR folders. Every tower is trained by the defaults of `peephole train`, which are the same for all
sets and were chosen on dev; towers have the same table and differ in what follows it, within 5 % of each
other's parameters (the paper's LSTM apart). FOLDER has a teacher's vectors of each set, SET.npz, as `peephole
train --teacher` takes them; with it comes a row lstm-teacher. Prints a table a set, dense and hybrid, mean
and spread over seeds (the paper's LSTM and the one with a teacher are trained once), with paired
randomisation tests of the seeds' mean against the bag, dense and hybrid, and BM25, and writes
benchmarks/results/towers-SET.json.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import RESULTS, write_result
from retrieval.data.dataset import Dataset
from retrieval.evaluation.assess import assess
from retrieval.evaluation.measures import RunMeasures
from retrieval.evaluation.provenance import machine
from retrieval.evaluation.significance import holm, paired_test
from retrieval.indexing.build import build
from retrieval.model.config import preset
from retrieval.search.retriever import Retriever
from retrieval.training.loop import Recipe
from retrieval.training.train import TrainingResult, train

MEASURE = "nDCG@10"
TOWERS = ("lstm", "cnn", "dnn", "bag", "lstm-paper")


def run_tower(
    name: str, data: Path, seed: int, teacher: Path | None
) -> tuple[TrainingResult, Mapping[str, RunMeasures]]:
    """Train, build and score one tower: what training reached, and the test scores of each mode."""
    tower, _, kind = name.partition("-")
    dataset = Dataset(data)
    queries = dataset.queries
    qrels = dataset.qrels("test")
    with tempfile.TemporaryDirectory() as folder:
        model, index = Path(folder) / "model", Path(folder) / "index"
        trained = train(
            data,
            model,
            preset(tower, kind == "paper"),  # type: ignore[arg-type]
            Recipe(seed=seed),
            teacher=str(teacher / f"{data.name}.npz") if teacher and kind == "teacher" else None,
        )
        build(data, model, index)
        with Retriever.open(index) as retriever:
            return trained, assess(retriever, queries, qrels, ["lexical", "dense", "hybrid"]).measures


def mean_scores(runs: Sequence[RunMeasures]) -> RunMeasures:
    """Each query's value averaged over the seeds' runs, for tests that compare towers and not seeds."""
    values = {MEASURE: np.mean([run.of(MEASURE) for run in runs], axis=0)}
    return RunMeasures(runs[0].query_ids, values)


def table(data: Path, towers: Sequence[str], seeds: int, teacher: Path | None) -> dict[str, Any]:
    """All towers on one set."""
    rows: dict[str, Any] = {}
    scores: dict[str, dict[str, RunMeasures]] = {}
    for name in towers:
        runs = [run_tower(name, data, seed, teacher) for seed in range(1 if "-" in name else seeds)]
        for mode in ("lexical", "dense", "hybrid"):
            scores.setdefault(name, {})[mode] = mean_scores([found[mode] for _, found in runs])
        rows[name] = {
            "parameters": runs[0][0].parameters,
            "seeds": len(runs),
            "seconds": round(statistics.mean(trained.seconds for trained, _ in runs)),
            **{
                mode: _spread([found[mode].mean(MEASURE) for _, found in runs])
                for mode in ("dense", "hybrid")
            },
            "dev_dense": _spread([trained.dev[MEASURE] for trained, _ in runs]),
            "R@10": _spread([found["dense"].mean("R@10") for _, found in runs]),
        }
        print(f"  {name:10} {rows[name]}", flush=True)
    bm25 = scores[towers[0]]["lexical"]
    contests = [
        (name, mode, f"{mode} against bag's", scores["bag"][mode])
        for mode in ("dense", "hybrid")
        for name in towers
        if name != "bag" and "bag" in towers
    ]
    contests += [(name, "dense", "dense against BM25", bm25) for name in towers]
    found = [paired_test(scores[name][mode], other, MEASURE) for name, mode, _, other in contests]
    for (name, _, title, _), one, p in zip(contests, found, holm([c.p_value for c in found]), strict=True):
        rows[name][title] = {"difference": round(one.difference, 4), "p_holm": round(p, 5)}
    return {"BM25": round(bm25.mean(MEASURE), 4), "towers": rows}


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {
        "mean": round(statistics.mean(values), 4),
        "spread": round(max(values) - min(values), 4),
    }


def main() -> None:
    """Run the tables and write the results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--towers", nargs="+", choices=TOWERS, default=TOWERS)
    parser.add_argument("--teacher", type=Path)
    options = parser.parse_args()
    towers = [*options.towers, *(["lstm-teacher"] if options.teacher else [])]
    for data in options.data:
        print(data.name, flush=True)
        result = {
            "machine": machine(),
            "date": datetime.now(UTC).date().isoformat(),
            "command": f"python -m benchmarks.towers {data.name} --seeds {options.seeds}"
            + (" --teacher FOLDER" if options.teacher else ""),
            "measure": MEASURE,
            "split": "test",
            **table(data, towers, options.seeds, options.teacher),
        }
        write_result(RESULTS / f"towers-{data.name}.json", result)


if __name__ == "__main__":
    main()
