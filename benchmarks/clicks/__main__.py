"""Do pairs from clicks train better models if position bias is corrected? A simulation that knows the truth.

    python -m benchmarks.clicks DATA [--eta 1] [--sessions 100] [--seeds 3] [--no-models]

DATA is a BEIR folder. Its training queries are put to two rankers in rotation, and a simulated user clicks
(`benchmarks.clicks.simulation`). Measured: how far the estimated propensities are from the true ones, for
several users and sizes of log, beside other estimators; which of the pairs from the log are relevant by the
qrels, with correction, without, and as the papers have them (every document clicked often enough, weighted by
its clicks); and nDCG@10 on dev and test of the models trained on the corrected pairs and on the others, with
a paired randomisation test. Dev and test are judged by the qrels. Writes benchmarks/results/clicks.json.
eta and the number of sessions were chosen before test was scored.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.clicks.rivals import chain, expectation_maximisation
from benchmarks.clicks.simulation import Results, User, results, simulate
from benchmarks.common import RESULTS, parser_of, write_result
from retrieval.data.beir import Content, Mark, write_beir
from retrieval.data.clicks.grading import LEAST_CLICKS, grade_pairs
from retrieval.data.clicks.log import ClickLog
from retrieval.data.clicks.propensity import equal_propensities, estimate_propensities
from retrieval.data.dataset import Dataset
from retrieval.data.queries import Qrels
from retrieval.evaluation.assess import assess
from retrieval.evaluation.measures import RunMeasures
from retrieval.evaluation.provenance import provenance
from retrieval.evaluation.significance import compare_pairs
from retrieval.indexing.build import build
from retrieval.model.config import preset
from retrieval.search.modes import Mode
from retrieval.search.retriever import Retriever
from retrieval.training.recipe import Recipe
from retrieval.training.train import train

MEASURE = "nDCG@10"
DEPTH = 10
MODES: tuple[Mode, ...] = ("lexical", "dense", "hybrid")
Scores = Mapping[str, Mapping[str, RunMeasures]]  # split -> mode -> measures

# The papers' pairs are five times as many, and as long to train.
TRAINED = ("corrected", "uncorrected")

ESTIMATORS = {
    "ours": lambda log: estimate_propensities(log).values,
    "EM": expectation_maximisation,
    "adjacent chain": chain,
}


def propensity_errors(shown: Results, seeds: int) -> list[dict[str, Any]]:
    """How far estimated propensities are from the true ones: the mean factor over ranks, less 1."""
    rows = []
    for eta in (0.5, 1.0, 2.0):
        for sessions in (3, 10, 30, 100):
            user = User(eta)
            logs = [simulate(shown, user, sessions, seed) for seed in range(seeds)]
            errors = {
                name: round(statistics.mean(_error(estimate(log), user) for log in logs), 3)
                for name, estimate in ESTIMATORS.items()
            }
            rows.append({"eta": eta, "sessions": sessions, "error": errors})
            print(f"  eta {eta}, {sessions} sessions a query: error {errors}", flush=True)
    return rows


def _error(found: NDArray[np.float64], user: User) -> float:
    true = user.examines(np.arange(1, len(found) + 1))
    return float(np.exp(np.abs(np.log(np.maximum(found, 1e-6) / true)).mean()) - 1)


def pairs_of(log: ClickLog, corrected: bool, ids: tuple[str, ...]) -> Qrels:
    """The graded pairs of a log, by query and document id."""
    propensities = estimate_propensities(log) if corrected else equal_propensities(log, "as asked")
    pairs = grade_pairs(log, propensities)
    return _by_ids(log, ids, pairs.query, pairs.document, pairs.grade)


def pairs_of_papers(log: ClickLog, ids: tuple[str, ...]) -> Qrels:
    """Every pair that is clicked often enough, with its clicks as grade."""
    query, document, owner = log.pairs()
    clicks = np.bincount(owner, log.clicks).astype(np.int64)
    enough = clicks >= LEAST_CLICKS
    return _by_ids(log, ids, query[enough], document[enough], clicks[enough])


def _by_ids(log: ClickLog, ids: tuple[str, ...], *columns: NDArray[np.int64]) -> Qrels:
    qrels: Qrels = {}
    for query, document, grade in zip(*(column.tolist() for column in columns), strict=True):
        qrels.setdefault(ids[query], {})[log.documents[document]] = grade
    return qrels


def pair_quality(pairs: Qrels, truth: Qrels, shown: Results) -> dict[str, float]:
    """Which of the pairs are relevant, one by one and by grade, and how many relevant ones are there."""
    weights = {True: 0, False: 0}
    counts = {True: 0, False: 0}
    for query, grades in pairs.items():
        for document, grade in grades.items():
            relevant = truth[query].get(document, 0) > 0
            counts[relevant] += 1
            weights[relevant] += grade
    good = np.stack([shown.query, shown.document])[:, shown.relevant]
    return {
        "queries": len(pairs),
        "pairs": sum(counts.values()),
        "precision": round(counts[True] / sum(counts.values()), 4),
        "weighted_precision": round(weights[True] / sum(weights.values()), 4),
        "recall": round(counts[True] / len(np.unique(good, axis=1).T), 4),
    }


def scores_of(pairs: Qrels, dataset: Dataset, seed: int) -> Scores:
    """Train on the pairs, build, and score dev and test by the qrels of the data set."""
    dev = dataset.qrels("dev")
    with tempfile.TemporaryDirectory() as work:
        data, model, index = (Path(work) / name for name in ("data", "model", "index"))
        content = Content(dataset.documents(), dataset.queries, {"train": pairs, "dev": dev})
        write_beir(data, content, Mark("clicks.json", "benchmarks.clicks"), {})
        train(data, model, preset("lstm", False), Recipe(seed=seed))
        build(data, model, index)
        with Retriever.open(index) as retriever:
            return {
                split: assess(retriever, dataset.queries, dataset.qrels(split), list(MODES)).measures
                for split in ("dev", "test")
            }


def models(kinds: Mapping[str, Qrels], dataset: Dataset) -> dict[str, Any]:
    """NDCG@10 of the model of each kind of pairs, and tests of the first kind against the others."""
    scores = {}
    for name, pairs in kinds.items():
        scores[name] = scores_of(pairs, dataset, 0)
        print(f"  {name:12} {_means(scores[name])}", flush=True)
    first, *others = kinds
    tests = {
        f"{split} {mode}": [
            test.as_json()
            for test in compare_pairs(
                {name: scores[name][split][mode] for name in kinds},
                [(first, other) for other in others],
                MEASURE,
            )
        ]
        for split in ("dev", "test")
        for mode in ("dense", "hybrid")
    }
    return {"nDCG@10": {name: _means(found) for name, found in scores.items()}, "tests": tests}


def _means(scores: Scores) -> dict[str, dict[str, float]]:
    return {
        split: {mode: round(found.mean(MEASURE), 4) for mode, found in modes.items()}
        for split, modes in scores.items()
    }


def main() -> None:
    """Measure, print and write the result."""
    parser = parser_of(__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--eta", type=float, default=1.0)
    parser.add_argument("--sessions", type=float, default=100)
    parser.add_argument("--seeds", type=int, default=3, help="logs of each size, for the propensities")
    parser.add_argument("--no-models", action="store_true")
    options = parser.parse_args()
    dataset = Dataset(options.data)
    truth = dataset.qrels("train")
    shown = results(dataset, "train", DEPTH)
    errors = propensity_errors(shown, options.seeds)
    log = simulate(shown, User(options.eta), options.sessions, 0)
    kinds = {
        "corrected": pairs_of(log, True, shown.query_ids),
        "uncorrected": pairs_of(log, False, shown.query_ids),
        "papers": pairs_of_papers(log, shown.query_ids),
    }
    quality = {name: pair_quality(pairs, truth, shown) for name, pairs in kinds.items()}
    trained = {name: kinds[name] for name in TRAINED}
    for name, found in quality.items():
        print(f"  {name:12} {found}", flush=True)
    result = {
        **provenance(
            f"python -m benchmarks.clicks {options.data.name} --eta {options.eta:g} "
            f"--sessions {options.sessions:g} --seeds {options.seeds}"
        ),
        "log": {
            "queries": len(log.queries),
            "cells": len(log.rank),
            "impressions": int(log.impressions.sum()),
            "clicks": int(log.clicks.sum()),
            "propensities": estimate_propensities(log).values.round(3).tolist(),
        },
        "propensity_errors": errors,
        "pairs": quality,
        **({} if options.no_models else models(trained, dataset)),
    }
    if not options.no_models:
        write_result(RESULTS / "clicks.json", result)


if __name__ == "__main__":
    main()
