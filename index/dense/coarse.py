"""Exact search for one query that compares vectors in eight bits first: a quarter of the bytes of float32.

In: stored vectors and a query. Out: the ranking of `search_exact`, to the last bit. Knows nothing of
documents or files.

A vector v is rounded to whole numbers c, so that c / s is near it, and a query q to d, with d / t near it. By
Cauchy and Schwarz the inner products differ by

    |q . v - (d . c) / (s t)|  <=  |q| max |v - c / s|  +  |q - d / t| max |c / s|

The rows with the largest products of whole numbers are scored with the stored vectors. The k best are among
them if the k-th best of their scores is more than this above the least of their products.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from index.dense.vectors import GATHERING, StoredVectors, search_exact
from index.ranking import Ranking
from index.values import Mask, Vectors

_LARGEST = 127  # of eight bits with a sign
_ROWS_AT_ONCE = 1 << 14
# Rows that are scored, as a multiple of the results; as much more each time that they may not hold the best.
_SCORED = 2
# By how much an operation of float32 rounds, twice, for there are two sums; and the operations besides sums.
_ROUNDING = 2.0**-23
_OTHER_OPERATIONS = 8


class CoarseScan:
    """Stored vectors with their copy in eight bits; safe for use by several threads.

    vectors: to search.
    """

    def __init__(self, vectors: StoredVectors) -> None:
        self._vectors = vectors
        largest = max((np.abs(block).max() for block in self._blocks()), default=np.float32(1))
        self._scale = _scale_of(largest)
        self._index = faiss.IndexScalarQuantizer(
            vectors.dimension, faiss.ScalarQuantizer.QT_8bit_direct_signed, faiss.METRIC_INNER_PRODUCT
        )
        self._error = self._longest = 0.0
        for block in self._blocks():
            whole = np.rint(block * self._scale)
            rounded = whole / self._scale
            self._error = max(self._error, _longest(block - rounded))
            self._longest = max(self._longest, _longest(rounded))
            with _one_thread():
                self._index.add(whole)

    def search(self, query: NDArray[np.float32], k: int, allowed: Mask | None = None) -> Ranking:
        """The k rows of highest inner product, a ranking (1, k).

        query: float32 (d,).
        k: results, at least 1.
        allowed: bool (count,), the rows that may be found; None for all.
        Where fewer than k rows are allowed, the ranking ends in -1.
        """
        scale = _scale_of(np.abs(query).max())
        whole = np.rint(query * scale)
        unit = float(scale) * float(self._scale)
        error, only = self._error_of(query, whole / scale), _only(allowed)
        scored = _SCORED * k
        while scored * GATHERING < len(self._vectors):
            with _one_thread():
                products, rows = self._index.search(whole[None], scored, params=only)
            if rows[0, -1] < 0:
                break  # fewer are allowed
            _, ranking = self._vectors.rank(rows, query[None], k)
            if float(ranking.scores[0, -1]) > float(products[0, -1]) / unit + error:
                return ranking
            scored *= _SCORED
        return search_exact(self._vectors, query[None], k, allowed)

    def _error_of(self, query: NDArray[np.float32], rounded: NDArray[np.float32]) -> float:
        """By how much the inner product of a query with a row can differ from that of their rounded forms."""
        length = math.sqrt(np.dot(query, query))
        rest = query - rounded
        of_floats = length * (len(query) + _OTHER_OPERATIONS) * _ROUNDING
        return length * self._error + (math.sqrt(np.dot(rest, rest)) + of_floats) * self._longest

    def _blocks(self) -> Iterator[Vectors]:
        for start in range(0, len(self._vectors), _ROWS_AT_ONCE):
            yield self._vectors.take(np.arange(start, min(start + _ROWS_AT_ONCE, len(self._vectors))))


def _scale_of(largest: np.float32) -> np.float32:
    """What a number is multiplied with, so that the largest becomes that of eight bits."""
    return np.float32(_LARGEST / max(float(largest), 1e-12))


def _longest(rows: Vectors) -> float:
    return float(np.sqrt(np.vecdot(rows, rows).max()))


def _only(allowed: Mask | None) -> Any:
    if allowed is None:
        return None
    library: Any = faiss  # whose stubs do not know the keywords that its classes take
    return library.SearchParameters(sel=library.IDSelectorBitmap(np.packbits(allowed, bitorder="little")))


class _one_thread:  # noqa: N801 (a context manager, used like a function)
    """FAISS with one thread inside the block, for calls of this thread: more would wait for each other."""

    def __enter__(self) -> None:
        self._threads = faiss.omp_get_max_threads()
        faiss.omp_set_num_threads(1)

    def __exit__(self, *error: object) -> None:
        faiss.omp_set_num_threads(self._threads)
