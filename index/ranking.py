"""Rankings of rows by score.

In: scores. Out: the k best rows, equal scores in the order of rows, so the same query always gets the same
ranking. Knows nothing of how scores are computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Up to this many scores are sorted at once. Of more, the k best are selected first and only these are sorted.
_FEW = 256


class Ranking(NamedTuple):
    """The best rows of n queries, best first.

    scores: float32 (n, k), higher is better.
    rows: int64 (n, k).
    Where a query has fewer results than k, its last rows are -1 and their scores -inf.
    """

    scores: NDArray[np.float32]
    rows: NDArray[np.int64]

    def of(self, query: int) -> Ranking:
        """The ranking of one query, (1, k)."""
        return Ranking(self.scores[query : query + 1], self.rows[query : query + 1])

    def top(self, k: int) -> Ranking:
        """The k best rows of each query."""
        return Ranking(self.scores[:, :k], self.rows[:, :k])


def empty_ranking(queries: int, k: int) -> Ranking:
    """A ranking without results, to be filled in place."""
    return Ranking(np.full((queries, k), -np.inf, np.float32), np.full((queries, k), -1, np.int64))


def best(scores: NDArray[np.float32], k: int) -> NDArray[np.intp]:
    """Positions of the k highest of `scores`, float32 (n,): highest first, equal ones by position.

    >>> best(np.array([0.5, 0.9, 0.1, 0.9], np.float32), 3).tolist()
    [1, 3, 0]
    """
    if k >= len(scores) or len(scores) <= _FEW:
        return np.argsort(-scores, kind="stable")[:k]
    cut = np.partition(scores, len(scores) - k)[len(scores) - k]
    positions = np.flatnonzero(scores >= cut)
    order = np.argsort(-scores[positions], kind="stable")[:k]
    return positions[order]


def merge(parts: Sequence[Ranking], offsets: Sequence[int], k: int) -> Ranking:
    """Merge the rankings of several segments into one, (n, k).

    parts: one ranking of the same n queries for each segment.
    offsets: the first row of each segment in the index.
    k: results a query.
    """
    scores = np.concatenate([part.scores for part in parts], axis=1)
    rows = np.concatenate(
        [
            np.where(part.rows < 0, -1, part.rows + offset)
            for part, offset in zip(parts, offsets, strict=True)
        ],
        axis=1,
    )
    merged = empty_ranking(len(scores), k)
    for query, line in enumerate(scores):
        chosen = best(line, k)
        merged.scores[query, : len(chosen)] = line[chosen]
        merged.rows[query, : len(chosen)] = rows[query, chosen]
    return merged
