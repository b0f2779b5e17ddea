"""Vectors compressed to a bit or so a dimension, which FAISS scans whole, and exact scores for the best.

In: float32 queries. Out: rankings of rows. Product quantisation with 16 centroids a part (FAISS's fast scan,
André et al. 2017): tables of a query's products with the centroids stay in registers, so that all of 670,000
vectors are looked at in half a millisecond. Its scores only choose candidates; those are scored again with
the stored vectors: a score is what exact search gives, and only a row that is no candidate can be missed.
Deleted rows are left out of the codes in memory, or those near a query would take the places of others.

No graph and no lists: nothing in the file points anywhere. It is what `faiss.write_index` writes, yet read
without `faiss.read_index`, which can end the process on a damaged or a crafted file: the header has one right
form, and whatever the other bytes are, they are numbers.

Layout, little-endian: "IPfs", d int32, count int64, two unused int64, trained uint8, metric int32; d, parts
and bits uint64, number of centroid values uint64, centroids float32; implementation, block and batch int32,
padded count and parts uint64, number of code bytes uint64, codes.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index.dense.misses import expected_misses
from index.dense.packing import without_deleted
from index.dense.vectors import GATHERING, StoredVectors, exact_scores, search_exact
from index.disk.files import storing
from index.disk.opening import create, map_file
from index.errors import CorruptError
from index.locks import ProcessLock
from index.ranking import Ranking, best, empty_ranking

_HEADER = struct.Struct("<4siqqqBiQQQQ")
_MIDDLE = struct.Struct("<iiiQQQ")
_FOURCC = b"IPfs"
_UNUSED = 1 << 20
_INNER_PRODUCT = 0
_BITS = 4
_CENTROIDS = 1 << _BITS
_BLOCK = 32

# FAISS warns below 39 points a centroid, and quietly goes on; more than a thousand teach nothing.
FEWEST_POINTS = 39 * _CENTROIDS
_MOST_POINTS = 1 << 15
_ADDED = 1 << 16
_SEED = 1
# Recall is that of the ten best.
K = 10
# Candidates for each result, at least.
_DEEPER = 5
# How many times deeper a query looks that probably missed some.
_NEXT_DEPTH = 4
# Recall that nobody misses: without it a promise of 1.0000 would have every row compared.
_TOLERANCE = 0.005


def _padded(count: int) -> int:
    return -(-count // _BLOCK) * _BLOCK


def code_bytes(count: int, parts: int) -> int:
    """Bytes that a scan reads."""
    return _padded(count) * parts // 2


def _misses_many(
    approximate: NDArray[np.float32],
    exact: NDArray[np.float32],
    found: NDArray[np.float32],
    recall: float,
) -> bool:
    """Whether more are probably missed than recall allows; found: scores of the best that were not."""
    allowed = len(found) * max(1 - recall, _TOLERANCE)
    return expected_misses(approximate, exact, float(found[-1]), allowed) > allowed


def _head(count: int, dimension: int, parts: int) -> bytes:
    start = (_FOURCC, dimension, count, _UNUSED, _UNUSED, 1, _INNER_PRODUCT)
    return _HEADER.pack(*start, dimension, parts, _BITS, dimension * _CENTROIDS)


def _middle(count: int, parts: int) -> bytes:
    return _MIDDLE.pack(0, _BLOCK, 0, _padded(count), parts, code_bytes(count, parts))


def write_fastscan(path: Path, vectors: StoredVectors, parts: int) -> None:
    """Compress vectors and write them; durable on return. parts: even, divides the dimension.

    The same vectors give the same bytes. Raises ValueError for fewer vectors than training needs,
    StorageError.
    """
    import faiss

    if vectors.count < FEWEST_POINTS:
        raise ValueError(f"{vectors.count} vectors are too few to train {_CENTROIDS} centroids a part")
    index = faiss.IndexPQFastScan(vectors.dimension, parts, _BITS, faiss.METRIC_INNER_PRODUCT)
    chosen = np.random.default_rng(_SEED).permutation(vectors.count)[:_MOST_POINTS]
    index.train(vectors.take(np.sort(chosen)))
    for start in range(0, vectors.count, _ADDED):
        index.add(vectors.take(np.arange(start, min(start + _ADDED, vectors.count))))
    with storing(path), create(path) as file:
        file.write(_head(vectors.count, vectors.dimension, parts))
        file.write(faiss.vector_to_array(index.pq.centroids).astype("<f4").tobytes())
        file.write(_middle(vectors.count, parts))
        file.write(faiss.rev_swig_ptr(index.codes.get(), index.codes.size()).data)
        file.flush()
        os.fsync(file.fileno())


class FastScan:
    """The compressed vectors of a published segment; safe for use by several threads.

    Raises CorruptError on opening unless header and size agree with count, dimension and parts.
    """

    def __init__(
        self,
        path: Path,
        count: int,
        dimension: int,
        parts: int,
        live: NDArray[np.bool_] | None = None,
    ) -> None:
        """live: bool (count,), the only rows that are found; None for all of them."""
        self._count = count if live is None else int(np.count_nonzero(live))
        self._live = live
        self._rows: NDArray[np.int64] | None = None
        self._dimension = dimension
        self._parts = parts
        head, middle = _head(count, dimension, parts), _middle(count, parts)
        centroids = 4 * dimension * _CENTROIDS
        try:
            data: NDArray[np.uint8] = map_file(path, np.uint8)
        except (OSError, ValueError) as error:
            raise CorruptError(f"{path}: cannot be read ({error}); restore it or build again") from error
        start, stop = len(head), len(head) + centroids
        if (
            len(data) != stop + len(middle) + code_bytes(count, parts)
            or data[:start].tobytes() != head
            or data[stop : stop + len(middle)].tobytes() != middle
        ):
            raise CorruptError(f"{path}: does not hold {count} compressed vectors; restore it or build again")
        self._centroids = data[start:stop]
        self._codes = data[stop + len(middle) :]
        self._lock = ProcessLock()
        self._faiss: Any = None

    def search(
        self,
        queries: NDArray[np.float32],
        k: int,
        depth: int,
        vectors: StoredVectors,
        recall: float = 0.0,
    ) -> Ranking:
        """The k best of `depth` candidates for each query, by the inner product of the stored vectors.

        queries: float32 (n, d).
        depth: for ten results; for more there are more candidates.
        recall: what part of the ten best is to be found; queries that probably find less are asked again with
        more candidates. 0: no query is.
        Where so many candidates are wanted that comparing with every live row is quicker, that is done.
        """
        ranking = empty_ranking(len(queries), k)
        depth = max(depth, _DEEPER * k)
        left = np.arange(len(queries))
        while len(left) and depth * GATHERING < self._count:
            left = self._rank(ranking, queries, left, depth, vectors, recall)
            depth *= _NEXT_DEPTH
        if len(left):
            exact = search_exact(vectors, queries[left], k, self._live)
            ranking.scores[left], ranking.rows[left] = exact
        return ranking

    def _rank(
        self,
        ranking: Ranking,
        queries: NDArray[np.float32],
        asked: NDArray[np.int64],
        depth: int,
        vectors: StoredVectors,
        recall: float,
    ) -> NDArray[np.int64]:
        """Fill in the ranking of the queries that are asked; returns those that must look deeper."""
        k, poor = ranking.rows.shape[1], []
        some = queries if len(asked) == len(queries) else queries[asked]
        for query, approximate, rows in zip(asked, *self.nearest(some, depth), strict=True):
            rows = rows[rows >= 0]
            by_row = np.sort(rows)
            scores = exact_scores(vectors, by_row, queries[query])
            chosen = best(scores, k)
            ranking.scores[query, : len(chosen)] = scores[chosen]
            ranking.rows[query, : len(chosen)] = by_row[chosen]
            if recall and len(rows):
                worse = slice(len(rows) // 2, len(rows))
                exact = scores[np.searchsorted(by_row, rows[worse])]
                if _misses_many(approximate[worse], exact, scores[chosen[:K]], recall):
                    poor.append(query)
        return np.array(poor, np.int64)

    def nearest(self, queries: NDArray[np.float32], depth: int) -> Ranking:
        """The best live rows by their compressed vectors, (n, min(depth, live rows))."""
        index, depth = self._opened(), min(depth, self._count)
        scores, rows = index.search(np.ascontiguousarray(queries), depth)
        if self._rows is not None:
            rows = self._rows[rows]
        return Ranking(scores, rows)

    def _opened(self) -> Any:
        """FAISS's index, put together when it is first wanted: its import takes 35 ms."""
        with self._lock:
            if self._faiss is None:
                import faiss

                index: Any = faiss.IndexPQFastScan(
                    self._dimension, self._parts, _BITS, faiss.METRIC_INNER_PRODUCT
                )
                centroids = np.frombuffer(self._centroids.tobytes(), "<f4")
                faiss.copy_array_to_vector(centroids, index.pq.centroids)
                index.codes.resize(len(self._codes))
                codes = faiss.rev_swig_ptr(index.codes.get(), len(self._codes))
                codes[:] = self._codes
                if self._live is not None:
                    moved = without_deleted(codes, self._parts, self._live)
                    self._rows = np.append(moved, -1)  # what FAISS numbers -1 stays that
                index.is_trained = True
                index.ntotal = self._count
                index.ntotal2 = _padded(self._count)
                self._faiss = index
            return self._faiss
