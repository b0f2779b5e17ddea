"""Do the towers earn their place? Each tower on each data set, several seeds, on the test split.

    python -m benchmarks.towers DATA... [--seeds 3] [--towers lstm lstm-plain cnn dnn bag lstm-paper]
        [--teacher FOLDER] [--models FOLDER]

DATA are BEIR folders. Every tower is trained by the defaults of `peephole train`, which are the same for all
sets and were chosen on dev; towers have the same table and differ in what follows it, within 5 % of each
other's parameters (the paper's LSTM apart). `lstm-plain` is the LSTM with its peepholes held at zero. With
--teacher, a folder of a teacher's vectors of each set, SET.npz, as `peephole train --teacher` takes them,
comes a row lstm-teacher. With --models the trained models stay in a folder, as SET-TOWER-SEED, and those that
are there already are measured and not trained; a training that was cut short goes on.

Prints a table a set, mean and spread over seeds (the paper's LSTM and the one with a teacher are trained
once), of the dense ranking, of its fusion with BM25, and of the final ranking, which re-scores by words where
the model has learned to. Paired randomisation tests of the seeds' mean hold each tower against the bag in the
three, its dense ranking against BM25, and the LSTM against the plain one. Writes
benchmarks/results/towers-SET.json; with --towers the file is named by these too.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import RESULTS, parser_of, write_result
from retrieval.data.dataset import Dataset
from retrieval.evaluation.assess import rank_all
from retrieval.evaluation.measures import RunMeasures, evaluate_run
from retrieval.evaluation.provenance import machine
from retrieval.evaluation.significance import holm, paired_test
from retrieval.indexing.build import build
from retrieval.model.config import preset
from retrieval.model.folder import FILES
from retrieval.search.retriever import Retriever
from retrieval.training.recipe import Recipe
from retrieval.training.train import train

MEASURE = "nDCG@10"
MEASURES = (MEASURE, "R@10")
TOWERS = ("lstm", "lstm-plain", "cnn", "dnn", "bag", "lstm-paper")
RANKINGS = ("dense", "fused", "final")
_TRAINED_ONCE = ("lstm-paper", "lstm-teacher")


@contextmanager
def with_and_without(index: Path) -> Iterator[tuple[Retriever, Retriever]]:
    """An index opened twice: as if its model did not re-score, and as it is."""
    with Retriever.open(index) as plain, Retriever.open(index) as rescored:
        plain._opened.rescoring = None
        yield plain, rescored


def train_tower(name: str, data: Path, seed: int, teacher: Path | None, model: Path) -> None:
    """Train one tower, or go on where its training was cut short, unless its model is there already."""
    if (model / FILES.config).exists():
        return
    tower, _, kind = name.partition("-")
    train(
        data,
        model,
        preset(tower, kind == "paper"),  # type: ignore[arg-type]
        Recipe(seed=seed, peepholes=kind != "plain"),
        teacher=str(teacher / f"{data.name}.npz") if teacher and kind == "teacher" else None,
        resume=True,
    )


def test_scores(
    data: Path, model: Path, measures: Sequence[str] = MEASURES, trained_on: Path | None = None
) -> dict[str, RunMeasures]:
    """The test scores of a model's rankings, and of BM25.

    data: the data set.
    model: the model folder.
    measures: what is measured.
    trained_on: the data set that the model knows, if that is another with the same documents; the index has
        the known queries of this one.
    """
    dataset = Dataset(data)
    qrels = dataset.qrels("test")
    with tempfile.TemporaryDirectory() as folder:
        index = Path(folder) / "index"
        build(trained_on or data, model, index)
        with with_and_without(index) as (plain, whole):
            runs = {
                "BM25": rank_all(plain, dataset.queries, qrels, "lexical"),
                "dense": rank_all(plain, dataset.queries, qrels, "dense"),
                "fused": rank_all(plain, dataset.queries, qrels, "hybrid"),
                "final": rank_all(whole, dataset.queries, qrels, "hybrid"),
            }
    return {ranking: evaluate_run(qrels, run, measures) for ranking, run in runs.items()}


def mean_scores(runs: Sequence[RunMeasures]) -> RunMeasures:
    """Each query's value averaged over the seeds' runs, for tests that compare towers and not seeds."""
    values = {MEASURE: np.mean([run.of(MEASURE) for run in runs], axis=0)}
    return RunMeasures(runs[0].query_ids, values)


def table(
    data: Path, towers: Sequence[str], seeds: int, teacher: Path | None, models: Path
) -> dict[str, Any]:
    """All towers on one set."""
    rows: dict[str, Any] = {}
    scores: dict[str, dict[str, RunMeasures]] = {}
    for name in towers:
        folders = [
            models / f"{data.name}-{name}-{seed}" for seed in range(1 if name in _TRAINED_ONCE else seeds)
        ]
        for seed, model in enumerate(folders):
            train_tower(name, data, seed, teacher, model)
        trained = [json.loads((model / FILES.training).read_text()) for model in folders]
        runs = [test_scores(data, model) for model in folders]
        scores[name] = {ranking: mean_scores([run[ranking] for run in runs]) for ranking in runs[0]}
        rows[name] = {
            "parameters": trained[0]["parameters"],
            "seeds": len(runs),
            "seconds": round(statistics.mean(each["seconds"] for each in trained)),
            **{ranking: _spread([run[ranking].mean(MEASURE) for run in runs]) for ranking in RANKINGS},
            "dev_dense": _spread([each["dev"][MEASURE] for each in trained]),
            "R@10": _spread([run["dense"].mean("R@10") for run in runs]),
        }
        print(f"  {name:10} {rows[name]}", flush=True)
    for (name, title), contest in contests(scores).items():
        rows[name][title] = contest
        print(f"  {name:10} {title}: {contest}", flush=True)
    return {"BM25": round(scores[towers[0]]["BM25"].mean(MEASURE), 4), "towers": rows}


def contests(scores: Mapping[str, Mapping[str, RunMeasures]]) -> dict[tuple[str, str], dict[str, float]]:
    """Differences and corrected p-values, by tower and title.

    scores: by tower and ranking.
    """
    others = {name: rankings for name, rankings in scores.items() if name != "bag"}
    pairs = {
        (name, f"{ranking} against bag's"): (of[ranking], scores["bag"][ranking])
        for ranking in RANKINGS
        for name, of in others.items()
        if "bag" in scores
    }
    pairs |= {(name, "dense against BM25"): (of["dense"], of["BM25"]) for name, of in scores.items()}
    if {"lstm", "lstm-plain"} <= scores.keys():
        pairs |= {
            ("lstm", f"{ranking} against lstm-plain's"): (
                scores["lstm"][ranking],
                scores["lstm-plain"][ranking],
            )
            for ranking in RANKINGS
        }
    found = [paired_test(ours, theirs, MEASURE) for ours, theirs in pairs.values()]
    return {
        title: {"difference": round(one.difference, 4), "p_holm": round(p, 5)}
        for title, one, p in zip(pairs, found, holm([one.p_value for one in found]), strict=True)
    }


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {
        "mean": round(statistics.mean(values), 4),
        "spread": round(max(values) - min(values), 4),
    }


def main() -> None:
    """Run the tables and write the results."""
    parser = parser_of(__doc__)
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--towers", nargs="+", choices=TOWERS, default=TOWERS)
    parser.add_argument("--teacher", type=Path)
    parser.add_argument("--models", type=Path)
    options = parser.parse_args()
    chosen = tuple(options.towers) != TOWERS
    towers = [*options.towers, *(["lstm-teacher"] if options.teacher else [])]
    with tempfile.TemporaryDirectory() as temporary:
        for data in options.data:
            print(data.name, flush=True)
            result = {
                "machine": machine(),
                "date": datetime.now(UTC).date().isoformat(),
                "command": f"python -m benchmarks.towers {data.name} --seeds {options.seeds}"
                + (f" --towers {' '.join(options.towers)}" if chosen else "")
                + (" --teacher FOLDER" if options.teacher else ""),
                "measure": MEASURE,
                "split": "test",
                **table(data, towers, options.seeds, options.teacher, options.models or Path(temporary)),
            }
            name = "-".join(["towers", data.name, *(options.towers if chosen else [])])
            write_result(RESULTS / f"{name}.json", result)


if __name__ == "__main__":
    main()
