"""At most one hit for each value of a metadata field.

In: a function that ranks to a given depth, and the values of documents. Out: a ranking. Knows nothing of
indexes.

From the best document on, a document is kept if no document kept before has one of its values. So no two hits
share a value. A document without a value is always kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from index.ranking import Ranking, empty_ranking

if TYPE_CHECKING:
    from index.documents.numbers import Attribute

_GROWTH = 4


def best_of_each(
    rank: Callable[[int], Ranking],
    values_of: Callable[[Sequence[int]], list[list[Attribute]]],
    k: int,
    count: int,
) -> Ranking:
    """The k best documents that share no value; fewer if there are no more.

    rank: called with a depth; a deeper ranking begins with the shallower one.
    values_of: called with rows; gives the values of each.
    k: the depth of the result.
    count: documents in all.
    Returns a ranking (n, k), -inf and -1 where there are fewer documents.
    """
    depth = min(k * _GROWTH, count)
    while True:
        ranking = rank(depth)
        kept = [_kept(rows[rows >= 0].tolist(), values_of)[:k] for rows in ranking.rows]
        full = (ranking.rows >= 0).sum(axis=1) >= depth
        if depth >= count or not any(
            more and len(one) < k for one, more in zip(kept, full.tolist(), strict=True)
        ):
            return _picked(ranking, kept, k)
        depth = min(depth * _GROWTH, count)


def _kept(rows: list[int], values_of: Callable[[Sequence[int]], list[list[Attribute]]]) -> list[int]:
    """The places of the rows that are kept."""
    taken: set[Attribute] = set()
    places = []
    for place, values in enumerate(values_of(rows)):
        if taken.isdisjoint(values):
            taken.update(values)
            places.append(place)
    return places


def _picked(ranking: Ranking, places: list[list[int]], k: int) -> Ranking:
    picked = empty_ranking(len(places), k)
    for query, chosen in enumerate(places):
        at = np.array(chosen, np.int64)
        picked.rows[query, : len(at)] = ranking.rows[query, at]
        picked.scores[query, : len(at)] = ranking.scores[query, at]
    return picked
