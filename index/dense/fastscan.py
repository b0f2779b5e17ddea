"""Vectors compressed to a bit or so a dimension, which FAISS scans whole, and exact scores for the best.

In: float32 queries. Out: rankings of rows. Product quantisation with 16 centroids a part (FAISS's fast scan,
André et al. 2017): tables of a query's products with the centroids stay in registers, so that all of 670,000
vectors are looked at in half a millisecond. Its scores only choose candidates; those are scored again with
the stored vectors: a score is what exact search gives, and only a row that is no candidate can be missed.

No graph and no lists: nothing in the file points anywhere. It is what `faiss.write_index` writes, yet read
without `faiss.read_index`, which can end the process on a damaged or a crafted file: the header has one right
form, and whatever the other bytes are, they are numbers.

Layout, little-endian: "IPfs", d int32, count int64, two unused int64, trained uint8, metric int32; d, parts
and bits uint64, number of centroid values uint64, centroids float32; implementation, block and batch int32,
padded count and parts uint64, number of code bytes uint64, codes.
"""

from __future__ import annotations

import math
import os
import struct
import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index.dense.vectors import StoredVectors, exact_scores
from index.disk.files import storing
from index.errors import CorruptError
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
# Candidates for each result, at least.
_DEEPER = 5


def _padded(count: int) -> int:
    return -(-count // _BLOCK) * _BLOCK


def code_bytes(count: int, parts: int) -> int:
    """Bytes that a scan reads."""
    return _padded(count) * parts // 2


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
    with storing(path), path.open("wb") as file:
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

    def __init__(self, path: Path, count: int, dimension: int, parts: int) -> None:
        self.count = count
        self._dimension = dimension
        self._parts = parts
        head, middle = _head(count, dimension, parts), _middle(count, parts)
        centroids = 4 * dimension * _CENTROIDS
        try:
            data: NDArray[np.uint8] = np.asarray(np.memmap(path, np.uint8, "r"))
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
        self._lock = threading.Lock()
        self._faiss: Any = None

    def search(
        self,
        queries: NDArray[np.float32],
        k: int,
        depth: int,
        vectors: StoredVectors,
        live: NDArray[np.bool_] | None = None,
    ) -> Ranking:
        """The k best of `depth` candidates for each query, by the inner product of the stored vectors.

        queries: float32 (n, d). live: bool (count,), the only rows that count: where some are missing, more
        candidates are looked at, and for more than ten results too.
        """
        ranking = empty_ranking(len(queries), k)
        for query, rows in enumerate(self.candidates(queries, max(depth, _DEEPER * k), live)):
            scores = exact_scores(vectors, rows, queries[query])
            chosen = best(scores, k)
            ranking.scores[query, : len(chosen)] = scores[chosen]
            ranking.rows[query, : len(chosen)] = rows[chosen]
        return ranking

    def candidates(
        self, queries: NDArray[np.float32], depth: int, live: NDArray[np.bool_] | None = None
    ) -> list[NDArray[np.int64]]:
        """For each query the rows of the best compressed vectors, ascending; about `depth` of them."""
        if live is not None:
            depth = math.ceil(depth * self.count / max(1, int(np.count_nonzero(live))))
        lists = [np.sort(rows[rows >= 0]) for rows in self.nearest(queries, depth)]
        return lists if live is None else [rows[live[rows]] for rows in lists]

    def nearest(self, queries: NDArray[np.float32], depth: int) -> NDArray[np.int64]:
        """Rows of the best compressed vectors, best first, int64 (n, min(depth, count))."""
        found: NDArray[np.int64] = self._opened().search(
            np.ascontiguousarray(queries), min(depth, self.count)
        )[1]
        return found

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
                faiss.rev_swig_ptr(index.codes.get(), len(self._codes))[:] = self._codes
                index.is_trained = True
                index.ntotal = self.count
                index.ntotal2 = _padded(self.count)
                self._faiss = index
            return self._faiss
