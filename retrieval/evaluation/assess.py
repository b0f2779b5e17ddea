"""Measurement of an index on judged queries: measures of every mode, recall of its ANN index, latency.

In: an open Retriever, queries and qrels. Out: an `Assessment`. Knows nothing of files or printing.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from index.ranking import Ranking
from index.values import Progress, no_progress
from retrieval.data.queries import Qrels
from retrieval.evaluation.calibration import Calibrated, calibration_error, reliability
from retrieval.evaluation.measures import (
    DEFAULT_MEASURES,
    RunMeasures,
    ann_recall,
    cutoff_of,
    evaluate_run,
    latency_percentiles,
)
from retrieval.evaluation.runs import Run
from retrieval.search.modes import Mode
from retrieval.search.retriever import Retriever

_DEPTH = 100
_BATCH = 256
# Number of single queries that are timed: enough for a 99th percentile, and done in seconds.
_TIMED = 500
_CALIBRATED_HITS = 10


@dataclass(frozen=True)
class Assessment:
    """What was measured of an index."""

    measures: Mapping[str, RunMeasures]  # by mode
    runs: Mapping[str, Run]  # by mode
    ann: Mapping[str, float]  # recall of the dense index against exact search: "recall@10", "recall@100"
    latency_ms: Mapping[str, float]  # of one query, from text to hits: "p50", "p95", "p99"
    calibrated: Calibrated | None = None  # of the last mode; None if the model has no calibration


def assess(
    retriever: Retriever,
    queries: Mapping[str, str],
    qrels: Qrels,
    modes: Sequence[Mode],
    *,
    measures: Sequence[str] = DEFAULT_MEASURES,
    progress: Progress = no_progress,
) -> Assessment:
    """Search every judged query in every mode, `depth_of` the measures deep, in all documents of the index.

    retriever: the index, open.
    queries: query id to text; has every judged query.
    qrels: the judgements.
    modes: the modes to search in; the last one is timed.
    measures: names of ir-measures.
    progress: is called after each batch of queries.
    Raises InputError as `evaluate_run` does.
    """
    texts = [queries[query_id] for query_id in qrels]
    depth = depth_of(measures)
    runs: dict[str, Run] = {
        mode: rank_all(retriever, queries, qrels, mode, progress, depth=depth) for mode in modes
    }
    values = {mode: evaluate_run(qrels, run, measures) for mode, run in runs.items()}
    return Assessment(
        values,
        runs,
        _ann(retriever, texts),
        _latency(retriever, texts, modes[-1]),
        assess_calibration(retriever, queries, qrels, modes[-1], progress),
    )


def depth_of(measures: Sequence[str]) -> int:
    """How deep rankings must be for some measures: 100, or the largest cutoff. Raises as `cutoff_of`."""
    return max([_DEPTH, *(cutoff_of(name) or 1 for name in measures)])


def assess_calibration(
    retriever: Retriever,
    queries: Mapping[str, str],
    qrels: Qrels,
    mode: Mode,
    progress: Progress = no_progress,
) -> Calibrated | None:
    """How well the probabilities of the first ten hits agree with the judgements.

    retriever: the index, open.
    queries: query id to text; has every judged query.
    qrels: the judgements; a hit without one counts as not relevant.
    mode: the mode to search in.
    progress: is called after each batch of queries.
    Returns None if the model has no calibration.
    """
    if retriever.calibration is None:
        return None
    query_ids = [query_id for query_id in qrels if queries[query_id].strip()]
    found: list[tuple[int, float, bool]] = []  # rank, probability, whether relevant
    for start in range(0, len(query_ids), _BATCH):
        batch = query_ids[start : start + _BATCH]
        for query_id, hits in zip(
            batch,
            retriever.search_all([queries[query_id] for query_id in batch], _CALIBRATED_HITS, mode),
            strict=True,
        ):
            grades = qrels[query_id]
            found += [(hit.rank, hit.probability or 0.0, grades.get(hit.id, 0) > 0) for hit in hits]
        progress("probabilities", min(start + _BATCH, len(query_ids)), len(query_ids))
    # Three columns, also where no query has a hit.
    ranks, probabilities, relevant = np.array(found, float).reshape(-1, 3).T
    relevant, first = relevant.astype(bool), ranks == 1
    return Calibrated(
        mode,
        calibration_error(probabilities[first], relevant[first]),
        calibration_error(probabilities, relevant),
        reliability(probabilities[first], relevant[first]),
    )


def rank_all(
    retriever: Retriever,
    queries: Mapping[str, str],
    qrels: Qrels,
    mode: Mode,
    progress: Progress = no_progress,
    *,
    depth: int = _DEPTH,
    as_typed: bool = False,
) -> dict[str, dict[str, float]]:
    """The run of every judged query in one mode.

    retriever: the index, open.
    queries: query id to text; has every judged query.
    qrels: the judgements, whose query ids are searched.
    mode: the mode to search in.
    progress: is called after each batch of queries.
    depth: documents of each query, 100 by default.
    as_typed: as for `Retriever.search`.
    """
    query_ids = list(qrels)
    run: dict[str, dict[str, float]] = {}
    for start in range(0, len(query_ids), _BATCH):
        batch = query_ids[start : start + _BATCH]
        texts = [queries[query_id] for query_id in batch]
        run |= run_of(retriever, batch, retriever.rank(texts, depth, mode, as_typed=as_typed))
        progress(mode, min(start + _BATCH, len(query_ids)), len(query_ids))
    return run


def run_of(retriever: Retriever, query_ids: Sequence[str], ranking: Ranking) -> dict[str, dict[str, float]]:
    """The run of a ranking: document ids in place of rows.

    retriever: the index that was searched.
    query_ids: n ids.
    ranking: (n, k).
    """
    unique = np.unique(ranking.rows[ranking.rows >= 0]).tolist()
    ids = {row: document.id for row, document in zip(unique, retriever.index.texts(unique), strict=True)}
    return {
        query_id: {ids[row]: score for row, score in zip(rows, scores, strict=True) if row >= 0}
        for query_id, rows, scores in zip(
            query_ids, ranking.rows.tolist(), ranking.scores.tolist(), strict=True
        )
    }


def _ann(retriever: Retriever, texts: Sequence[str]) -> dict[str, float]:
    vectors = retriever.encode(texts[:1000])
    # Deeper than 100, so that documents with the same score as the last one count as found too.
    exact = retriever.index.search_exact(vectors, _DEPTH + 20)
    # A search for more results looks at more candidates, so each recall is that of a search for so many.
    found = {k: retriever.index.search_dense(vectors, k).rows for k in (10, 100)}
    return {f"recall@{k}": ann_recall(rows, exact.rows, k, exact.scores) for k, rows in found.items()}


def _latency(retriever: Retriever, texts: Sequence[str], mode: Mode) -> dict[str, float]:
    """Percentiles of searches for ten hits, one query at a time."""
    seconds = []
    for text in texts[:_TIMED]:
        if text.strip():
            start = time.perf_counter()
            retriever.search(text, 10, mode)
            seconds.append(time.perf_counter() - start)
    return latency_percentiles(seconds)
