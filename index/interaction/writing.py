"""Writing of the words of documents as vectors, which `index.interaction.words` reads.

In: texts by row, and what gives their words and vectors. Out: files. Knows nothing of queries. Distinct words
are found block by block, so that memory hardly grows with them.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from io import BufferedRandom
from pathlib import Path
from shutil import copyfileobj
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from index.disk.files import create_durably, remove, storing
from index.disk.merged_texts import TextBlocks
from index.disk.opening import create, open_to_read, read_file
from index.interaction.words import ARRAYS, TABLE_ARRAYS
from index.numbering import Numbering
from index.values import Texts, Vectors

# Distinct words that are encoded at once while writing. It is always the same words together: in float32 the
# vector of a word depends on what is multiplied with it, and a local and a remote index must have the same.
_WORDS_AT_ONCE = 8192
# Distinct words of a block, some 20 MB of memory, and places.
_WORDS_A_BLOCK = 1 << 17
_PLACES_A_BLOCK = 1 << 21


class WordEncoder(Protocol):
    """What gives words and their vectors.

    width: of a vector.
    reads_queries: whether documents are found by the queries that they are known to answer, too.
    """

    width: int
    reads_queries: bool

    def distinct_words(self, texts: Texts) -> tuple[list[str], ...]:
        """The distinct words of each field of a document; none of a field without words."""

    def encode_words(self, words: Sequence[str]) -> tuple[Vectors, NDArray[np.float32]]:
        """The directions of n words, float32 (n, width), and how much each counts, float32 (n,)."""


def write_words(folder: Path, texts: Iterable[Texts], encoder: WordEncoder) -> None:
    """Write the words of documents into a new folder; its files are durable, the folder's entry is not.

    folder: the new folder.
    texts: of each document, by row.
    encoder: gives their words and the vectors.
    Memory grows by 4 bytes for each distinct word of each block of documents. Raises StorageError.
    """
    with storing(folder), ExitStack() as opened:
        folder.mkdir()
        files = {name: opened.enter_context(create_durably(folder / name)) for name in ARRAYS}
        blocks = folder / "blocks"
        blocks.mkdir()
        try:
            distinct = TextBlocks(blocks)
            _write_blocks(blocks, distinct, files["starts.i64"], texts, encoder)
            _note_first_uses(distinct)
            _write_numbered(blocks, distinct, files, encoder)
        finally:
            remove(blocks)


def _write_blocks(
    blocks: Path,
    distinct: TextBlocks,
    starts: BufferedRandom,
    texts: Iterable[Texts],
    encoder: WordEncoder,
) -> None:
    """Store the words of the documents block by block, numbered within the block, and write their starts."""
    numbers, places, ends = Numbering(), array("i"), array("q", [0])
    before = 0

    def store() -> None:
        with create(blocks / f"{len(distinct.sizes)}.places.i32") as file:
            file.write(np.array(places, "<i4").data)
        distinct.add(numbers)
        starts.write(np.array(ends, "<i8").data)

    for each in texts:
        for words in encoder.distinct_words(each):
            places.extend(map(numbers.__getitem__, words))
            ends.append(before + len(places))
        if len(numbers) >= _WORDS_A_BLOCK or len(places) >= _PLACES_A_BLOCK:
            store()
            before += len(places)
            numbers, places, ends = Numbering(), array("i"), array("q")
    store()


def _note_first_uses(distinct: TextBlocks) -> None:
    """Note of each word of each block where it comes first among the words of all blocks, block by block."""
    bases = np.concatenate([np.zeros(1, np.int64), np.cumsum(distinct.sizes)])
    done = bases[:-1].copy()
    for texts, parts in distinct.merged():
        firsts = np.full(len(texts), -1)
        for block, numbers in enumerate(parts):
            new = firsts[numbers] < 0
            firsts[numbers[new]] = done[block] + np.flatnonzero(new)
            distinct.note(block, firsts[numbers])
            done[block] += len(numbers)


def _write_numbered(
    blocks: Path, distinct: TextBlocks, files: Mapping[str, BufferedRandom], encoder: WordEncoder
) -> None:
    """Number the words of all blocks in the order of their first use; write vectors and places."""
    numbers = np.empty(sum(distinct.sizes), np.int32)  # of the sorted words of each block, block by block
    fresh: list[str] = []
    start = known = 0
    for block, size in enumerate(distinct.sizes):
        firsts, order = distinct.noted(block), distinct.order(block)
        new = firsts == np.arange(start, start + size)
        first_used = np.flatnonzero(new)[np.argsort(order[new])]
        own = numbers[start : start + size]
        own[first_used] = np.arange(known, known + len(first_used))
        own[~new] = numbers[firsts[~new]]
        by_use = np.empty(size, np.int32)
        by_use[order] = own
        places = np.frombuffer(read_file(blocks / f"{block}.places.i32"), "<i4")
        files["words.i32"].write(by_use[places].astype("<i4").data)
        words = distinct.texts(block).all()
        fresh += [words[at] for at in first_used.tolist()]
        while len(fresh) >= _WORDS_AT_ONCE:
            _write_vectors(files, fresh[:_WORDS_AT_ONCE], encoder)
            del fresh[:_WORDS_AT_ONCE]
        start, known = start + size, known + len(first_used)
    _write_vectors(files, fresh, encoder)


def write_table(folder: Path, base: Path | None, words: Sequence[str], encoder: WordEncoder) -> None:
    """Write distinct words alone into a folder, after those of another one; the files are durable.

    folder: that has none of these files.
    base: the folder whose words come first; None if there are no others.
    words: the new ones.
    encoder: gives their vectors, the same ones that `write_words` gets.
    Raises StorageError.
    """
    with storing(folder), ExitStack() as opened:
        files = {name: opened.enter_context(create_durably(folder / name)) for name in TABLE_ARRAYS}
        if base is not None:
            for name, file in files.items():
                with open_to_read(base / name) as before:
                    copyfileobj(before, file)
        for start in range(0, len(words), _WORDS_AT_ONCE):
            _write_vectors(files, words[start : start + _WORDS_AT_ONCE], encoder)


def _write_vectors(files: Mapping[str, BufferedRandom], words: Sequence[str], encoder: WordEncoder) -> None:
    if not words:
        return
    directions, weights = encoder.encode_words(words)
    largest = np.abs(directions).max(axis=1, keepdims=True)
    rows = np.rint(directions * (127 / np.where(largest > 0, largest, 1))).astype(np.int8)
    lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float32))
    files["vectors.i8"].write(rows.data)
    files["scales.f32"].write((1 / np.maximum(lengths, 1)).astype("<f4").data)
    files["weights.f32"].write(weights.astype("<f4").data)
