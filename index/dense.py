"""Vectors on disk as a FAISS flat inner-product index, and exact search over them.

In: float32 rows of unit length. Out: rankings of rows. `faiss.read_index` opens the file (fourcc "IxFI");
this module does without: to exhaustive search over a memory map FAISS brings nothing but 35 ms of import and
a copy of the vectors in memory, and reading a damaged file with it can end the process. The header is
checked here.

Layout, little-endian (faiss/impl/index_write.cpp): fourcc, d int32, count int64, two unused int64, trained
uint8, metric int32, number of floats uint64, the floats row by row.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from index.errors import CorruptError
from index.files import storing
from index.ranking import Ranking, best, empty_ranking

_HEADER = struct.Struct("<4siqqqBiQ")
_FOURCC = b"IxFI"
_UNUSED = 1 << 20  # what FAISS writes there
_INNER_PRODUCT = 0

# Scores held at once while searching for several queries: 64 MiB.
_SCORES_AT_ONCE = 1 << 24
_QUERIES_AT_ONCE = 64
_ROWS_AT_ONCE = 4096
_COPY_BYTES = 1 << 22


def flat_header(count: int, dimension: int) -> bytes:
    """What stands before the vectors in the file."""
    floats = count * dimension
    return _HEADER.pack(_FOURCC, dimension, count, _UNUSED, _UNUSED, 1, _INNER_PRODUCT, floats)


def write_flat(path: Path, raw: Path, count: int, dimension: int) -> None:
    """Write the index file from a file of raw float32 rows, of which the first `count` are taken.

    Memory stays flat in their number; durable when it returns. Raises StorageError.
    """
    with storing(path), raw.open("rb") as source, path.open("wb") as target:
        target.write(flat_header(count, dimension))
        left = count * dimension * 4
        while left:
            piece = source.read(min(left, _COPY_BYTES))
            if not piece:
                raise CorruptError(f"{raw}: ends early; build again without --resume")
            target.write(piece)
            left -= len(piece)
        target.flush()
        os.fsync(target.fileno())


def read_flat(path: Path, count: int, dimension: int) -> NDArray[np.float32]:
    """The vectors, memory-mapped, float32 (count, dimension).

    Raises CorruptError unless header and size agree.
    """
    try:
        with path.open("rb") as file:
            header = file.read(_HEADER.size)
            size = os.fstat(file.fileno()).st_size
            if header != flat_header(count, dimension) or size != _HEADER.size + count * dimension * 4:
                raise CorruptError(
                    f"{path}: does not hold {count} vectors of {dimension}; restore the file or build again"
                )
            vectors = np.memmap(file, "<f4", "r", offset=_HEADER.size, shape=(count, dimension))
    except OSError as error:
        raise CorruptError(f"{path}: cannot be read ({error.strerror}); restore it or build again") from error
    return np.asarray(vectors)


def search_exact(vectors: NDArray[np.float32], queries: NDArray[np.float32], k: int) -> Ranking:
    """The k rows of highest inner product for each query; the truth that other searches are measured against.

    vectors: float32 (count, d); queries: float32 (n, d); k: 1 to count.
    """
    ranking = empty_ranking(len(queries), k)
    at_once = max(1, min(_QUERIES_AT_ONCE, _SCORES_AT_ONCE // len(vectors)))
    for start in range(0, len(queries), at_once):
        for query, scores in enumerate(all_scores(vectors, queries[start : start + at_once]), start):
            rows = best(scores, k)
            ranking.scores[query] = scores[rows]
            ranking.rows[query] = rows
    return ranking


def all_scores(vectors: NDArray[np.float32], queries: NDArray[np.float32]) -> NDArray[np.float32]:
    """Inner products, float32 (n, count).

    The header leaves the mapped floats unaligned, which numpy would answer by copying them all for every
    product; so they are copied a block at a time, which stays in the cache.
    """
    scores = np.empty((len(queries), len(vectors)), np.float32)
    aligned = np.empty((min(_ROWS_AT_ONCE, len(vectors)), vectors.shape[1]), np.float32)
    for start in range(0, len(vectors), _ROWS_AT_ONCE):
        stop = min(start + _ROWS_AT_ONCE, len(vectors))
        block = aligned[: stop - start]
        block[...] = vectors[start:stop]
        if (
            len(queries) == 1
        ):  # BLAS would wake a second thread: no faster, and milliseconds late on a busy machine
            np.vecdot(block, queries[0], out=scores[0, start:stop])
        else:
            np.matmul(queries, block.T, out=scores[:, start:stop])
    return scores
