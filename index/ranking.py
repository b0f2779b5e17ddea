"""Scores to rankings: the k best rows, ties broken by row so that the same query always gets the same
answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Ranking(NamedTuple):
    """The best rows of n queries, best first.

    scores: float32 (n, k), higher is better. rows: int64 (n, k). Where a query has fewer results than k, its
    last rows are -1 and their scores -inf.
    """

    scores: NDArray[np.float32]
    rows: NDArray[np.int64]


def empty_ranking(queries: int, k: int) -> Ranking:
    """A ranking in which nothing was found yet, to be filled in place."""
    return Ranking(np.full((queries, k), -np.inf, np.float32), np.full((queries, k), -1, np.int64))


def best(scores: NDArray[np.float32], k: int) -> NDArray[np.intp]:
    """Positions of the k highest of `scores`, float32 (n,): highest first, equal ones by position.

    >>> best(np.array([0.5, 0.9, 0.1, 0.9], np.float32), 3).tolist()
    [1, 3, 0]
    """
    positions = np.arange(len(scores))
    if k < len(scores):
        cut = np.partition(scores, len(scores) - k)[len(scores) - k]
        positions = np.flatnonzero(scores >= cut)
    order = np.argsort(-scores[positions], kind="stable")[:k]
    return positions[order]


def merge(parts: Sequence[Ranking], offsets: Sequence[int], k: int) -> Ranking:
    """One ranking of all segments from one of each; a segment's rows begin at its offset.

    Every part ranks the same n queries; the result is (n, k).
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
