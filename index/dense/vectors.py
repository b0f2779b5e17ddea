"""Vectors on disk as a FAISS index of half-precision floats, and exact search over them.

In: float32 rows of unit length. Out: rankings of rows. Half precision moves a cosine by about 0.00002, far
less than separates two hits, and halves the file and the memory a search touches.

`faiss.read_index` opens the file (fourcc "IxSQ", scalar quantizer QT_fp16); this module does without: to
exhaustive search over a memory map FAISS brings nothing but 35 ms of import and a copy of the vectors in
memory, and reading a damaged file with it can end the process. The header is checked here.

Layout, little-endian (faiss/impl/index_write.cpp): fourcc, d int32, count int64, two unused int64, trained
uint8, metric int32; the quantizer's type int32, range statistic int32 and its argument float32, d uint64,
bytes a row uint64, number of trained values uint64; number of bytes uint64, the halves row by row.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from index.disk.files import storing
from index.disk.opening import create, open_to_read, shortages
from index.errors import CorruptError
from index.ranking import Ranking, best, empty_ranking

_HEADER = struct.Struct("<4siqqqBiiifQQQQ")
_FOURCC = b"IxSQ"
_UNUSED = 1 << 20  # what FAISS writes there
_INNER_PRODUCT = 0
_HALF = 4  # QT_fp16

# Scores held at once while searching for several queries: 64 MiB.
_SCORES_AT_ONCE = 1 << 24
_QUERIES_AT_ONCE = 64
_ROWS_AT_ONCE = 1024
_COPY_BYTES = 1 << 22

# A half's bits moved to where a float32 has them, sign, exponent and fraction, read 2^112 times smaller: the
# difference of the two exponents' biases. numpy's own conversion takes ten times as long.
_SHIFT = 13
_BITS = np.int32(np.uint32(0x8FFFE000).view(np.int32))
_SCALE = np.float32(2.0**112)


def header(count: int, dimension: int) -> bytes:
    """What stands before the vectors in the file."""
    size = 2 * dimension
    quantizer = (_HALF, 0, 0.0, dimension, size, 0)
    return _HEADER.pack(
        _FOURCC, dimension, count, _UNUSED, _UNUSED, 1, _INNER_PRODUCT, *quantizer, count * size
    )


def write_vectors(path: Path, raw: Path, count: int, dimension: int) -> None:
    """Write the index file from a file of raw float16 rows, of which the first `count` are taken.

    Memory stays flat in their number; durable when it returns. Raises StorageError.
    """
    with storing(path), open_to_read(raw) as source, create(path) as target:
        target.write(header(count, dimension))
        left = count * dimension * 2
        while left:
            piece = source.read(min(left, _COPY_BYTES))
            if not piece:
                raise CorruptError(f"{raw}: ends early; build again without --resume")
            target.write(piece)
            left -= len(piece)
        target.flush()
        os.fsync(target.fileno())


class StoredVectors:
    """The vectors of a published segment, memory-mapped, by row.

    count: rows; dimension: their width. Raises CorruptError unless header and size agree with them,
    StorageError for a shortage.
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

    def __len__(self) -> int:
        return self.count

    def expect_few(self) -> None:
        """Prepare for `take`s of a few rows here and there.

        The system then reads no more of the file than these; otherwise it reads ahead around each, which for
        some hundred rows of a large index is most of it.
        """
        if hasattr(mmap, "MADV_RANDOM"):
            self._map.madvise(mmap.MADV_RANDOM)

    def take(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """The vectors of these rows, float32 (n, dimension); reads no others."""
        small = _small(self._bytes[rows])
        small *= _SCALE
        return small

    def scores(self, queries: NDArray[np.float32]) -> NDArray[np.float32]:
        """Inner products of all vectors with queries, float32 (n, dimension): float32 (n, count)."""
        scaled = queries * _SCALE  # instead of the vectors, which are more
        scores = np.empty((len(queries), self.count), np.float32)
        for start, small in self._small_blocks():
            _multiply(scaled, small, scores[:, start : start + len(small)])
        return scores

    def _small_blocks(self) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """All vectors in order, every number 2^112 times too small, some rows at a time: the first one's row,
        and float32 (n, dimension) in memory that the next block overwrites.

        The header leaves the mapped halves unaligned, so they are copied, a block at a time, which stays in
        the cache.
        """
        copied = np.empty((min(_ROWS_AT_ONCE, self.count), 2 * self.dimension), np.uint8)
        for start in range(0, self.count, _ROWS_AT_ONCE):
            block = copied[: min(_ROWS_AT_ONCE, self.count - start)]
            self._will_need(start, len(block))
            block[...] = self._bytes[start : start + len(block)]
            yield start, _small(block)

    def _will_need(self, start: int, rows: int) -> None:
        """Have the system read these rows at once, whatever `expect_few` said of the rest."""
        if hasattr(mmap, "MADV_WILLNEED"):
            first = _HEADER.size + start * 2 * self.dimension
            begin = first - first % mmap.PAGESIZE
            self._map.madvise(mmap.MADV_WILLNEED, begin, first + rows * 2 * self.dimension - begin)


def _small(halves: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The numbers, 2^112 times too small."""
    bits = halves.view("<i2").astype(np.int32)
    bits <<= _SHIFT
    bits &= _BITS
    return bits.view(np.float32)


def to_halves(vectors: NDArray[np.float32]) -> NDArray[np.float16]:
    """What is stored of vectors, float16 of the same shape."""
    return np.ascontiguousarray(vectors, "<f2")


def search_exact(
    vectors: StoredVectors,
    queries: NDArray[np.float32],
    k: int,
    allowed: NDArray[np.bool_] | None = None,
) -> Ranking:
    """The k rows of highest inner product for each query; the truth that other searches are measured against.

    queries: float32 (n, d) of unit length; k: at least 1; allowed: bool (count,), the only rows that count.
    Where there are fewer than k of those, the ranking ends in -1.
    """
    if allowed is not None:
        rows = np.flatnonzero(allowed)
        if len(rows) * GATHERING < vectors.count:
            return _search_rows(vectors, queries, k, rows)
    ranking = empty_ranking(len(queries), k)
    at_once = max(1, min(_QUERIES_AT_ONCE, _SCORES_AT_ONCE // vectors.count))
    for start in range(0, len(queries), at_once):
        for query, scores in enumerate(vectors.scores(queries[start : start + at_once]), start):
            if allowed is not None:
                scores[~allowed] = -np.inf
            _fill(ranking, query, scores, best(scores, k))
    return ranking


# Reading one row here and one there costs about this many times as much as reading it in passing.
GATHERING = 4


def exact_scores(
    vectors: StoredVectors, rows: NDArray[np.int64], query: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Inner products of some rows with one query, float32 (d,), in the order of the rows."""
    scores: NDArray[np.float32] = np.vecdot(vectors.take(rows), query)
    return scores


def _search_rows(
    vectors: StoredVectors, queries: NDArray[np.float32], k: int, rows: NDArray[np.int64]
) -> Ranking:
    """`search_exact` over a few rows, of which alone it reads the vectors."""
    scores = np.empty((len(queries), len(rows)), np.float32)
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        some = vectors.take(rows[start : start + _ROWS_AT_ONCE])
        _multiply(queries, some, scores[:, start : start + len(some)])
    ranking = empty_ranking(len(queries), k)
    for query, line in enumerate(scores):
        chosen = best(line, k)
        ranking.scores[query, : len(chosen)] = line[chosen]
        ranking.rows[query, : len(chosen)] = rows[chosen]
    return ranking


def _fill(ranking: Ranking, query: int, scores: NDArray[np.float32], rows: NDArray[np.intp]) -> None:
    found = rows[scores[rows] > -np.inf]
    ranking.scores[query, : len(found)] = scores[found]
    ranking.rows[query, : len(found)] = found


def _multiply(queries: NDArray[np.float32], rows: NDArray[np.float32], out: NDArray[np.float32]) -> None:
    if len(queries) == 1:
        # BLAS would wake a second thread: no faster, and milliseconds late on a busy machine.
        np.vecdot(rows, queries[0], out=out[0])
    else:
        np.matmul(queries, rows.T, out=out)
