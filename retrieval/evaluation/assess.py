"""An index against a data set: every mode's measures, the ANN index's recall, the latency of one query.

In: an open Retriever, queries and qrels. Out: `Assessment`. Knows nothing of files or printing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from index.ranking import Ranking
from retrieval.data.queries import Qrels
from retrieval.evaluation.measures import (
    DEFAULT_MEASURES,
    Scores,
    ann_recall,
    evaluate_run,
    latency_percentiles,
)
from retrieval.evaluation.runs import Run
from retrieval.search.retriever import Mode, Retriever

_DEPTH = 100
_BATCH = 256
# Single queries timed for the latency percentiles: enough for a p99, few enough to take seconds.
_TIMED = 500

Report = Callable[[str, int, int | None], None]


@dataclass(frozen=True)
class Assessment:
    """Scores and run of each mode; recall of the dense index against exact search; milliseconds for one
    query, text to hits.
    """

    scores: Mapping[str, Scores]
    runs: Mapping[str, Run]
    ann: Mapping[str, float]
    latency_ms: Mapping[str, float]


def assess(
    retriever: Retriever,
    queries: Mapping[str, str],
    qrels: Qrels,
    modes: Sequence[Mode],
    *,
    measures: Sequence[str] = DEFAULT_MEASURES,
    report: Report = lambda stage, done, total: None,
) -> Assessment:
    """Search every judged query in every mode, `_DEPTH` deep, with the whole corpus as candidates.

    queries: text of each judged query by id. Raises InputError as `evaluate_run` does.
    """
    texts = [queries[name] for name in qrels]
    runs: dict[str, Run] = {mode: rank_all(retriever, queries, qrels, mode, report) for mode in modes}
    scores = {mode: evaluate_run(qrels, run, measures) for mode, run in runs.items()}
    return Assessment(scores, runs, _ann(retriever, texts), _latency(retriever, texts, modes))


def rank_all(
    retriever: Retriever,
    queries: Mapping[str, str],
    qrels: Qrels,
    mode: Mode,
    report: Report = lambda stage, done, total: None,
) -> dict[str, dict[str, float]]:
    """The run of every judged query, `_DEPTH` deep; queries: text of each by id."""
    names = list(qrels)
    run: dict[str, dict[str, float]] = {}
    for start in range(0, len(names), _BATCH):
        batch = names[start : start + _BATCH]
        run |= _run(retriever, batch, retriever.rank([queries[name] for name in batch], _DEPTH, mode))
        report(mode, min(start + _BATCH, len(names)), len(names))
    return run


def _run(retriever: Retriever, names: Sequence[str], ranking: Ranking) -> dict[str, dict[str, float]]:
    wanted = np.unique(ranking.rows[ranking.rows >= 0]).tolist()
    ids = {row: document.id for row, document in zip(wanted, retriever.index.documents(wanted), strict=True)}
    return {
        name: {ids[row]: score for row, score in zip(rows, scores, strict=True) if row >= 0}
        for name, rows, scores in zip(names, ranking.rows.tolist(), ranking.scores.tolist(), strict=True)
    }


def _ann(retriever: Retriever, texts: Sequence[str]) -> dict[str, float]:
    vectors = retriever.encode(texts[:1000])
    found = retriever.index.search_dense(vectors, _DEPTH)
    # A little deeper, so that documents that score the same as the last one count as found too.
    exact = retriever.index.search_exact(vectors, _DEPTH + 20)
    return {f"recall@{k}": ann_recall(found.rows, exact.rows, k, exact.scores) for k in (10, 100)}


def _latency(retriever: Retriever, texts: Sequence[str], modes: Sequence[Mode]) -> dict[str, float]:
    """Of a person's search: ten hits in the richest of the modes."""
    mode = modes[-1]
    seconds = []
    for text in texts[:_TIMED]:
        if text.strip():
            start = time.perf_counter()
            retriever.search(text, 10, mode)
            seconds.append(time.perf_counter() - start)
    return latency_percentiles(seconds)
