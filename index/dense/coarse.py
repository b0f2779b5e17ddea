"""Exact search for one query that compares vectors in eight bits first: a quarter of the bytes of float32.

In: stored vectors and a query. Out: the ranking of `search_exact`, to rounding. Needs numba. Knows nothing of
documents or files.

A vector v is rounded to whole numbers c, so that c / s is near it, and a query q to d, with d / t near it. By
Cauchy and Schwarz the inner products differ by

    |q . v - (d . c) / (s t)|  <=  |q| max |v - c / s|  +  |q - d / t| max |c / s|

If the product of whole numbers shows that a row cannot be among the best, the row is passed over. Only the
others are scored with the stored vectors.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from index.dense.compiled import LARGEST_CODE, nearest
from index.dense.vectors import StoredVectors
from index.ranking import Ranking
from index.values import Mask, Vectors

_ROWS_AT_ONCE = 1 << 14

_ALL = np.empty(0, bool)


class CoarseScan:
    """Stored vectors with their copy in eight bits; safe for use by several threads.

    vectors: to search.
    """

    def __init__(self, vectors: StoredVectors) -> None:
        self._halves = vectors.halves
        largest = max((float(np.abs(block).max()) for _, block in _blocks(vectors)), default=1.0)
        self._scale = LARGEST_CODE / max(largest, 1e-12)
        self._codes = np.empty((vectors.count, vectors.dimension), np.int8)
        self._error = self._longest = 0.0
        for start, block in _blocks(vectors):
            whole = np.rint(block * self._scale)
            rounded = whole / self._scale
            self._error = max(self._error, _longest(block - rounded))
            self._longest = max(self._longest, _longest(rounded))
            self._codes[start : start + len(block)] = whole

    def search(self, query: NDArray[np.float32], k: int, allowed: Mask | None = None) -> Ranking:
        """The k rows of highest inner product, a ranking (1, k).

        query: float32 (d,).
        k: results, at least 1.
        allowed: bool (count,), the rows that may be found; None for all.
        Where fewer than k rows are allowed, the ranking ends in -1.
        """
        only = _ALL if allowed is None else allowed
        scores, rows = nearest(
            self._codes, self._scale, self._error, self._longest, self._halves, query, only, k
        )
        return Ranking(scores[None], rows[None])


def _blocks(vectors: StoredVectors) -> Iterator[tuple[int, Vectors]]:
    for start in range(0, vectors.count, _ROWS_AT_ONCE):
        yield start, vectors.take(np.arange(start, min(start + _ROWS_AT_ONCE, vectors.count)))


def _longest(rows: Vectors) -> float:
    return float(np.sqrt(np.vecdot(rows, rows).max()))
