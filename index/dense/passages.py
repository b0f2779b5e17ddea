"""The passages of a segment: which document each vector belongs to, and which part of its text it stands for.

In: a table with one line a vector. Out: rankings of documents from rankings of vectors; the passages of a
document. A document scores as its best passage. Knows nothing of texts or of how they are split.

The table is int32 (vectors, 3), little-endian: row of the document, first character, end. Rows ascend, and
every document has a vector.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from index.disk.arrays import map_array
from index.disk.files import create_durably, storing
from index.errors import CorruptError
from index.ranking import Ranking, empty_ranking
from index.values import Mask, Rows, Vectors

if TYPE_CHECKING:
    from numpy.typing import NDArray

COLUMNS = 3
# Vectors that a search asks for first: the best documents seldom have more than this many among them.
_VECTORS_A_DOCUMENT = 4
# Room for vectors beyond one a document at the first depth: this many, and one in this many of all of them.
_SPARE_VECTORS = 8
# By how much a search goes deeper if the vectors that it found belong to too few documents.
_DEPTH_GROWTH = 4


class Span(NamedTuple):
    """A passage: characters [start, end) of a document's text."""

    start: int
    end: int


def passage_table(spans: Sequence[Sequence[Span]]) -> NDArray[np.int32]:
    """The table of some documents, numbered from 0. spans: the passages of each document, at least one."""
    if all(len(parts) == 1 for parts in spans):
        return whole_documents(len(spans))
    lines = [(row, *span) for row, parts in enumerate(spans) for span in parts]
    return np.array(lines, np.int32).reshape(-1, COLUMNS)


def whole_documents(count: int) -> NDArray[np.int32]:
    """The table of documents that are not split. Nobody asks for the spans of these, so they are empty."""
    table = np.zeros((count, COLUMNS), np.int32)
    table[:, 0] = np.arange(count)
    return table


def split_lines(table: NDArray[np.int32]) -> NDArray[np.int32]:
    """The lines of the documents that have several lines."""
    return table[np.bincount(table[:, 0], minlength=1)[table[:, 0]] > 1]


def with_whole_documents(lines: NDArray[np.int32], first: int, stop: int) -> NDArray[np.int32]:
    """The part of a table for the documents number `first` to `stop - 1`.

    lines: int32 (n, 3), those of the split documents among them, as `split_lines` gives them.
    first, stop: the numbers of the documents.
    Raises ValueError if the lines belong to other documents.
    """
    if lines[:, 0].max(initial=first) >= stop:
        raise ValueError("lines of later documents")
    counts = np.maximum(np.bincount(lines[:, 0] - first, minlength=stop - first), 1)
    table = np.zeros((counts.sum(), COLUMNS), np.int32)
    table[:, 0] = np.repeat(np.arange(first, first + len(counts)), counts)
    table[np.repeat(counts > 1, counts), 1:] = lines[:, 1:]
    return table


def is_table(table: NDArray[np.int32], documents: int, first: int = 0) -> bool:
    """Whether these lines are the table of some documents.

    table: int32 (n, 3).
    documents: how many documents it must have.
    first: the row of the first document.
    """
    rows, starts, ends = table.T
    if not len(rows) >= documents > 0:
        return False
    steps = np.diff(rows, prepend=first)
    return bool(
        rows[0] == first
        and rows[-1] == first + documents - 1
        and steps.min() >= 0
        and steps.max() <= 1
        and starts.min() >= 0
        and (starts <= ends).all()
    )


def write_passages(path: Path, parts: Iterable[NDArray[np.int32]]) -> None:
    """Write a table, given in parts, to a new file; durable on return. Raises StorageError."""
    with storing(path), create_durably(path) as file:
        for table in parts:
            file.write(table.astype("<i4").data)


