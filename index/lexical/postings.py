"""BM25 written: texts to the part of the scores that is computed ahead of time, one float a pair of term and
document (see lexical.py for the formula).

In: texts by row. Out: files. Memory grows with the number of different terms, not with that of the texts.

    weights.f32      (pairs,)      tf parts, term by term
    rows.i32         (pairs,)      their documents, ascending within a term
    starts.i64       (terms + 1,)  where the pairs of a term begin
    terms.utf8       (bytes,)      all terms, sorted
    term_starts.i64  (terms + 1,)  where a term begins in it

The files are the bare numbers, little-endian: a header would only be something more to be damaged.
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
from index.values import Scalar

# How soon repetition of a term stops counting, and how much long documents are held back: the best of six
# pairs on the dev splits of tldr, tldr-zh and medquad (nDCG@10 .547, .501, .567; 1.2 and .75 give .537, .487,
# .559).
K1 = 0.9
B = 0.4

# What the manifest says of a segment's scores.
BM25_SETTINGS: Mapping[str, Scalar] = {"k1": K1, "b": B, "tokens": TOKENS_VERSION}

ARRAYS = {
    "weights.f32": "<f4",
    "rows.i32": "<i4",
    "starts.i64": "<i8",
    "terms.utf8": "|u1",
    "term_starts.i64": "<i8",
}

# Tokens that are sorted together while indexing: about 200 MB.
_TOKENS_AT_ONCE = 4_000_000


class Lengths(NamedTuple):
    """How long documents are, from which their average length follows. tokens: of all of them."""

    documents: int
    tokens: int


NO_LENGTHS = Lengths(0, 0)


class _Block(NamedTuple):
    """The pairs of some documents, sorted by term and row. terms: int32, as numbered when first met."""

    terms: NDArray[np.int32]
    rows: NDArray[np.int32]
    times: NDArray[np.int32]


def write_bm25(folder: Path, texts: Iterable[str], others: Lengths = NO_LENGTHS) -> Lengths:
    """Index texts, row by row from 0, into a new folder; durable but for the folder's own entry.

    others: the lengths of the index's documents besides these, which count in the average. Returns those of
    these texts. Memory grows with the number of different terms, not with that of the texts: blocks of pairs
    wait on the disk until the average is known. Raises StorageError.
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
    numbers: dict[str, int] = {}
    lengths = array("i")
    stored = 0
    for stored, block in enumerate(_blocks(texts, numbers, lengths), 1):
        with create(blocks / f"{stored}.npy") as file:
            np.save(file, np.stack(block), allow_pickle=False)
    own = Lengths(len(lengths), sum(lengths))
    average = (own.tokens + others.tokens) / max(1, own.documents + others.documents)
    penalty = K1 * (1 - B + B * np.array(lengths) / max(average, 1e-9))
    terms = sorted(numbers)
    places = np.empty(len(terms), np.int64)  # of a number among the sorted terms
    places[[numbers[term] for term in terms]] = np.arange(len(terms))
    counts = np.zeros(len(terms), np.int64)
    for block in _stored(blocks, stored):
        counts += np.bincount(places[block.terms], minlength=len(terms))
    starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
    for name, values in {"starts.i64": starts, **_packed(terms)}.items():
        _write_array(folder, name, values)
    _write_pairs(folder, _stored(blocks, stored), places, starts, penalty.astype(np.float32))
    return own


def _write_pairs(
    folder: Path,
    blocks: Iterable[_Block],
    places: NDArray[np.int64],
    starts: NDArray[np.int64],
    penalty: NDArray[np.float32],
) -> None:
    """Put every pair where its term's next one belongs; blocks come in the order of their rows."""
    size = int(starts[-1])
    with (
        _new_array(folder, "weights.f32", size) as weights,
        _new_array(folder, "rows.i32", size) as rows,
    ):
        free = starts[:-1].copy()
        for block in blocks:
            mine = places[block.terms]
            first = np.flatnonzero(np.diff(block.terms, prepend=-1))
            runs = np.diff(first, append=len(mine))
            at = np.repeat(free[mine[first]] - first, runs) + np.arange(len(mine))
            free[mine[first]] += runs
            weights[at] = block.times / (block.times + penalty[block.rows])
            rows[at] = block.rows


def _stored(blocks: Path, count: int) -> Iterator[_Block]:
    for number in range(1, count + 1):
        yield _Block(*np.load(blocks / f"{number}.npy", allow_pickle=False))


def _blocks(texts: Iterable[str], numbers: dict[str, int], lengths: array[int]) -> Iterator[_Block]:
    """Pairs of term and row with how often, block by block; terms are numbered as they appear."""
    tokens = array("i")
    start = 0
    for text in texts:
        found = lexical_tokens(text)
        tokens.extend(numbers.setdefault(token, len(numbers)) for token in found)
        lengths.append(len(found))
        if len(tokens) >= _TOKENS_AT_ONCE:
            yield _block(tokens, lengths, start)
            tokens, start = array("i"), len(lengths)
    if tokens:
        yield _block(tokens, lengths, start)


def _block(tokens: array[int], lengths: array[int], start: int) -> _Block:
    mine = np.frombuffer(lengths, np.int32)[start:].copy()  # an array that is looked at cannot grow
    rows = np.repeat(np.arange(start, start + len(mine)), mine)
    keys = np.frombuffer(tokens, np.int32).astype(np.int64) << 32 | rows
    pairs, times = np.unique(keys, return_counts=True)
    return _Block((pairs >> 32).astype(np.int32), pairs.astype(np.int32), times.astype(np.int32))


@contextmanager
def _new_array(folder: Path, name: str, size: int) -> Iterator[NDArray[Any]]:
    """A new file as an array of this size to write, which is durable afterwards."""
    kind = np.dtype(ARRAYS[name])
    with create(folder / name) as file:
        if not size:  # which cannot be mapped
            yield np.empty(0, kind)
        else:
            # A map of a file with holes ends the process, without a word, where the disk has no room for one.
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
