"""The words of a segment's documents: a vector for each distinct word, and which words each document has.

In: documents and a `WordEncoder` to write; rows and the vectors of query words to match. Out: the files;
matches. Late interaction (ColBERT, Khattab and Zaharia 2020) needs a vector for each word of a document. Here
equal words have equal vectors, so each distinct word of a segment is stored once. Knows nothing of models.

    vectors.i8    (words, width)    directions of the distinct words, each with 127 as its largest entry
    scales.f32    (words,)          what makes a row of vectors.i8 of unit length
    weights.f32   (words,)          how much a word counts among others
    words.i32     (places,)         distinct words of the title, of the text and of the known queries,
                                    document by document
    starts.i64    (3n + 1,)         where these fields of each of the n documents begin in words.i32;
                                    in format 4, which had no queries, (2n + 1,)

The files hold plain little-endian numbers without a header.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from io import BufferedRandom
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from index.disk.arrays import map_array, reading_arrays
from index.disk.files import remove, storing
from index.disk.merged_texts import TextBlocks
from index.disk.opening import create, open_to_read, read_file
from index.errors import NO_COMPILED_LOOPS, CorruptError
from index.interaction.matches import FIELDS, Comparison, Matches, matches_of
from index.numbering import Numbering
from index.values import Rows, Texts, Vectors

# The files of the distinct words, all of them, and their dtypes.
TABLE_ARRAYS = {"vectors.i8": "|i1", "scales.f32": "<f4", "weights.f32": "<f4"}
ARRAYS = {**TABLE_ARRAYS, "words.i32": "<i4", "starts.i64": "<i8"}
_OF_DOCUMENTS = ("words.i32", "starts.i64")
_FIELDS_BEFORE = 2  # in format 4
_DO_NOT_FIT = "its files do not fit together; restore them or build the index again"

# Distinct words that are encoded at once while writing: always the same ones together, for sums of float32
# depend on what is multiplied with them, and a local and a remote index shall have the same vectors.
_WORDS_AT_ONCE = 8192
# Distinct words of a block, some 20 MB of memory, and places.
_WORDS_A_BLOCK = 1 << 17
_PLACES_A_BLOCK = 1 << 21
# With so few distinct words for each place, equal words are compared once; with more, finding them would cost
# more than it saves.
_WORDS_A_PLACE = 4


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
        files = {name: opened.enter_context(create(folder / name)) for name in ARRAYS}
        blocks = folder / "blocks"
        blocks.mkdir()
        try:
            distinct = TextBlocks(blocks)
            _write_blocks(blocks, distinct, files["starts.i64"], texts, encoder)
            _note_first_uses(distinct)
            _write_numbered(blocks, distinct, files, encoder)
        finally:
            remove(blocks)
        _sync(files)


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
        files = {name: opened.enter_context(create(folder / name)) for name in TABLE_ARRAYS}
        if base is not None:
            from shutil import copyfileobj  # a search must not wait for it

            for name, file in files.items():
                with open_to_read(base / name) as before:
                    copyfileobj(before, file)
        for start in range(0, len(words), _WORDS_AT_ONCE):
            _write_vectors(files, words[start : start + _WORDS_AT_ONCE], encoder)
        _sync(files)


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


def _sync(files: Mapping[str, BufferedRandom]) -> None:
    for file in files.values():
        file.flush()
        os.fsync(file.fileno())


class WordTable:
    """The distinct words of documents, memory-mapped; safe for use by several threads.

    folder: what `write_words` or `write_table` wrote.
    width: of the vectors.
    Raises CorruptError, on opening or while comparing, if the files are not what was written.
    """

    def __init__(self, folder: Path, width: int) -> None:
        self.width = width
        self._folder = folder
        vectors, self._scales, self._weights = (
            map_array(folder / name, kind) for name, kind in TABLE_ARRAYS.items()
        )
        count = len(self._scales)
        if not (len(self._weights) == count and len(vectors) == count * width):
            raise CorruptError(f"{folder}: {_DO_NOT_FIT}")
        self._vectors = vectors.reshape(count, width)
        self._compiled: Callable[..., Matches] | None = None

    def compile(self) -> None:
        """Match in compiled loops from now on, if numba is there; call it before other threads use the table.

        Raises CorruptError for numbers that are not finite, which the loops would not notice.
        """
        try:
            from index.interaction.compiled import compiled_matches
        except NO_COMPILED_LOOPS:
            return
        with reading_arrays(self._folder):
            if not (np.isfinite(self._scales).all() and np.isfinite(self._weights).all()):
                raise ValueError("a number that is not finite")
            if len(self._scales):  # compile, or read what was compiled, before the first search
                none = np.zeros((1, FIELDS + 1), np.int64), np.zeros((1, self.width), np.float32)
                compiled_matches(self._arrays, np.frombuffer(b"", np.int32), *none)
        self._compiled = compiled_matches

    @property
    def _arrays(self) -> tuple[NDArray[np.int8], NDArray[np.float32], NDArray[np.float32]]:
        return self._vectors, self._scales, self._weights

    def match(
        self,
        words: NDArray[np.integer[Any]],
        bounds: NDArray[np.int64],
        queries: Vectors,
    ) -> Matches:
        """The words of n documents matched with words of a query.

        words: int32, numbers of words of documents.
        bounds: int64 (n, FIELDS + 1), where the fields of a document begin in `words`, and where the last one
            ends.
        queries: float32 (m, width), directions of unit length.
        """
        with reading_arrays(self._folder):
            if self._compiled is not None:
                return self._compiled(self._arrays, words, bounds, np.ascontiguousarray(queries))
            return matches_of(self._compare(*_gathered(words, bounds), queries))

    def _compare(
        self, words: NDArray[np.integer[Any]], lengths: NDArray[np.int64], queries: Vectors
    ) -> Comparison:
        """The cosines of the words of n documents with words of a query.

        words: int (total,), numbers of the words of each document, field by field.
        lengths: int64 (n, FIELDS), how many words each field has.
        queries: float32 (m, width), directions of unit length.
        """
        if words.min(initial=0) < 0:
            raise ValueError("a word with an impossible number")
        used, places = self._distinct(words)
        weights = self._weights.take(used)
        # Twice as fast as with the transposed view.
        cosines = self._vectors.take(used, axis=0).astype(np.float32) @ queries.T.copy()
        cosines *= self._scales.take(used)[:, None]
        if not (np.isfinite(weights).all() and np.isfinite(cosines).all()):
            raise ValueError("a vector that is not finite")
        return Comparison(cosines, weights, places, lengths)

    def _distinct(
        self, words: NDArray[np.integer[Any]]
    ) -> tuple[NDArray[np.integer[Any]], NDArray[np.integer[Any]]]:
        """Words without repeats as far as that saves time, and the place of each given word among them."""
        if len(self._scales) > _WORDS_A_PLACE * len(words):
            return words, np.arange(len(words))
        used = np.zeros(len(self._scales), bool)
        used[words] = True
        distinct = np.flatnonzero(used)
        numbers = np.empty(len(used), np.int32)
        numbers[distinct] = np.arange(len(distinct))
        return distinct, numbers.take(words)


class Words:
    """The words of a published segment, memory-mapped; safe for use by several threads.

    folder: what `write_words` wrote.
    documents: how many it was written from.
    width: of the vectors.
    Raises CorruptError, on opening or while comparing, if the files are not what was written.
    """

    def __init__(self, folder: Path, documents: int, width: int) -> None:
        self._folder = folder
        self.width = width
        self._table = WordTable(folder, width)
        self._words, self._starts = (map_array(folder / name, ARRAYS[name]) for name in _OF_DOCUMENTS)
        self._fields, rest = divmod(len(self._starts) - 1, documents)
        if self._fields not in (FIELDS, _FIELDS_BEFORE) or rest or self._starts[-1] != len(self._words):
            raise CorruptError(f"{folder}: {_DO_NOT_FIT}")

    def compile(self) -> None:
        """As `WordTable.compile`."""
        self._table.compile()

    def match(self, rows: Rows, queries: Vectors) -> Matches:
        """The words of some documents matched with words of a query.

        rows: int64 (n,), of documents.
        queries: float32 (m, width), directions of unit length.
        """
        with reading_arrays(self._folder):
            # A field that the file does not have is empty.
            fields = np.minimum(np.arange(FIELDS + 1), self._fields)
            bounds = self._starts[self._fields * rows[:, None] + fields]
        return self._table.match(self._words, bounds, queries)


def _gathered(
    words: NDArray[np.integer[Any]], bounds: NDArray[np.int64]
) -> tuple[NDArray[np.integer[Any]], NDArray[np.int64]]:
    """The words of documents one after the other, and how many each field has.

    Raises ValueError for impossible bounds.
    """
    lengths = np.diff(bounds)
    totals = lengths.sum(axis=1)
    if lengths.min(initial=0) < 0 or bounds.min(initial=0) < 0:
        raise ValueError("a document with impossible words")
    ends = np.cumsum(totals)
    if ends[-1:].sum() > len(words):
        raise ValueError("documents with too many words")
    at = np.repeat(bounds[:, 0] - ends + totals, totals)
    return words[at + np.arange(len(at))], lengths
