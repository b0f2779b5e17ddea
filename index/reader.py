"""Index: an open generation of an index, read-only.

In: query vectors or texts; rows. Out: rankings of rows; documents. Knows nothing of models or text encoding.
Opening checks the pointer, the manifest and the size of every file, and on request every byte.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from functools import lru_cache, partial
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from index.dense.passages import Span
from index.dense.vectors import FLAT
from index.disk.folder import Pointer, open_live
from index.disk.manifest import Manifest
from index.documents.store import Document, DocumentReader
from index.errors import InputError
from index.held import HeldGeneration, holding
from index.interaction.matches import Matches
from index.lexical.bm25 import Bm25, Weighed, WordMatch, weigh
from index.locks import ProcessLock
from index.ranking import Ranking, empty_ranking, merge
from index.segment import Segment
from index.values import Mask, Rows, Vectors

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from index.documents.columns import Column
    from index.documents.filtering.expression import Expression, Field
    from index.documents.numbers import Attribute
    from index.lexical.similar import SimilarTerms

# What only filters, facets and grouping need is imported on first use: most searches from the shell use none
# of these, and must not wait for the imports.

# Filters whose masks are cached, one byte a document each.
_CACHED_FILTERS = 8
# Documents read at once where all are read.
_DOCUMENTS_AT_ONCE = 1024
# Queries whose weighed words are cached: those of one batch.
_WEIGHED_QUERIES = 64


class Index(HeldGeneration):
    """An open generation in files, see `index.protocol.OpenIndex`; safe for use by several threads.

    segments: in the order of their rows.
    waits: False: a search waits for no other machine.
    Rows number the documents of all segments from 0, deleted ones included.
    """

    waits = False

    def __init__(
        self,
        folder: Path,
        pointer: Pointer,
        manifest: Manifest,
        segments: Sequence[Segment],
        opened: ExitStack,
    ) -> None:
        """Use `open` instead. opened: what `close` closes."""
        super().__init__(folder, pointer, manifest, opened)
        self.segments = tuple(segments)
        self._offsets = [0, *accumulate(segment.count for segment in segments)][:-1]
        vectors = [segment.entry.vectors for segment in segments]
        self._vector_offsets = [0, *accumulate(vectors)][:-1]
        # A search weighs its query to rank documents, and again to judge the hits.
        parts = [segment.lexical for segment in segments]
        live = [segment.live for segment in segments]
        self._weighed: Callable[[str], Weighed] = lru_cache(_WEIGHED_QUERIES)(
            partial(weigh, parts, live=live)
        )
        self._filters: dict[tuple[Expression, ...], list[Mask]] = {}
        self._filters_lock = ProcessLock()

    @classmethod
    def open(cls, folder: Path, *, checksums: bool = False) -> Index:
        """Open the live generation. checksums: compare every byte first.

        Raises InputError if there is no index, ElsewhereError if it lives on a server, CorruptError,
        FormatVersionError, StorageError.
        """
        return open_live(folder, lambda pointer: _open(folder, pointer, checksums))

    @classmethod
    def open_kept(cls, folder: Path, pointer: Pointer) -> Index:
        """Open a generation that the live one keeps, see index/disk/previous.py.

        It can be gone, unless the caller holds the writer lock. Raises CorruptError, StorageError.
        """
        return _open(folder, pointer, checksums=False)

    def keep_vectors(self, most_bytes: int) -> None:
        """Keep converted vectors in memory for exact search, smallest segments first, up to a size.

        most_bytes: of all segments together. If it is above 0, compiled loops search if numba is there, and
            compressed vectors are in large pages of memory if the system gives them.
        Call it before other threads use the index.
        """
        if most_bytes:
            for segment in self.segments:
                segment.expect_many()
        for segment in sorted(self.segments, key=Segment.kept_bytes):
            most_bytes -= segment.kept_bytes()
            if segment.kept_bytes() and most_bytes >= 0:
                segment.keep_vectors()

    def search_dense(
        self,
        queries: NDArray[np.float32],
        k: int,
        where: Sequence[Expression] = (),
        *,
        model: str | None = None,
    ) -> Ranking:
        """The nearest documents of each query by inner product, from the tuned dense index of each segment.

        queries: float32 (n, dimension), of unit length.
        k: results a query, at least 1; the ranking is (n, min(k, count)).
        where: filters that a document's metadata must all meet; the search is then exact.
        model: fingerprint of the model that encoded the queries; None is not checked.
        Raises InputError for another shape, NaN, a k below 1, a field that no document has, another model.
        """
        queries = self._checked(queries, model)
        return self._search(
            k, len(queries), where, lambda at, k, mask: self.segments[at].search_dense(queries, k, mask)
        )

    def search_exact(self, queries: NDArray[np.float32], k: int, where: Sequence[Expression] = ()) -> Ranking:
        """The nearest documents by comparing every stored vector. Parameters as in `search_dense`."""
        queries = self._checked(queries)
        return self._search(
            k, len(queries), where, lambda at, k, mask: self.segments[at].search_exact(queries, k, mask)
        )

    def search_lexical(self, queries: Sequence[str], k: int, where: Sequence[Expression] = ()) -> Ranking:
        """The best documents by BM25; those without any term of the query are left out (row -1).

        queries: texts.
        k: results a query, at least 1; the ranking is (n, min(k, count)).
        where: filters that a document's metadata must all meet.
        Raises InputError for a k below 1 and a field that no document has.
        """
        weighed = list(zip(*(self._weighed(query).by_segment for query in queries), strict=True))
        return self._search(
            k, len(queries), where, lambda at, k, mask: self.segments[at].search_lexical(weighed[at], k, mask)
        )

    def is_exact(self, where: Sequence[Expression]) -> bool:
        """Whether a dense search with these filters compares every vector, so that its order is exact."""
        return bool(where) or all(segment.entry.faiss == FLAT for segment in self.segments)

    def matching(self, where: Sequence[Expression], query: str | None = None) -> list[Mask]:
        """For each segment the live documents that meet the filters, bool (segment.count,).

        query: if given, a text of which they also have a word, as in `search_lexical`.
        """
        masks = self._masks(tuple(where)) if where else [None] * len(self.segments)
        found = [
            np.ones(segment.count, bool) if mask is None else mask
            for segment, mask in zip(self.segments, map(Segment.allowed, self.segments, masks), strict=True)
        ]
        if query is None:
            return found
        parts = [segment.lexical for segment in self.segments]
        having = map(Bm25.having, parts, self._weighed(query).by_segment)
        return [mask & one for mask, one in zip(found, having, strict=True)]

    def columns(self, field: Field) -> list[Column]:
        """For each segment the values of a metadata field. Raises InputError if no document has it."""
        from index.documents.filtering.fields import check_field

        check_field(field, self._fields())
        return [segment.documents.column(field) for segment in self.segments]

    def fields_of_few_values(self, most: int) -> list[str]:
        """The metadata fields with at most `most` distinct values, as a filter spells them, in order."""
        from index.documents.attributes import shown_name

        found: set[str] = set()
        for name in self._fields():
            parts = [segment.documents.few_values(name, most) for segment in self.segments]
            known = [part for part in parts if part is not None]
            if len(known) == len(parts) and len(set().union(*known)) <= most:
                found.add(shown_name(name))
        return sorted(found)

    def values_of(self, field: Field, rows: Sequence[int]) -> list[list[Attribute]]:
        """The values that the documents of these rows have in a field. Raises InputError as `columns`."""
        columns = self.columns(field)
        places = [bisect_right(self._offsets, row) - 1 for row in rows]
        return [columns[at].values_of(row - self._offsets[at]) for at, row in zip(places, rows, strict=True)]

    def documents(self, rows: Sequence[int]) -> list[Document]:
        """The documents of these rows, in this order. Raises IndexError for a row that does not exist."""
        return self._documents(rows, DocumentReader.documents)

    def texts(self, rows: Sequence[int]) -> list[Document]:
        """`documents` without metadata, which is empty. Faster, for those of the last calls are kept."""
        return self._documents(rows, DocumentReader.texts)

    def _documents(
        self, rows: Sequence[int], read: Callable[[DocumentReader, Sequence[int]], list[Document]]
    ) -> list[Document]:
        documents: dict[int, Document] = {}
        for segment, offset in zip(self.segments, self._offsets, strict=True):
            inside = [row for row in rows if offset <= row < offset + segment.count]
            local = read(segment.documents, [row - offset for row in inside])
            documents.update(zip(inside, local, strict=True))
        missing = [row for row in rows if row not in documents]
        if missing:
            raise IndexError(f"row {missing[0]} is not in the index")
        return [documents[row] for row in rows]

    def live_documents(self) -> Iterator[Document]:
        """All documents that a search can find, by row."""
        rows = self.rows().tolist()
        for start in range(0, len(rows), _DOCUMENTS_AT_ONCE):
            yield from self.documents(rows[start : start + _DOCUMENTS_AT_ONCE])

    def row_of(self, id: str) -> int | None:  # noqa: A002
        """The row of the live document with this id; None if there is none."""
        return self.rows_of([id]).get(id)

    def rows_of(self, ids: Sequence[str]) -> dict[str, int]:
        """The rows of live documents by document id; ids that no document has are left out."""
        return {
            each: row + offset
            for segment, offset in zip(self.segments, self._offsets, strict=True)
            for each, row in segment.rows_of(list(ids)).items()
        }

    def rows(self, where: Sequence[Expression] = ()) -> Rows:
        """The rows of all documents that a search can find, ascending.

        where: filters that a document's metadata must all meet.
        Raises InputError for a field that no document has.
        """
        return _numbers(
            (segment.count, mask) for segment, mask in zip(self.segments, self.matching(where), strict=True)
        )

    def spans(self, row: int) -> list[Span]:
        """The passages of a document, in order; none if it was not split."""
        segment, inside = self._place(row)
        spans = segment.passages.spans(inside) if segment.passages is not None else []
        return spans if len(spans) > 1 else []

    def nearest_spans(self, rows: Rows, query: NDArray[np.float32]) -> list[Span | None]:
        """The passage of each document with the largest inner product, of equal ones the first.

        rows: int64 (n,), of documents.
        query: float32 (dimension,).
        None stands for a document that was not split.
        """
        spans: list[Span | None] = [None] * len(rows)
        for segment, inside, local in self._by_segment(rows):
            for place, span in zip(
                np.arange(len(rows))[inside], segment.nearest_spans(local, query), strict=True
            ):
                spans[place] = span
        return spans

    def prepare(self, rows: Rows) -> None:
        """Nothing: all of it is in mapped files."""

    def cosines(self, rows: Rows, query: NDArray[np.float32]) -> NDArray[np.float32]:
        """Inner products of a query with documents, float32 (n,); of a split one the largest of its passages.

        rows: int64 (n,), of documents.
        query: float32 (dimension,).
        """
        cosines = np.empty(len(rows), np.float32)
        for segment, inside, local in self._by_segment(rows):
            cosines[inside] = segment.cosines(local, query)
        return cosines

    def match_words(self, query: str, rows: Rows) -> WordMatch:
        """How well documents match the words of a query: BM25 scores and shares of the words' weight.

        query: its text.
        rows: int64 (n,), of documents.
        """
        weighed = self._weighed(query)
        weight = weighed.weight or 1.0
        scores, shares = np.zeros((2, len(rows)), np.float32)
        for segment, inside, local in self._by_segment(rows):
            terms = weighed.by_segment[self.segments.index(segment)]
            scores[inside], shares[inside] = segment.lexical.match(terms, local)
        shares /= np.float32(weight)
        return WordMatch(scores, shares, weight, weighed.words)

    def unknown_terms(self, query: str) -> tuple[str, ...]:
        """The terms of a query that no document has, deleted ones not counted."""
        return self._weighed(query).unknown

    def documents_with(self, term: str) -> int:
        """How many documents have a term, deleted ones included."""
        places = [segment.lexical.postings(term) for segment in self.segments]
        return sum(place.stop - place.start for place in places)

    def similar_terms(self, term: str) -> SimilarTerms:
        """The terms that are similar to one that no document has."""
        from index.lexical.similar import SimilarTerms

        begun, edited = Counter[str](), Counter[str]()
        for segment in self.segments:
            found = segment.lexical.similar_terms(term)
            begun.update(found.begun)
            edited.update(found.edited)
        return SimilarTerms(begun, edited)

    def first_term_from(self, text: str) -> str | None:
        """The first term, by code points, that is not smaller than a text; None if all are."""
        found = (segment.lexical.first_term_from(text) for segment in self.segments)
        return min(filter(None, found), default=None)

    def word_width(self) -> int:
        """The width of the vectors of words that all segments have; 0 if some have none or another width."""
        widths = {segment.entry.word_width for segment in self.segments}
        return widths.pop() if len(widths) == 1 else 0

    def compare_words(self, rows: Rows, queries: Vectors) -> Iterator[tuple[Mask | slice, Matches]]:
        """The words of documents compared with words of a query, segment by segment.

        rows: int64 (n,), of documents.
        queries: float32 (m, word width), directions of unit length.
        Yields which of the rows are in a segment, and their comparison; see `index.interaction.words`.
        """
        for segment, inside, local in self._by_segment(rows):
            if segment.words is not None:
                yield inside, segment.words.match(local, queries)

    def _by_segment(self, rows: Rows) -> Iterator[tuple[Segment, Mask | slice, Rows]]:
        """The segments that hold some of these rows: which of them, and their rows within the segment."""
        if len(self.segments) == 1:
            yield self.segments[0], slice(None), rows
            return
        for segment, offset in zip(self.segments, self._offsets, strict=True):
            inside = (rows >= offset) & (rows < offset + segment.count)
            if inside.any():
                yield segment, inside, rows[inside] - offset

    def vector_numbers(self) -> Rows:
        """The numbers of the vectors of all documents that a search can find, ascending.

        A vector stands for a passage. Numbers count through all segments, like rows.
        """
        return _numbers((segment.entry.vectors, segment.live_vectors) for segment in self.segments)

    def vectors(self, numbers: Rows) -> Vectors:
        """The stored vectors of these numbers, float32 (n, dimension)."""
        vectors = np.empty((len(numbers), self.dimension), np.float32)
        for segment, offset in zip(self.segments, self._vector_offsets, strict=True):
            inside = (numbers >= offset) & (numbers < offset + segment.entry.vectors)
            vectors[inside] = segment.vectors.take(numbers[inside] - offset)
        return vectors

    def search_vectors(self, queries: Vectors, k: int) -> Ranking:
        """The nearest vectors by number, (n, k); parameters as in `search_dense`."""
        queries = self._checked(queries)
        parts = [segment.search_vectors(queries, k) for segment in self.segments]
        return parts[0] if len(parts) == 1 else merge(parts, self._vector_offsets, k)

    def parts(self) -> Sequence[Segment]:
        """The segments."""
        return self.segments

    def problems(self) -> list[str]:
        """None: all of the index is in its folder."""
        return []

    def _place(self, row: int) -> tuple[Segment, int]:
        """The segment of a row, and the row within it. Raises IndexError for a row that does not exist."""
        number = bisect_right(self._offsets, row) - 1
        if number < 0 or row - self._offsets[number] >= self.segments[number].count:
            raise IndexError(f"row {row} is not in the index")
        return self.segments[number], row - self._offsets[number]

    def _search(
        self,
        k: int,
        queries: int,
        where: Sequence[Expression],
        search: Callable[[int, int, Mask | None], Ranking],
    ) -> Ranking:
        """Search every segment and merge the rankings. search: called with a segment's number, k and mask."""
        if k < 1:
            raise InputError(f"k must be at least 1, not {k}")
        k = min(k, self.count)
        masks = self._masks(tuple(where)) if where else [None] * len(self.segments)
        if not queries or not k:
            return empty_ranking(queries, k)
        parts = [
            search(number, min(k, segment.entry.live), mask)
            for number, (segment, mask) in enumerate(zip(self.segments, masks, strict=True))
        ]
        return parts[0] if len(parts) == 1 else merge(parts, self._offsets, k)

    def _masks(self, where: tuple[Expression, ...]) -> list[Mask]:
        """For each segment the rows that meet all conditions; the last filters are cached."""
        with self._filters_lock:
            masks = self._filters.get(where)
        if masks is None:  # two threads may compute the same mask; neither waits for the other
            from index.documents.filtering.expression import all_of
            from index.documents.filtering.fields import check_fields

            expression = all_of(where)
            check_fields(expression, self._fields())
            masks = [segment.documents.matching(expression) for segment in self.segments]
        with self._filters_lock:
            self._filters.pop(where, None)
            self._filters[where] = masks
            while len(self._filters) > _CACHED_FILTERS:
                del self._filters[next(iter(self._filters))]
        return masks

    def _fields(self) -> set[str]:
        """The stored names of all metadata fields."""
        return set().union(*(segment.documents.fields() for segment in self.segments))


def _numbers(parts: Iterable[tuple[int, Mask | None]]) -> Rows:
    """The numbers of all rows, counted through all segments, without those that a mask excludes.

    parts: for each segment its count, and a mask, bool (count,), or None for all.
    """
    numbers, offset = [np.empty(0, np.int64)], 0
    for count, mask in parts:
        numbers.append(offset + (np.arange(count) if mask is None else np.flatnonzero(mask)))
        offset += count
    return np.concatenate(numbers)


def _open(folder: Path, pointer: Pointer, checksums: bool) -> Index:
    with holding(folder, pointer, checksums=checksums, elsewhere=False) as (manifest, opened):
        segments = [
            opened.enter_context(
                closing(
                    Segment(
                        folder / pointer.generation / entry.name, entry, manifest.dimension, manifest.files
                    )
                )
            )
            for entry in manifest.segments
        ]
        return Index(folder, pointer, manifest, segments, opened.pop_all())
