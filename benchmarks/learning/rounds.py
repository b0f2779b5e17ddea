"""Does an index get better from being used? Rounds of search, click, learn, from a model without pairs.

In: a BEIR folder. Out: nDCG@10 on dev and test after every round, and what every round decided. The first
model is trained on the bare corpus. In each round a part of the training queries is searched by simulated
people, who click what the qrels of train call relevant; the clicks are recorded, and `learn` does the rest
with its own settings. Nothing is chosen by dev or test here.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.learning.people import Visits, people, record, some_queries
from retrieval.data.beir import Content, Mark, write_beir
from retrieval.data.dataset import Dataset
from retrieval.evaluation.assess import rank_all
from retrieval.evaluation.measures import evaluate_run
from retrieval.indexing.build import build
from retrieval.learning.learn import learn
from retrieval.model.config import preset
from retrieval.search.modes import Mode
from retrieval.search.retriever import Retriever
from retrieval.training.recipe import Recipe
from retrieval.training.train import train

MEASURE = "nDCG@10"
SPLITS = ("dev", "test")
MODES: tuple[Mode, ...] = ("dense", "hybrid")

Row = dict[str, Any]


def begin(dataset: Dataset, work: Path) -> Path:
    """An index by a model that was trained on the bare corpus."""
    write_beir(
        work / "bare", Content(dataset.documents(), {}, {}), Mark("bare.json", "benchmarks.learning"), {}
    )
    train(work / "bare", work / "bare.model", preset("lstm"), Recipe())
    build(work / "bare", work / "bare.model", work / "index")
    return work / "index"


def rounds(
    dataset: Dataset,
    index: Path,
    log: Path,
    count: int,
    parts: int,
    sessions: float,
    note: Callable[[Row], None],
) -> list[Row]:
    """Let an index be used and learn `count` times; a row for the beginning and one a round.

    dataset: the data set.
    index: the index, which is changed.
    log: the file to record to.
    parts: of the training queries one part is searched each round.
    sessions: searches a query and round on average.
    note: called with each row.
    """
    rows = [{"round": 0, **scores(dataset, index)}]
    note(rows[0])
    for number in range(1, count + 1):
        start = time.perf_counter()
        asked = some_queries(dataset, "train", (number - 1) % parts, parts)
        with Retriever.open(index) as retriever:
            searches, clicks = record(log, retriever, dataset, asked, Visits(people, sessions, number))
        outcome = learn(index, log)
        row = {
            "round": number,
            "searches": searches,
            "clicks": clicks,
            "published": outcome.published,
            "reason": outcome.reason,
            "pairs": outcome.counts.click_pairs,
            "held_out_queries": outcome.counts.held_out_queries,
            **scores(dataset, index),
            "took_s": round(time.perf_counter() - start),
        }
        rows.append(row)
        note(row)
    return rows


def scores(dataset: Dataset, index: Path) -> dict[str, dict[str, float]]:
    """Mean nDCG@10 by split and mode."""
    with Retriever.open(index) as retriever:
        return {split: {mode: _score(retriever, dataset, split, mode) for mode in MODES} for split in SPLITS}


def _score(retriever: Retriever, dataset: Dataset, split: str, mode: Mode) -> float:
    qrels = dataset.qrels(split)
    run = rank_all(retriever, dataset.queries, qrels, mode)
    return round(evaluate_run(qrels, run, [MEASURE]).mean(MEASURE), 4)
