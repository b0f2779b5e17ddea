"""A segment: documents that were written together, with their vectors, postings and tombstones.

In: the files that `index.writing.segment` wrote; queries. Out: rankings of rows. Knows nothing of other
segments or generations.

    vectors.faiss     the stored vectors, one a passage
    passages.i32      the documents and spans of the vectors; only where a document has several
    compressed.faiss  the vectors compressed; only where tuning chose so
    documents.sqlite  the documents
    lexical/          the postings
    words/            the words of the documents as vectors; only where the model re-scores by them
    deleted.i32       tombstones: rows that no search may find, ascending; only where there are any

Rows count from 0 within a segment. Its files never change once they are written. A later generation shares
them by hard links and has only its own tombstones.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from index.dense.fastscan import FastScan
from index.dense.passages import Passages, Span, whole_documents
from index.dense.vectors import FLAT, StoredVectors, search_exact
from index.disk.manifest import SegmentEntry
from index.disk.opening import read_file
from index.documents.store import Document, DocumentReader
from index.errors import NO_COMPILED_LOOPS, CorruptError, FormatVersionError
from index.interaction.words import ARRAYS as WORD_ARRAYS
from index.interaction.words import Words
from index.lexical.bm25 import ARRAYS, BM25_SETTINGS, Bm25, Terms
from index.ranking import Ranking
from index.values import Mask, Rows, Vectors

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from index.dense.coarse import CoarseScan

# The names of its files and folders.
VECTORS = "vectors.faiss"
COMPRESSED = "compressed.faiss"
PASSAGES = "passages.i32"
DOCUMENTS = "documents.sqlite"
LEXICAL = "lexical"
WORDS = "words"
DELETED = "deleted.i32"


def segment_files(entry: SegmentEntry) -> list[str]:
    """The files of a segment, relative to its folder; no others are read or shared."""
    compressed = [] if entry.faiss == FLAT else [COMPRESSED]
    passages = [PASSAGES] if entry.vectors > entry.documents else []
    words = [f"{WORDS}/{name}" for name in WORD_ARRAYS] if entry.word_width else []
    deleted = [DELETED] if entry.deleted else []
    return [
        VECTORS,
        *compressed,
        *passages,
        DOCUMENTS,
        *(f"{LEXICAL}/{name}" for name in ARRAYS),
        *words,
        *deleted,
    ]


class Segment:
    """An open segment.

    count: its documents, deleted ones included.
    live: bool (count,), the rows that are not deleted; None if all are live.
    passages: the documents of its vectors; None if every document has one vector.
    words: its documents' words as vectors; None if it has none.
    """

    def __init__(self, folder: Path, entry: SegmentEntry, dimension: int, named: Container[str]) -> None:
        """Open all files at once: open files stay readable after they are removed.

        folder: of the segment.
        entry: the segment in the manifest.
        dimension: width of the vectors.
        named: the files that the manifest names, relative to the generation.
        Raises CorruptError, also for a file that the manifest does not name; FormatVersionError;
        StorageError.
        """
        if entry.bm25.get("tokens") != BM25_SETTINGS["tokens"]:
            raise FormatVersionError(
                f"{folder}: written by a version this program does not read; build again"
            )
        parts, depth = _scan_settings(folder, entry)
        for name in segment_files(entry):
            if f"{entry.name}/{name}" not in named:
                raise CorruptError(
                    f"{folder / name}: the manifest does not name it; restore it or build the index again"
                )
        self.folder = folder
        self.entry = entry
        self.count = entry.documents
        # The vectors first: they verify the count, by which the rest allocates memory.
        self.vectors = StoredVectors(folder / VECTORS, entry.vectors, dimension)
        several = entry.vectors > entry.documents
        self.passages = Passages(folder / PASSAGES, entry.vectors, self.count) if several else None
        self.live = _live(folder / DELETED, entry)
        self.live_vectors = self._of_documents(self.live)
        self._depth = depth
        self._scan = (
            FastScan(folder / COMPRESSED, entry.vectors, dimension, parts, self.live_vectors)
            if parts
            else None
        )
        self._coarse: CoarseScan | None = None
        # Tuning measured the recall of this depth with all rows live. With tombstones a search may need more
        # depth.
        self._recall = 0.0 if self.live is None else float(entry.parameters.get("recall@10") or 0)
        if self._scan is not None:
            self.vectors.expect_few()
        self.lexical = Bm25(folder / LEXICAL, self.count)
        width = entry.word_width
        self.words = Words(folder / WORDS, self.count, width) if width else None
        self.documents = DocumentReader(folder / DOCUMENTS)
        if self.documents.count != self.count:
            self.documents.close()
            raise CorruptError(
                f"{folder / DOCUMENTS}: does not hold {self.count} documents; restore it or build again"
            )

    def expect_many(self) -> None:
        """Prepare for many searches: in compiled loops, if numba is there, and in large pages of memory.

        Call it before other threads search.
        """
        if self._scan is not None:
            self._scan.expect_many()
        self.vectors.compile()
        self.lexical.compile()
        if self.words is not None:
            self.words.compile()

    def kept_bytes(self) -> int:
        """The bytes that `keep_vectors` takes; 0 if searches do not read all stored vectors."""
        return 5 * self.vectors.count * self.vectors.dimension if self._scan is None else 0

    def keep_vectors(self) -> None:
        """Keep the vectors in memory for faster exact search: as float32, and with numba in eight bits."""
        self.vectors.keep()
        try:
            from index.dense.coarse import CoarseScan
        except NO_COMPILED_LOOPS:
            return
        self._coarse = CoarseScan(self.vectors)

    def search_dense(self, queries: NDArray[np.float32], k: int, where: Mask | None) -> Ranking:
        """The k best by inner product, from the compressed vectors; exact with a filter or if there are none.

        queries: float32 (n, dimension).
        k: results a query.
        where: bool (count,), the rows that meet a filter; None for no filter.
        """
        if self._scan is None or where is not None:
            return self.search_exact(queries, k, where)
        return self._ranked(self.search_vectors, queries, k)

    def search_exact(self, queries: NDArray[np.float32], k: int, where: Mask | None) -> Ranking:
        """The k best by inner product, exactly. Parameters as in `search_dense`."""
        allowed = self._of_documents(self.allowed(where))
        return self._ranked(lambda some, depth: self._search_exact(some, depth, allowed), queries, k)

    def search_vectors(self, queries: Vectors, k: int) -> Ranking:
        """The nearest vectors, by their numbers, of all documents that are not deleted."""
        if self._scan is None:
            return self._search_exact(queries, k, self.live_vectors)
        return self._scan.search(queries, k, self._depth, self.vectors, self._recall)

    def _search_exact(self, queries: Vectors, k: int, allowed: Mask | None) -> Ranking:
        """The k best vectors. For several queries a product of matrices is faster than one scan for each."""
        if self._coarse is not None and len(queries) == 1:
            return self._coarse.search(queries[0], k, allowed)
        return search_exact(self.vectors, queries, k, allowed)

    def search_lexical(self, queries: Sequence[Terms], k: int, where: Mask | None) -> Ranking:
        """The k best by BM25. queries: as `weigh` gives them; k, where: as in `search_dense`."""
        return self.lexical.search(queries, k, self.allowed(where))

    def cosines(self, rows: Rows, query: NDArray[np.float32]) -> NDArray[np.float32]:
        """Inner products of one query with documents, float32 (n,); see `Index.cosines`."""
        if not len(rows):
            return np.empty(0, np.float32)
        if self.passages is None:
            return self.vectors.products(rows, query)
        return self.passages.best_of_documents(rows, lambda numbers: self.vectors.products(numbers, query))

    def nearest_spans(self, rows: Rows, query: NDArray[np.float32]) -> list[Span | None]:
        """The passage of each document that is nearest to a query; see `Index.nearest_spans`."""
        if self.passages is None:
            return [None] * len(rows)
        return self.passages.best_spans(rows, lambda numbers: self.vectors.products(numbers, query))

    def allowed(self, where: Mask | None) -> Mask | None:
        """The live rows that meet a filter; None for all rows."""
        if where is None or self.live is None:
            return self.live if where is None else where
        return where & self.live

    def passages_of(self, rows: Rows) -> tuple[Vectors, NDArray[np.int32]]:
        """The vectors and the table of the passages of some documents, in the order of the rows."""
        if self.passages is None:
            return self.vectors.take(rows), whole_documents(len(rows))
        return self.vectors.take(self.passages.numbers(rows)), self.passages.table(rows)

    def rows_of(self, ids: list[str]) -> dict[str, int]:
        """The rows of live documents by document id; other ids are left out."""
        rows = self.documents.rows_of(ids)
        return {each: row for each, row in rows.items() if self.live is None or self.live[row]}

    def read(self, rows: list[int]) -> list[Document]:
        """The documents of these rows, in this order."""
        return self.documents.documents(rows)

    def deleted(self) -> Rows:
        """The rows of deleted documents, ascending."""
        return np.empty(0, np.int64) if self.live is None else np.flatnonzero(~self.live)

    def _of_documents(self, mask: Mask | None) -> Mask | None:
        """The vectors of some documents; None for all."""
        return mask if mask is None or self.passages is None else self.passages.mask(mask)

    def _ranked(self, search: Callable[[Vectors, int], Ranking], queries: Vectors, k: int) -> Ranking:
        """A ranking of documents, from a search for vectors."""
        return (
            search(queries, k) if self.passages is None else self.passages.rank_documents(search, queries, k)
        )

    def close(self) -> None:
        """Close the files; memory maps are freed with their last use."""
        self.documents.close()


def _scan_settings(folder: Path, entry: SegmentEntry) -> tuple[int, int]:
    """Parts and depth of the compressed vectors; 0 and 0 if there are none. Raises FormatVersionError."""
    if entry.faiss == FLAT:
        return 0, 0
    parts, depth = entry.parameters.get("parts"), entry.parameters.get("depth")
    if not (isinstance(parts, int) and isinstance(depth, int) and parts > 0 and depth > 0):
        raise FormatVersionError(f"{folder}: written by a version this program does not read; build again")
    return parts, depth


def _live(path: Path, entry: SegmentEntry) -> Mask | None:
    if not entry.deleted:
        return None
    try:
        rows = np.frombuffer(read_file(path), "<i4")
    except (OSError, ValueError) as error:
        raise CorruptError(f"{path}: cannot be read ({error}); restore it or build again") from error
    live = np.ones(entry.documents, bool)
    if len(rows) == entry.deleted and rows.min() >= 0 and rows.max() < len(live):
        live[rows] = False
    if np.count_nonzero(~live) != entry.deleted:
        raise CorruptError(f"{path}: damaged; restore the file or build the index again")
    return live
