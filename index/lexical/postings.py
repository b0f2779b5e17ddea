"""Writing of BM25 postings: one float a posting, its tf part (index/lexical/bm25.py has the formula).

In: texts by row. Out: files. Knows nothing of queries. Memory grows with the number of different terms, not
with the number of texts.

    weights.f32      (postings,)   tf parts, term by term
    rows.i32         (postings,)   their documents' rows, ascending within a term
    starts.i64       (terms + 1,)  where the postings of a term begin
    terms.utf8       (bytes,)      all terms, sorted
    term_starts.i64  (terms + 1,)  where a term begins in terms.utf8

The files hold plain little-endian numbers without a header.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from index.disk.files import remove, storing
from index.disk.opening import create
from index.lexical.tokens import TOKENS_VERSION, lexical_tokens
from index.numbering import Numbering
from index.values import Scalar

# Saturation of term frequency, and length normalisation: the best of six settings on the dev splits of tldr,
# tldr-zh and medquad (nDCG@10 .547, .501, .567; k1 1.2 and b .75 give .537, .487, .559).
K1 = 0.9
B = 0.4

# Recorded in the manifest of a segment.
BM25_SETTINGS: Mapping[str, Scalar] = {"k1": K1, "b": B, "tokens": TOKENS_VERSION}

# The files and their dtypes.
ARRAYS = {
    "weights.f32": "<f4",
    "rows.i32": "<i4",
    "starts.i64": "<i8",
    "terms.utf8": "|u1",
    "term_starts.i64": "<i8",
}

# Tokens that are sorted at once while indexing: about 200 MB of memory.
_TOKENS_AT_ONCE = 4_000_000


class Lengths(NamedTuple):
    """Number of documents and of their tokens; from both follows the average length."""

    documents: int
    tokens: int


NO_LENGTHS = Lengths(0, 0)


class _Block(NamedTuple):
    """The postings of some documents, sorted by term number and row."""

    terms: NDArray[np.int32]  # numbered in the order in which they first occur
    rows: NDArray[np.int32]
    tf: NDArray[np.int32]  # how often the term occurs in the document


def write_bm25(folder: Path, texts: Iterable[str], others: Lengths = NO_LENGTHS) -> Lengths:
    """Index texts into a new folder; its files are durable, the folder's own entry is not.

    folder: the new folder.
    texts: one a row, from row 0.
    others: the lengths of the index's other documents, which count in the average.
    Returns the lengths of these texts. Blocks of postings are stored on the disk until the average length is
    known, so memory grows only with the number of different terms. Raises StorageError.
    """
    with storing(folder):
        folder.mkdir()
        blocks = folder / "blocks"
        blocks.mkdir()
        try:
            return _write(folder, blocks, texts, others)
        finally:
            remove(blocks)


def _write(folder: Path, blocks: Path, texts: Iterable[str], others: Lengths) -> Lengths:
    numbers = Numbering()
    lengths = array("i")
    stored = 0
    for stored, block in enumerate(_blocks(texts, numbers, lengths), 1):
        with create(blocks / f"{stored}.npy") as file:
            np.save(file, np.stack(block), allow_pickle=False)
    own = Lengths(len(lengths), sum(lengths))
    average = (own.tokens + others.tokens) / max(1, own.documents + others.documents)
    penalty = K1 * (1 - B + B * np.array(lengths) / max(average, 1e-9))
    terms = sorted(numbers)
    places = np.empty(len(terms), np.int64)  # of a term number among the sorted terms
    places[[numbers[term] for term in terms]] = np.arange(len(terms))
    counts = np.zeros(len(terms), np.int64)
    for block in _stored(blocks, stored):
        counts += np.bincount(places[block.terms], minlength=len(terms))
    starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
    for name, values in {"starts.i64": starts, **_packed(terms)}.items():
        _write_array(folder, name, values)
    _write_postings(folder, _stored(blocks, stored), places, starts, penalty.astype(np.float32))
    return own


def _write_postings(
    folder: Path,
    blocks: Iterable[_Block],
    places: NDArray[np.int64],
    starts: NDArray[np.int64],
    penalty: NDArray[np.float32],
) -> None:
    """Write each posting to the next free place of its term; blocks come in the order of their rows."""
    size = int(starts[-1])
    with (
        _new_array(folder, "weights.f32", size) as weights,
        _new_array(folder, "rows.i32", size) as rows,
    ):
        free = starts[:-1].copy()
        for block in blocks:
            terms = places[block.terms]
            first = np.flatnonzero(np.diff(block.terms, prepend=-1))
            runs = np.diff(first, append=len(terms))
            at = np.repeat(free[terms[first]] - first, runs) + np.arange(len(terms))
            free[terms[first]] += runs
            weights[at] = block.tf / (block.tf + penalty[block.rows])
            rows[at] = block.rows


def _stored(blocks: Path, count: int) -> Iterator[_Block]:
    for number in range(1, count + 1):
        yield _Block(*np.load(blocks / f"{number}.npy", allow_pickle=False))


def _blocks(texts: Iterable[str], numbers: Numbering, lengths: array[int]) -> Iterator[_Block]:
    """The postings of all texts, block by block. Fills in the terms' numbers and the texts' lengths."""
    tokens = array("i")
    start = 0
    for text in texts:
        terms = lexical_tokens(text)
        tokens.extend(map(numbers.__getitem__, terms))
        lengths.append(len(terms))
        if len(tokens) >= _TOKENS_AT_ONCE:
            yield _block(tokens, lengths, start)
            tokens, start = array("i"), len(lengths)
    if tokens:
        yield _block(tokens, lengths, start)


def _block(tokens: array[int], lengths: array[int], start: int) -> _Block:
    counts = np.frombuffer(lengths, np.int32)[start:].copy()  # `lengths` cannot grow while it is viewed
    rows = np.repeat(np.arange(start, start + len(counts)), counts)
    keys = np.frombuffer(tokens, np.int32).astype(np.int64) << 32 | rows
    postings, tf = np.unique(keys, return_counts=True)
    return _Block((postings >> 32).astype(np.int32), postings.astype(np.int32), tf.astype(np.int32))


@contextmanager
def _new_array(folder: Path, name: str, size: int) -> Iterator[NDArray[Any]]:
    """A new file as a writable memory-mapped array, durable when the block ends."""
    kind = np.dtype(ARRAYS[name])
    with create(folder / name) as file:
        if not size:  # an empty file cannot be mapped
            yield np.empty(0, kind)
        else:
            # Allocate first: writing to the map of a sparse file on a full disk kills the process.
            os.posix_fallocate(file.fileno(), 0, size * kind.itemsize)
            mapped = np.memmap(file, kind, "r+", shape=(size,))
            yield mapped
            mapped.flush()
        os.fsync(file.fileno())


def _write_array(folder: Path, name: str, values: NDArray[Any]) -> None:
    with create(folder / name) as file:
        file.write(np.ascontiguousarray(values, ARRAYS[name]).data)
        file.flush()
        os.fsync(file.fileno())


def _packed(terms: Sequence[str]) -> dict[str, NDArray[Any]]:
    encoded = [term.encode() for term in terms]
    lengths = np.fromiter(map(len, encoded), np.int64, len(encoded))
    starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    return {"terms.utf8": np.frombuffer(b"".join(encoded), np.uint8), "term_starts.i64": starts}
