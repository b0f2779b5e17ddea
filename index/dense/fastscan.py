"""Search over vectors compressed by product quantisation, with exact scores for the best candidates.

In: float32 queries. Out: rankings of rows. Knows nothing of documents or of files other than its own.

A vector is cut into parts, and each part is replaced by the nearest of 16 centroids: one or two bits a
dimension. FAISS's fast scan (André et al. 2017) compares a query with all codes; its tables stay in
registers, so 670,000 vectors take half a millisecond. These scores only choose candidates. The candidates are
scored again with the stored vectors, so every score is that of exact search, and only a row that is not a
candidate can be missed. Deleted rows are removed from the codes in memory; otherwise they would take the
places of live candidates.

The file is what `faiss.write_index` writes. It is read here without `faiss.read_index`, which can end the
process on a damaged or a crafted file. The header has one valid form, and the rest are plain numbers: nothing
in the file is an offset.

Layout, little-endian:

    header     "IPfs", d int32, count int64, two unused int64, trained uint8, metric int32,
               d, parts, bits and number of centroid values uint64
    centroids  float32
    middle     implementation, block and batch int32, padded count, parts and number of code bytes uint64
    codes      uint8
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from index.dense.large_pages import ask_for_large_pages
from index.dense.misses import expected_misses
from index.dense.packing import without_deleted
from index.dense.vectors import GATHERING, StoredVectors, search_exact
from index.disk.arrays import map_array
from index.disk.files import create_durably, storing
from index.errors import CorruptError
from index.locks import ProcessLock
from index.ranking import Ranking

if TYPE_CHECKING:
    from numpy.typing import NDArray

_HEADER = struct.Struct("<4siqqqBiQQQQ")
_MIDDLE = struct.Struct("<iiiQQQ")
_FOURCC = b"IPfs"
_UNUSED = 1 << 20  # what FAISS writes there
_INNER_PRODUCT = 0  # FAISS's number of the metric
_BITS = 4  # of a code
_CENTROIDS = 1 << _BITS
_BLOCK = 32  # rows whose codes are interleaved

# FAISS warns if there are fewer than 39 training vectors a centroid. More than these do not help.
FEWEST_POINTS = 39 * _CENTROIDS
_MOST_POINTS = 1 << 15
# Vectors that are compressed at once: few enough for the processor's cache, and whole blocks of codes.
_ADDED = 1 << 12
_SEED = 1
# Recall is measured among the K best rows.
K = 10
# Least number of candidates a result.
_LEAST_DEPTH = 5
# By how much the depth grows for a query that probably missed some of its best rows.
_DEPTH_GROWTH = 4
# Least share of misses that is allowed: otherwise a recall of 1.0000 would compare every row.
_TOLERANCE = 0.005


def _padded(count: int) -> int:
    return -(-count // _BLOCK) * _BLOCK


def code_bytes(count: int, parts: int) -> int:
    """Bytes of codes that a scan of `count` vectors reads."""
    return _padded(count) * parts // 2


def _misses_many(
    approximate: NDArray[np.float32],
    exact: NDArray[np.float32],
    best_scores: NDArray[np.float32],
    recall: float,
) -> bool:
    """Whether a query has probably missed more of its best rows than the recall allows.

    approximate, exact: float32 (depth,), scores of its candidates by compressed and by stored vectors, in
        the order of the former.
    best_scores: float32 (k,), of the rows that were found.
    Where there are fewer candidates or rows, the last scores are -inf.
    """
    there = int(np.count_nonzero(exact > -np.inf)) if exact[-1] == -np.inf else len(exact)
    worse, last = slice(there // 2, there), min(K, len(best_scores), there)
    if not there:
        return False
    allowed = last * max(1 - recall, _TOLERANCE)
    return expected_misses(approximate[worse], exact[worse], float(best_scores[last - 1]), allowed) > allowed


def _head(count: int, dimension: int, parts: int) -> bytes:
    start = (_FOURCC, dimension, count, _UNUSED, _UNUSED, 1, _INNER_PRODUCT)
    return _HEADER.pack(*start, dimension, parts, _BITS, dimension * _CENTROIDS)


def _middle(count: int, parts: int) -> bytes:
    return _MIDDLE.pack(0, _BLOCK, 0, _padded(count), parts, code_bytes(count, parts))


def write_fastscan(path: Path, vectors: StoredVectors, parts: int) -> None:
    """Compress vectors and write them to a new file, durable on return.

    path: the new file.
    vectors: what is compressed. The same vectors give the same bytes. Memory grows by 8 bytes a vector.
    parts: into how many parts a vector is cut; even, divides the dimension.
    Raises ValueError for fewer than `FEWEST_POINTS` vectors, StorageError.
    """
    import faiss

    if vectors.count < FEWEST_POINTS:
        raise ValueError(f"{vectors.count} vectors are too few to train {_CENTROIDS} centroids a part")
    index = faiss.IndexPQFastScan(vectors.dimension, parts, _BITS, faiss.METRIC_INNER_PRODUCT)
    chosen = np.random.default_rng(_SEED).permutation(vectors.count)[:_MOST_POINTS]
    index.train(vectors.take(np.sort(chosen)))
    with storing(path), create_durably(path) as file:
        file.write(_head(vectors.count, vectors.dimension, parts))
        file.write(faiss.vector_to_array(index.pq.centroids).astype("<f4").tobytes())
        file.write(_middle(vectors.count, parts))
        # Whole blocks of rows, so that the codes are those of all rows added to one index, which would hold
        # up to twice their bytes and, while it grows, half as many again.
        for start in range(0, vectors.count, _ADDED):
            index.reset()
            index.add(vectors.take(np.arange(start, min(start + _ADDED, vectors.count))))
            file.write(faiss.rev_swig_ptr(index.codes.get(), index.codes.size()).data)


class FastScan:
    """The compressed vectors of a published segment; safe for use by several threads."""

    def __init__(
        self,
        path: Path,
        count: int,
        dimension: int,
        parts: int,
        live: NDArray[np.bool_] | None = None,
    ) -> None:
        """Open the file.

        path: what `write_fastscan` wrote.
        count: vectors in it.
        dimension: their width.
        parts: into how many parts they are cut.
        live: bool (count,), the rows that a search may find; None for all rows.
        Raises CorruptError unless header and size agree with count, dimension and parts, which must be as
            `write_fastscan` makes them.
        """
        self._count = count if live is None else int(np.count_nonzero(live))
        self._live = live
        self._rows: NDArray[np.int64] | None = None
        self._dimension = dimension
        self._parts = parts
        head, middle = _head(count, dimension, parts), _middle(count, parts)
        centroids = 4 * dimension * _CENTROIDS
        data = map_array(path, "|u1")
        start, stop = len(head), len(head) + centroids
        if (
            len(data) != stop + len(middle) + code_bytes(count, parts)
            or data[:start].tobytes() != head
            or data[stop : stop + len(middle)].tobytes() != middle
            or parts % 2  # FAISS would read beyond the codes
            or dimension % parts
        ):
            raise CorruptError(f"{path}: does not hold {count} compressed vectors; restore it or build again")
        self._centroids = data[start:stop]
        self._codes = data[stop + len(middle) :]
        self._lock = ProcessLock()
        self._faiss: Any = None
        self._large_pages = False

    def expect_many(self) -> None:
        """Prepare for many searches: the codes will be in large pages of memory, if the system gives them.

        Call it before the first search, which then takes longer.
        """
        self._large_pages = True

    def search(
        self,
        queries: NDArray[np.float32],
        k: int,
        depth: int,
        vectors: StoredVectors,
        recall: float = 0.0,
    ) -> Ranking:
        """The k best rows of each query, by the inner product with the stored vectors.

        queries: float32 (n, d).
        k: results a query, at least 1.
        depth: candidates a query; raised to five times k if it is less.
        vectors: the stored vectors of the same rows.
        recall: share of the ten best rows that a query must find. A query that probably found fewer is
            searched again with more candidates. 0: no query is searched again.
        Where the depth is so large that comparing every live row is faster, exact search is used.
        """
        depth = max(depth, _LEAST_DEPTH * k)
        if depth * GATHERING >= self._count:
            return search_exact(vectors, queries, k, self._live)
        approximate, rows = self.nearest(queries, depth)
        exact, ranking = vectors.rank(rows, queries, k)
        if recall:
            again = [
                number
                for number, scores in enumerate(ranking.scores)
                if _misses_many(approximate[number], exact[number], scores, recall)
            ]
            if again:
                found = self.search(queries[again], k, depth * _DEPTH_GROWTH, vectors, recall)
                ranking.scores[again], ranking.rows[again] = found
        return ranking

    def nearest(self, queries: NDArray[np.float32], depth: int) -> Ranking:
        """The best live rows by their compressed vectors: a ranking (n, min(depth, live rows))."""
        scores, rows = self._opened().search(queries, min(depth, self._count))
        if self._rows is not None:
            rows = self._rows[rows]
        return Ranking(scores, rows)

    def _opened(self) -> Any:
        """FAISS's index, made at the first search: importing FAISS takes 35 ms."""
        if self._faiss is not None and self._lock.is_own():  # a later search takes no lock
            return self._faiss
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
                if self._large_pages:
                    ask_for_large_pages(codes)
                codes[:] = self._codes
                if self._live is not None:
                    rows = without_deleted(codes, self._parts, self._live)
                    self._rows = np.append(rows, -1)  # FAISS's -1, no row, stays -1
                index.is_trained = True
                index.ntotal = self._count
                index.ntotal2 = _padded(self._count)
                self._faiss = index
            return self._faiss
