"""The words of a segment's documents: a vector for each distinct word, and which words each document has.

In: the files that `index.interaction.writing` wrote; rows and the vectors of query words. Out: matches. Late
interaction (ColBERT, Khattab and Zaharia 2020) needs a vector for each word of a document. Here equal words
have equal vectors, so each distinct word of a segment is stored once. Knows nothing of models.

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

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from index.disk.arrays import map_array, reading_arrays
from index.errors import NO_COMPILED_LOOPS, CorruptError
from index.interaction.matches import FIELDS, Comparison, Matches, matches_of
from index.values import Rows, Vectors

if TYPE_CHECKING:
    from numpy.typing import NDArray

# The files of the distinct words, all of them, and their dtypes.
TABLE_ARRAYS = {"vectors.i8": "|i1", "scales.f32": "<f4", "weights.f32": "<f4"}
ARRAYS = {**TABLE_ARRAYS, "words.i32": "<i4", "starts.i64": "<i8"}
_OF_DOCUMENTS = ("words.i32", "starts.i64")
_FIELDS_BEFORE = 2  # in format 4
_DO_NOT_FIT = "its files do not fit together; restore them or build the index again"

# If there are at most so many distinct words for each place, equal words are found and compared only once.
# With more, finding them would cost more than it saves.
_WORDS_A_PLACE = 4


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
    documents: how many documents it was written from.
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
        """Match in compiled loops from now on; see `WordTable.compile`."""
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
    if lengths.min(initial=0) < 0 or bounds.min(initial=0) < 0 or bounds.max(initial=0) > len(words):
        raise ValueError("a document with impossible words")
    ends = np.cumsum(totals)
    if ends[-1:].sum() > len(words):
        raise ValueError("documents with too many words")
    at = np.repeat(bounds[:, 0] - ends + totals, totals)
    return words[at + np.arange(len(at))], lengths