class Passages:
    """The passages of a published segment. Raises CorruptError if the file is not what was written.

    path: what `write_passages` wrote.
    vectors: lines of the table.
    documents: how many documents they belong to.
    """

    def __init__(self, path: Path, vectors: int, documents: int) -> None:
        table = map_array(path, "<i4")
        if len(table) != COLUMNS * vectors or not is_table(table.reshape(-1, COLUMNS), documents):
            raise CorruptError(
                f"{path}: does not hold the passages of {documents} documents; restore it or build again"
            )
        self._table = table = table.reshape(-1, COLUMNS)
        self._documents = documents
        # For documents with several vectors: their rows, how many vectors each has beyond one, and the sum of
        # these numbers for all documents before it. The other documents, perhaps millions, need no memory.
        again = table[np.flatnonzero(table[1:, 0] == table[:-1, 0]), 0]
        split, more = np.unique(again.astype(np.int64), return_counts=True)
        self._split = np.append(split, documents)  # so that each document has a next split one
        self._more = np.append(more, 0)
        self._before = np.cumsum(self._more) - self._more

    def __len__(self) -> int:
        return len(self._table)

    def rows(self, numbers: Rows) -> Rows:
        """The documents of vectors."""
        rows: Rows = self._table[numbers, 0].astype(np.int64)
        return rows

    def mask(self, documents: Mask) -> Mask:
        """The vectors of some documents, bool (vectors,). documents: bool (documents,)."""
        vectors: Mask = documents[self._table[:, 0]]
        return vectors

    def _bounds(self, rows: Rows) -> tuple[Rows, Rows]:
        """The first vector of each document, and how many it has."""
        at = np.searchsorted(self._split, rows)
        return rows + self._before[at], 1 + self._more[at] * (self._split[at] == rows)

    def numbers(self, rows: Rows) -> Rows:
        """The numbers of all vectors of these documents, document by document."""
        starts, counts = self._bounds(rows)
        # Each document's numbers rise by one from its start, wherever its place in the result is.
        return np.repeat(starts - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())

    def best_of_documents(
        self, rows: Rows, score: Callable[[Rows], NDArray[np.float32]]
    ) -> NDArray[np.float32]:
        """The highest score among the vectors of each document, float32 (n,).

        rows: int64 (n,), of documents.
        score: gives the scores of vectors by their numbers.
        """
        starts, counts = self._bounds(rows)
        if len(rows) == counts.sum():  # none of them is split
            return score(starts)
        return np.maximum.reduceat(score(self.numbers(rows)), np.cumsum(counts) - counts)

    def best_spans(self, rows: Rows, score: Callable[[Rows], NDArray[np.float32]]) -> list[Span | None]:
        """The passage of each document with the highest score, of equal ones the first; None for a whole one.

        rows, score: as for `best_of_documents`.
        """
        spans: list[Span | None] = [None] * len(rows)
        starts, counts = self._bounds(rows)
        split = np.flatnonzero(counts > 1)
        if len(split):
            scores = score(self.numbers(rows[split]))
            end = 0
            for place in split.tolist():
                begin, end = end, end + counts[place]
                best = starts[place] + np.argmax(scores[begin:end])
                spans[place] = Span(*self._table[best, 1:].tolist())
        return spans

    def table(self, rows: Rows) -> NDArray[np.int32]:
        """The lines of these documents, numbered from 0 in the given order."""
        table = np.array(self._table[self.numbers(rows)])
        table[:, 0] = np.repeat(np.arange(len(rows)), self._bounds(rows)[1])
        return table

    def spans(self, row: int) -> list[Span]:
        """The passages of a document, in order."""
        lines = self._table[self.numbers(np.array([row]))]
        return [Span(start, end) for _, start, end in lines.tolist()]

    def rank_documents(self, search: Callable[[Vectors, int], Ranking], queries: Vectors, k: int) -> Ranking:
        """The k documents with the best vectors; a document has the score of its best one.

        search: is called with queries and a depth; gives a ranking of vectors, -1 where there are no more.
        queries: float32 (n, dimension).
        k: documents a query.
        """
        # Beyond one a document; where they are few, hardly any are among the best.
        others = len(self) - self._documents
        depth = min(_VECTORS_A_DOCUMENT * k, k + _SPARE_VECTORS + others // _SPARE_VECTORS)
        return self._rank(search, queries, k, depth)

    def _rank(
        self, search: Callable[[Vectors, int], Ranking], queries: Vectors, k: int, depth: int
    ) -> Ranking:
        """`rank_documents` from `depth` vectors a query; from more for queries with too few documents."""
        depth = min(depth, len(self))
        nearest = search(queries, depth)
        rows = self.rows(nearest.rows)  # of -1 too, but nobody looks at these
        if len(queries) == 1 and k <= depth and nearest.rows[0, -1] >= 0 and _all_differ(rows[0]):
            return Ranking(nearest.scores[:, :k], rows[:, :k])
        ranking, again = empty_ranking(len(queries), k), []
        for query, numbers in enumerate(nearest.rows):
            found = depth if numbers[-1] >= 0 else np.count_nonzero(numbers >= 0)
            complete = _fill(ranking, query, nearest.scores[query, :found], rows[query, :found])
            if not complete and found == depth < len(self):
                again.append(query)
        if again:
            deeper = self._rank(search, queries[again], k, depth * _DEPTH_GROWTH)
            ranking.scores[again], ranking.rows[again] = deeper
        return ranking


def _fill(ranking: Ranking, query: int, scores: NDArray[np.float32], rows: Rows) -> bool:
    """Rank the documents of a query's nearest vectors, best first; returns whether there are enough.

    scores, rows: float32 and int64 (n,), for each vector its score and its document.
    """
    k = ranking.rows.shape[1]
    if not _all_differ(rows):  # a document has several of them
        by_row = np.argsort(rows, kind="stable")
        first = np.ones(len(rows), bool)
        np.not_equal(rows[by_row[1:]], rows[by_row[:-1]], out=first[1:])
        best = np.sort(by_row[first])
        rows, scores = rows[best], scores[best]
    found = min(k, len(rows))
    ranking.rows[query, :found] = rows[:found]
    ranking.scores[query, :found] = scores[:found]
    return bool(found == k)


def _all_differ(rows: Rows) -> bool:
    return len(set(rows.tolist())) == len(rows)
