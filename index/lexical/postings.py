"""Writing of BM25 postings: one float a posting, its tf part (index/lexical/bm25.py has the formula).

In: texts by row. Out: files. Knows nothing of queries. Memory grows by 4 bytes a text and 24 bytes a
different term.

    weights.f32      (postings,)   tf parts, term by term
    rows.i32         (postings,)   their documents' rows, ascending within a term
    starts.i64       (terms + 1,)  where the postings of a term begin
    terms.utf8       (bytes,)      all terms, sorted
    term_starts.i64  (terms + 1,)  where a term begins in terms.utf8

The files hold plain little-endian numbers without a header.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from index.disk.files import allocate, create_durably, remove, storing
from index.disk.merged_texts import TextBlocks
from index.disk.opening import create
from index.lexical.bm25 import ARRAYS, K1, B
from index.lexical.tokens import lexical_tokens
from index.numbering import Numbering

# Tokens that are sorted at once while indexing: about 50 MB of memory, and some 15 MB for their terms.
_TOKENS_AT_ONCE = 1 << 20


class Lengths(NamedTuple):
    """The number of documents and of their tokens, which give the average length."""

    documents: int
    tokens: int


NO_LENGTHS = Lengths(0, 0)


class _Block(NamedTuple):
    """The postings of some documents, sorted by term number and row."""

    terms: NDArray[np.int32]  # numbers among the sorted ones of these documents
    rows: NDArray[np.int32]
    tf: NDArray[np.int32]  # how often the term occurs in the document


def write_bm25(folder: Path, texts: Iterable[str], others: Lengths = NO_LENGTHS) -> Lengths:
    """Index texts into a new folder; its files are durable, the folder's own entry is not.

    folder: the new folder.
    texts: one a row, from row 0.
    others: the lengths of the index's other documents, which count in the average.
    Returns the lengths of these texts. Blocks of postings are stored on the disk until all terms and the
    average length are known. Raises StorageError.
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
    terms = TextBlocks(blocks)
    lengths = array("i")
    for block in _blocks(texts, terms, lengths):
        with create(blocks / f"{len(terms.sizes) - 1}.npy") as file:
            np.save(file, np.stack(block), allow_pickle=False)
    own = Lengths(len(lengths), sum(lengths))
    average = (own.tokens + others.tokens) / max(1, own.documents + others.documents)
    counts = np.zeros(_write_terms(folder, terms), np.int64)
    for number, block in enumerate(_stored(blocks, len(terms.sizes))):
        counts[terms.noted(number)] += np.bincount(block.terms, minlength=terms.sizes[number])
    starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
    with create_durably(folder / "starts.i64") as file:
        file.write(starts.astype("<i8").data)
    _write_postings(folder, blocks, terms, starts, np.frombuffer(lengths, np.int32), average)
    return own


def _write_terms(folder: Path, terms: TextBlocks) -> int:
    """Write the terms of all blocks, sorted, and note their numbers for each block; returns their count."""
    total, size = 0, 0
    with (
        create_durably(folder / "terms.utf8") as characters,
        create_durably(folder / "term_starts.i64") as starts,
    ):
        starts.write(np.zeros(1, "<i8").data)
        for texts, parts in terms.merged():
            for block, numbers in enumerate(parts):
                terms.note(block, total + numbers)
            encoded = [text.encode() for text in texts]
            characters.write(b"".join(encoded))
            ends = size + np.cumsum(np.fromiter(map(len, encoded), np.int64, len(encoded)))
            starts.write(ends.astype("<i8").data)
            total, size = total + len(texts), int(ends[-1])
    return total


def _write_postings(
    folder: Path,
    blocks: Path,
    terms: TextBlocks,
    starts: NDArray[np.int64],
    lengths: NDArray[np.int32],
    average: float,
) -> None:
    """Write each posting to the next free place of its term; blocks come in the order of their rows."""
    size = int(starts[-1])
    with (
        _new_array(folder, "weights.f32", size) as weights,
        _new_array(folder, "rows.i32", size) as rows,
    ):
        free = starts[:-1].copy()
        for number, block in enumerate(_stored(blocks, len(terms.sizes))):
            numbers = terms.noted(number)[block.terms]
            first = np.flatnonzero(np.diff(numbers, prepend=-1))
            runs = np.diff(first, append=len(numbers))
            at = np.repeat(free[numbers[first]] - first, runs) + np.arange(len(numbers))
            free[numbers[first]] += runs
            start = int(block.rows.min())
            own = lengths[start : int(block.rows.max()) + 1]
            penalty = (K1 * (1 - B + B * own / max(average, 1e-9))).astype(np.float32)
            weights[at] = block.tf / (block.tf + penalty[block.rows - start])
            rows[at] = block.rows


def _stored(blocks: Path, count: int) -> Iterator[_Block]:
    for number in range(count):
        yield _Block(*np.load(blocks / f"{number}.npy", allow_pickle=False))


def _blocks(texts: Iterable[str], terms: TextBlocks, lengths: array[int]) -> Iterator[_Block]:
    """The postings of all texts, block by block. Stores the terms of each and fills in the texts' lengths."""
    numbers, tokens, start = Numbering(), array("i"), 0
    for text in texts:
        found = lexical_tokens(text)
        tokens.extend(map(numbers.__getitem__, found))
        lengths.append(len(found))
        if len(tokens) >= _TOKENS_AT_ONCE:
            yield _block(terms.add(numbers), tokens, lengths, start)
            numbers, tokens, start = Numbering(), array("i"), len(lengths)
    if tokens:
        yield _block(terms.add(numbers), tokens, lengths, start)


def _block(places: NDArray[np.int32], tokens: array[int], lengths: array[int], start: int) -> _Block:
    """The block of some documents. places: of each term of `tokens`, its place among the sorted terms."""
    counts = np.frombuffer(lengths, np.int32)[start:].copy()  # `lengths` cannot grow while it is viewed
    rows = np.repeat(np.arange(start, start + len(counts)), counts)
    keys = places[np.frombuffer(tokens, np.int32)].astype(np.int64) << 32 | rows
    postings, tf = np.unique(keys, return_counts=True)
    return _Block((postings >> 32).astype(np.int32), postings.astype(np.int32), tf.astype(np.int32))


@contextmanager
def _new_array(folder: Path, name: str, size: int) -> Iterator[NDArray[Any]]:
    """A new file as a writable memory-mapped array, durable when the block ends."""
    kind = np.dtype(ARRAYS[name])
    with create_durably(folder / name) as file:
        if not size:  # an empty file cannot be mapped
            yield np.empty(0, kind)
        else:
            allocate(file.fileno(), size * kind.itemsize)
            mapped = np.memmap(file, kind, "r+", shape=(size,))
            yield mapped
            mapped.flush()
