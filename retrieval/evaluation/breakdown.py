"""Measures by group of queries, and the single queries with the lowest values.

In: `RunMeasures` of named runs, and the words of each query. Out: means of groups, and query ids. Knows
nothing of documents.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from retrieval.evaluation.measures import RunMeasures

# The largest number of words in each group of `by_length`, and share of unseen words in `by_unseen_share`.
_LENGTHS = {"1-2 words": 2, "3-5 words": 5, "6-9 words": 9, "10 words or more": float("inf")}
_SHARES = {"no unseen word": 0.0, "up to a quarter": 0.25, "up to a half": 0.5, "more than half": 1.0}


class Group(NamedTuple):
    """A group of queries, and the mean of one measure over them for each run."""

    label: str
    queries: int  # how many
    means: dict[str, float]  # by name of the run


class LostQuery(NamedTuple):
    """A query on which our run has a lower value than theirs."""

    query_id: str
    ours: float
    theirs: float


def by_length(words: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Query ids by length of the query. words: query id to the words of its text."""
    return _grouped({query_id: len(query) for query_id, query in words.items()}, _LENGTHS)


def by_unseen_share(words: Mapping[str, Sequence[str]], seen: Callable[[str], bool]) -> dict[str, list[str]]:
    """Query ids by the share of their words that were not in the training texts.

    words: query id to the words of its text.
    seen: whether a word was in the training texts.
    """
    unseen = {query_id: sum(not seen(word) for word in query) for query_id, query in words.items()}
    return _grouped({query_id: n / max(1, len(words[query_id])) for query_id, n in unseen.items()}, _SHARES)


def _grouped(values: Mapping[str, float], limits: Mapping[str, float]) -> dict[str, list[str]]:
    """Query ids by label. Each id gets the first label whose limit its value does not exceed."""
    groups: dict[str, list[str]] = {label: [] for label in limits}
    for query_id, value in values.items():
        groups[next(label for label, limit in limits.items() if value <= limit)].append(query_id)
    return {label: query_ids for label, query_ids in groups.items() if query_ids}


def breakdown(
    runs: Mapping[str, RunMeasures], measure: str, groups: Mapping[str, Sequence[str]]
) -> list[Group]:
    """Mean of a measure over each group of queries, for each run.

    runs: the measures of each run by its name.
    measure: the measure to average.
    groups: label to query ids; ids without judgements do not count, and empty groups are left out.
    """
    result = []
    for label, query_ids in groups.items():
        members = set(query_ids)
        means = {}
        count = 0
        for name, measures in runs.items():
            inside = np.array([query_id in members for query_id in measures.query_ids], bool)
            count = max(count, int(inside.sum()))
            if inside.any():
                means[name] = float(measures.of(measure)[inside].mean())
        if count:
            result.append(Group(label, count, means))
    return result


def worst_queries(run: RunMeasures, measure: str, count: int) -> list[str]:
    """Ids of the queries with the lowest values, lowest first.

    run: the measures of the run.
    measure: the measure to sort by.
    count: the most ids to return; queries with a value of 1 or more are never among them.
    """
    values = run.of(measure)
    order = np.argsort(values, kind="stable")[:count]
    return [run.query_ids[row] for row in order if values[row] < 1]


def lost_queries(ours: RunMeasures, theirs: RunMeasures, measure: str, count: int) -> list[LostQuery]:
    """Queries on which our run is worse, the largest difference first.

    ours, theirs: the measures of the two runs; queries that only one of them has are ignored.
    measure: the measure to compare by.
    count: the most queries to return.
    """
    others = dict(zip(theirs.query_ids, theirs.of(measure).tolist(), strict=True))
    pairs = zip(ours.query_ids, ours.of(measure).tolist(), strict=True)
    lost = [
        LostQuery(query_id, value, others[query_id])
        for query_id, value in pairs
        if value < others.get(query_id, value)
    ]
    return sorted(lost, key=lambda query: query.ours - query.theirs)[:count]
