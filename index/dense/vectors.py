"""Vectors on disk as a FAISS index of half-precision floats, and exact search over them.

In: float32 vectors of unit length. Out: rankings of rows. Knows nothing of documents. Half precision changes
a cosine by about 0.00002, far less than the distance between two hits; it halves the file and the memory that
a search reads.

`faiss.read_index` can open the file (fourcc "IxSQ", scalar quantizer QT_fp16). This module does not use
FAISS: for exhaustive search over a memory map it would only add 35 ms of import and a copy of the vectors in
memory, and reading a damaged file with it can end the process. The header is checked here.

Layout, little-endian (faiss/impl/index_write.cpp):

    index      fourcc, d int32, count int64, two unused int64, trained uint8, metric int32
    quantizer  type int32, range statistic int32 and its argument float32, d, bytes a row and number of
               trained values uint64
    vectors    number of bytes uint64, float16 row by row
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from index.dense.halves import SCALE, small_floats
from index.disk.files import create_durably, storing
from index.disk.opening import open_to_read, shortages
from index.errors import NO_COMPILED_LOOPS, CorruptError
from index.ranking import Ranking, best, empty_ranking

if TYPE_CHECKING:
    from numpy.typing import NDArray

# The name of exact search over stored vectors, in a manifest.
FLAT = "Flat"

_HEADER = struct.Struct("<4siqqqBiiifQQQQ")
_FOURCC = b"IxSQ"
_UNUSED = 1 << 20  # what FAISS writes there
_INNER_PRODUCT = 0  # FAISS's number of the metric
_HALF = 4  # QT_fp16

# Limits on memory: scores held while several queries are searched (64 MiB), queries, rows, and bytes copied.
_SCORES_AT_ONCE = 1 << 24
_QUERIES_AT_ONCE = 64
_ROWS_AT_ONCE = 1024
_COPY_BYTES = 1 << 22

# Reading a row by `take` costs about this many times as much as reading it in a pass over all rows.
GATHERING = 4
# A product with up to so many queries is computed for so many rows at once.
_FEW_QUERIES = 8
_ROWS_MULTIPLIED = 256


def header(count: int, dimension: int) -> bytes:
    """The bytes before the vectors in the file."""
    size = 2 * dimension
    quantizer = (_HALF, 0, 0.0, dimension, size, 0)
    return _HEADER.pack(
        _FOURCC, dimension, count, _UNUSED, _UNUSED, 1, _INNER_PRODUCT, *quantizer, count * size
    )


def write_vectors(path: Path, raw: Path, count: int, dimension: int) -> None:
    """Write the index file from a file of raw float16 rows; durable on return.

    path: the new file.
    raw: file of float16 rows, little-endian, at least `count` of them.
    count: rows to take, from the first.
    dimension: their width.
    Memory does not grow with the number of rows. Raises CorruptError if `raw` is too short, StorageError.
    """
    with storing(path), open_to_read(raw) as source, create_durably(path) as target:
        target.write(header(count, dimension))
        remaining = count * dimension * 2
        while remaining:
            piece = source.read(min(remaining, _COPY_BYTES))
            if not piece:
                raise CorruptError(f"{raw}: ends early; build again without --resume")
            target.write(piece)
            remaining -= len(piece)


class _Compiled(NamedTuple):
    """The functions of `index.dense.compiled`."""

    products: Callable[..., NDArray[np.float32]]
    rankings: Callable[..., tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]]


class StoredVectors:
    """The vectors of a published segment by row, memory-mapped; `len` gives their number.

    path: what `write_vectors` wrote.
    count: rows.
    dimension: width of a row.
    Raises CorruptError unless header and size agree with count and dimension, StorageError for a lack of
    memory or open files.
    """

    def __init__(self, path: Path, count: int, dimension: int) -> None:
        self.count = count
        self.dimension = dimension
        size = _HEADER.size + count * dimension * 2
        try:
            with open_to_read(path) as file, shortages(path):
                if (
                    file.read(_HEADER.size) != header(count, dimension)
                    or os.fstat(file.fileno()).st_size != size
                ):
                    raise CorruptError(
                        f"{path}: does not hold {count} vectors of {dimension}; restore it or build again"
                    )
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            raise CorruptError(
                f"{path}: cannot be read ({error.strerror}); restore it or build again"
            ) from error
        flat: NDArray[np.uint8] = np.frombuffer(self._map, np.uint8, offset=_HEADER.size)
        self._bytes = flat.reshape(count, 2 * dimension)
        # The bits of float16, int16 (count, dimension); the header's length leaves them unaligned.
        self.halves: NDArray[np.int16] = self._bytes.view("<i2")
        self._kept: NDArray[np.float32] | None = None
        self._compiled: _Compiled | None = None

    def __len__(self) -> int:
        return self.count

    def expect_few(self) -> None:
        """Tell the system to expect random access by `take`.

        It then reads only the rows that are taken. Otherwise it reads ahead around each, which for a few
        hundred rows reads most of a large file.
        """
        if hasattr(mmap, "MADV_RANDOM"):
            self._map.madvise(mmap.MADV_RANDOM)

    def keep(self) -> None:
        """Convert all vectors now and keep them in memory, 4 bytes a number.

        For a process that searches often: a search of 7,000 vectors of 256 numbers then takes a quarter of
        the time, with the same scores.
        """
        kept = np.empty((self.count, self.dimension), np.float32)
        for start, small in self._small_blocks():
            np.multiply(small, SCALE, out=kept[start : start + len(small)])
        self._kept = kept

    def compile(self) -> None:
        """Score few rows in a compiled loop from now on, if numba is there.

        Call it before other threads search.
        """
        try:
            from index.dense.compiled import products, rankings
        except NO_COMPILED_LOOPS:
            return
        self._compiled = _Compiled(products, rankings)
        if self.count:  # compile, or read what was compiled, before the first search
            row, query = np.zeros(1, np.int64), np.zeros(self.dimension, np.float32)
            self.products(row, query)
            self.rank(row[None], query[None], 1)

    def products(self, rows: NDArray[np.int64], query: NDArray[np.float32]) -> NDArray[np.float32]:
        """Inner products of some rows with one query, float32 (n,).

        rows: int64 (n,).
        query: float32 (dimension,).
        """
        if self._compiled is not None:
            return self._compiled.products(self.halves, rows, query)
        products: NDArray[np.float32] = np.vecdot(self.take(rows), query)
        return products

    def rank(
        self, rows: NDArray[np.int64], queries: NDArray[np.float32], k: int
    ) -> tuple[NDArray[np.float32], Ranking]:
        """`products` of each query with its rows, float32 (n, m), and the ranking of the k best, (n, k).

        rows: int64 (n, m), for each query all different, in any order; at the end -1 for none, whose
            product is -inf.
        queries: float32 (n, dimension).
        k: results a query, at least 1.
        """
        if self._compiled is not None:
            products, scores, best_rows = self._compiled.rankings(self.halves, rows, queries, k)
            return products, Ranking(scores, best_rows)
        if len(rows) == 1:
            found = self._rank_one(rows[0], queries[0], k)
            return found[0][None], Ranking(found[1][None], found[2][None])
        products, ranking = np.empty(rows.shape, np.float32), empty_ranking(len(rows), k)
        for number, query in enumerate(queries):
            products[number], ranking.scores[number], ranking.rows[number] = self._rank_one(
                rows[number], query, k
            )
        return products, ranking

    def _rank_one(
        self, rows: NDArray[np.int64], query: NDArray[np.float32], k: int
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
        """`rank` for one query: the products, then the scores and rows of the k best."""
        by_row = np.argsort(rows)
        ascending = rows.take(by_row)
        if len(rows) and ascending[0] < 0:
            return self._rank_some(rows, query, k)
        scores = self.products(ascending, query)
        products = np.empty_like(scores)
        products[by_row] = scores
        chosen = best(scores, k)
        if len(chosen) == k:
            return products, scores.take(chosen), ascending.take(chosen)
        (best_scores,), (best_rows,) = empty_ranking(1, k)
        best_scores[: len(chosen)], best_rows[: len(chosen)] = scores[chosen], ascending[chosen]
        return products, best_scores, best_rows

    def _rank_some(
        self, rows: NDArray[np.int64], query: NDArray[np.float32], k: int
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
        """`_rank_one` where the last rows are -1."""
        there = int(np.count_nonzero(rows >= 0))
        products = np.full(len(rows), -np.inf, np.float32)
        products[:there], best_scores, best_rows = self._rank_one(rows[:there], query, k)
        return products, best_scores, best_rows

    def take(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """The vectors of these rows, float32 (n, dimension). Reads only these."""
        if self._kept is not None:
            return self._kept.take(rows, axis=0)
        halves = self._bytes.take(rows, axis=0).view("<i2")  # much faster than indexing
        small = small_floats(halves, np.empty(halves.shape, np.int32))
        small *= SCALE
        return small

    def scores(self, queries: NDArray[np.float32]) -> NDArray[np.float32]:
        """Inner products with all vectors, float32 (n, count). queries: float32 (n, dimension)."""
        if self._kept is not None:
            scores = np.empty((len(queries), self.count), np.float32)
            _multiply(queries, self._kept, scores)
            return scores
        scaled = queries * SCALE  # cheaper than scaling the vectors, which are more
        scores = np.empty((len(queries), self.count), np.float32)
        for start, small in self._small_blocks():
            _multiply(scaled, small, scores[:, start : start + len(small)])
        return scores

    def _small_blocks(self) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """All vectors block by block, as (first row, float32 (n, dimension)), 2^112 times too small.

        All blocks are the same memory, which stays in the cache: new memory for each takes a search from the
        shell 2 ms for 7,000 vectors.
        """
        memory = np.empty((min(_ROWS_AT_ONCE, self.count), self.dimension), np.int32)
        for start in range(0, self.count, _ROWS_AT_ONCE):
            block = memory[: min(_ROWS_AT_ONCE, self.count - start)]
            self._will_need(start, len(block))
            yield start, small_floats(self.halves[start : start + len(block)], block)

    def _will_need(self, start: int, rows: int) -> None:
        """Tell the system to read these rows now, also after `expect_few`."""
        if hasattr(mmap, "MADV_WILLNEED"):
            first = _HEADER.size + start * 2 * self.dimension
            begin = first - first % mmap.PAGESIZE
            self._map.madvise(mmap.MADV_WILLNEED, begin, first + rows * 2 * self.dimension - begin)


def to_halves(vectors: NDArray[np.float32]) -> NDArray[np.float16]:
    """Vectors in the form that is stored: float16, little-endian, of the same shape."""
    return np.ascontiguousarray(vectors, "<f2")


def search_exact(
    vectors: StoredVectors,
    queries: NDArray[np.float32],
    k: int,
    allowed: NDArray[np.bool_] | None = None,
) -> Ranking:
    """The k rows of highest inner product for each query, by comparing all vectors.

    vectors: the vectors to search.
    queries: float32 (n, d) of unit length.
    k: results a query, at least 1.
    allowed: bool (count,), the rows that may be found; None for all.
    Where fewer than k rows are allowed, the ranking ends in -1.
    """
    if allowed is not None:
        rows = np.flatnonzero(allowed)
        if len(rows) * GATHERING < vectors.count:
            return _search_rows(vectors, queries, k, rows)
    excluded = None if allowed is None else ~allowed
    ranking = empty_ranking(len(queries), k)
    at_once = max(1, min(_QUERIES_AT_ONCE, _SCORES_AT_ONCE // vectors.count))
    for start in range(0, len(queries), at_once):
        for query, scores in enumerate(vectors.scores(queries[start : start + at_once]), start):
            if excluded is not None:
                scores[excluded] = -np.inf
            _fill(ranking, query, scores, best(scores, k))
    return ranking


def _search_rows(
    vectors: StoredVectors, queries: NDArray[np.float32], k: int, rows: NDArray[np.int64]
) -> Ranking:
    """`search_exact` over a few rows; reads only their vectors."""
    scores = np.empty((len(queries), len(rows)), np.float32)
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        block = vectors.take(rows[start : start + _ROWS_AT_ONCE])
        _multiply(queries, block, scores[:, start : start + len(block)])
    ranking = empty_ranking(len(queries), k)
    for query, line in enumerate(scores):
        chosen = best(line, k)
        ranking.scores[query, : len(chosen)] = line[chosen]
        ranking.rows[query, : len(chosen)] = rows[chosen]
    return ranking


def _fill(ranking: Ranking, query: int, scores: NDArray[np.float32], rows: NDArray[np.intp]) -> None:
    hits = rows[scores[rows] > -np.inf]
    ranking.scores[query, : len(hits)] = scores[hits]
    ranking.rows[query, : len(hits)] = hits


def _multiply(queries: NDArray[np.float32], rows: NDArray[np.float32], out: NDArray[np.float32]) -> None:
    if len(queries) == 1:
        # BLAS would start a second thread: no faster, and milliseconds late on a busy machine.
        np.vecdot(rows, queries[0], out=out[0])
    elif len(queries) <= _FEW_QUERIES:
        # Small products: BLAS computes them in half the time, also without a second thread.
        columns = np.ascontiguousarray(queries.T)
        for start in range(0, len(rows), _ROWS_MULTIPLIED):
            block = slice(start, start + _ROWS_MULTIPLIED)
            out[:, block] = (rows[block] @ columns).T
    else:
        np.matmul(queries, rows.T, out=out)
