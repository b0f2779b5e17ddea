"""Long rankings whose beginning does not depend on how far they go, for reading page by page.

In: a function that ranks to a given depth. Out: a ranking. Knows nothing of indexes or queries.

Some searches order the first documents differently when they look deeper: fusion scales scores by the worst
of each ranking, and compressed vectors give more candidates. So the ranking is made in levels, each `GROWTH`
times as deep as the one before. A level adds, in its own order, the documents that no level before it had.
Pages of any size are then parts of one ranking.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from index.ranking import Ranking, empty_ranking

GROWTH = 10


def deepen(
    rank: Callable[[int, int], Ranking],
    k: int,
    first: int,
    count: int,
) -> Ranking:
    """The k best documents of each query; the same as the beginning of those for a larger k.

    rank: called with a depth and the number of the level, from 0; gives at least `depth` documents of each
        query, or all that there are.
    k: the depth of the result.
    first: depth of level 0.
    count: documents in all.
    Returns a ranking (n, at most k) whose scores never rise: a document that only a later level finds gets at
    most the score of the one before it.
    """
    depth, level = min(first, count), 0
    ranking = rank(depth, level)
    while depth < count and _needs_more(ranking, k, depth):
        depth, level = min(depth * GROWTH, count), level + 1
        ranking = _appended(ranking, rank(depth, level))
    return Ranking(ranking.scores[:, :k], ranking.rows[:, :k])


def _needs_more(ranking: Ranking, k: int, depth: int) -> bool:
    """Whether a query has fewer than k documents, though there may be more than this depth has shown."""
    if ranking.rows.shape[1] >= k and (ranking.rows[:, k - 1] >= 0).all():
        return False  # as most rankings are
    found = (ranking.rows >= 0).sum(axis=1)
    return bool(((found < k) & (found >= depth)).any())


def _appended(ranking: Ranking, deeper: Ranking) -> Ranking:
    """A ranking, then the documents that only the deeper one has."""
    width = ranking.rows.shape[1] + deeper.rows.shape[1]
    joined = empty_ranking(len(ranking.rows), width)
    for query, (rows, more) in enumerate(zip(ranking.rows, deeper.rows, strict=True)):
        old = rows >= 0
        new = (more >= 0) & ~np.isin(more, rows)
        found = np.concatenate((rows[old], more[new]))
        scores = np.concatenate((ranking.scores[query, old], deeper.scores[query, new]))
        joined.rows[query, : len(found)] = found
        joined.scores[query, : len(found)] = np.minimum.accumulate(scores)
    return joined
