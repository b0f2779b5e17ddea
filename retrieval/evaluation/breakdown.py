"""Which queries a run is good and bad at: groups of queries, and single ones.

In: `Scores` of named runs and something known of each query. Out: group means, and the ids of queries to look
at. Knows nothing of documents.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from retrieval.evaluation.measures import Scores

# Most words of a query in each group of `by_length`, and most of unseen words in `by_unseen_share`.
_LENGTHS = {"1-2 words": 2, "3-5 words": 5, "6-9 words": 9, "10 words or more": float("inf")}
_SHARES = {"no unseen word": 0.0, "up to a quarter": 0.25, "up to a half": 0.5, "more than half": 1.0}


class Group(NamedTuple):
    """Some queries, and the mean of one measure over them for each run."""

    label: str
    queries: int
    means: dict[str, float]


class Loss(NamedTuple):
    """A query on which one run is worse than another."""

    query_id: str
    ours: float
    theirs: float


def by_length(words: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Query ids under how long the query is; words: query id to the words of its text."""
    return _grouped({query: len(found) for query, found in words.items()}, _LENGTHS)


def by_unseen_share(words: Mapping[str, Sequence[str]], seen: Callable[[str], bool]) -> dict[str, list[str]]:
    """Query ids under the share of their words that training did not see; seen: whether it saw a word."""
    shares = {q: sum(not seen(word) for word in found) / max(1, len(found)) for q, found in words.items()}
    return _grouped(shares, _SHARES)


def _grouped(values: Mapping[str, float], highest: Mapping[str, float]) -> dict[str, list[str]]:
    """Ids under the first label whose highest value theirs does not pass; labels without ids are left out."""
    groups: dict[str, list[str]] = {label: [] for label in highest}
    for query, value in values.items():
        groups[next(label for label, limit in highest.items() if value <= limit)].append(query)
    return {label: queries for label, queries in groups.items() if queries}


def breakdown(runs: Mapping[str, Scores], measure: str, groups: Mapping[str, Sequence[str]]) -> list[Group]:
    """Mean of the measure over each group of query ids for each run; ids without judgements do not count."""
    found = []
    for label, queries in groups.items():
        members = set(queries)
        means = {}
        count = 0
        for name, scores in runs.items():
            inside = np.fromiter(
                (query in members for query in scores.query_ids), bool, len(scores.query_ids)
            )
            count = max(count, int(inside.sum()))
            if inside.any():
                means[name] = float(scores.of(measure)[inside].mean())
        if count:
            found.append(Group(label, count, means))
    return found


def worst_queries(scores: Scores, measure: str, count: int) -> list[str]:
    """Ids of the queries with the lowest values, lowest first; none that could not be better."""
    values = scores.of(measure)
    order = np.argsort(values, kind="stable")[:count]
    return [scores.query_ids[row] for row in order if values[row] < 1]


def losses(ours: Scores, theirs: Scores, measure: str, count: int) -> list[Loss]:
    """Queries on which we lose most, the largest loss first; fewer than `count` if there are no more."""
    other = dict(zip(theirs.query_ids, theirs.of(measure).tolist(), strict=True))
    mine = zip(ours.query_ids, ours.of(measure).tolist(), strict=True)
    found = [Loss(query, value, other[query]) for query, value in mine if value < other.get(query, value)]
    return sorted(found, key=lambda loss: loss.ours - loss.theirs)[:count]
