"""A segment: documents that were written at once, with their vectors and their words, and which are gone.

    vectors.faiss  compressed.faiss  documents.sqlite  lexical/  deleted.i32

Rows count from 0 within a segment. Once written, its files never change; a later generation shares them by
hard links and has only its own deleted.i32, the rows that no search may find, ascending.
"""

from __future__ import annotations

import os
from collections.abc import Container, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from index.dense.fastscan import FastScan
from index.dense.tuning import FLAT, Goal, tune
from index.dense.vectors import StoredVectors, search_exact, write_vectors
from index.disk.files import share, storing
from index.disk.manifest import SegmentEntry
from index.disk.opening import create, read_file
from index.documents.store import DocumentReader, DocumentWriter
from index.errors import CorruptError, FormatVersionError
from index.lexical.bm25 import Bm25, Term
from index.lexical.postings import ARRAYS, BM25_SETTINGS, Lengths, write_bm25
from index.ranking import Ranking
from index.values import Progress

_VECTORS = "vectors.faiss"
_COMPRESSED = "compressed.faiss"
_DOCUMENTS = "documents.sqlite"
_LEXICAL = "lexical"
DELETED = "deleted.i32"
_REPORT_EVERY = 1000

Rows = NDArray[np.int64]
Mask = NDArray[np.bool_]


def write_segment(
    folder: Path,
    documents: DocumentWriter,
    vectors: Path,
    dimension: int,
    others: Lengths,
    goal: Goal,
    queries: NDArray[np.float32] | None,
    progress: Progress,
) -> SegmentEntry:
    """Write a segment's files into a new folder; durable but for the folder's own entries.

    vectors: file of raw float16 rows, at least as many as there are documents. others: the lengths of the
    documents in the index's other segments. queries: unit vectors to tune by, float32 (n, dimension).
    Raises StorageError, InputError for a goal that no FAISS index meets.
    """
    count = documents.count
    with storing(folder):
        folder.mkdir()
    progress("vectors", 0, count)
    write_vectors(folder / _VECTORS, vectors, count, dimension)
    progress("vectors", count, count)
    stored = StoredVectors(folder / _VECTORS, count, dimension)
    tuning = tune(stored, queries, goal, folder / _COMPRESSED, progress)
    documents.copy_to(folder / _DOCUMENTS)
    own = write_bm25(folder / _LEXICAL, _texts(documents, progress), others)
    progress("words", count, count)
    chosen = tuning.chosen
    return SegmentEntry(
        name=folder.name,
        documents=count,
        deleted=0,
        faiss=chosen.name,
        parameters=chosen.parameters(),
        bm25=BM25_SETTINGS,
        words=own.tokens,
        tried=tuple(asdict(one) for one in tuning.tried),
    )


def _texts(documents: DocumentWriter, progress: Progress) -> Iterator[str]:
    for row, document in enumerate(documents):
        if row % _REPORT_EVERY == 0:
            progress("words", row, documents.count)
        yield f"{document.title} {document.text}"


def segment_files(entry: SegmentEntry) -> list[str]:
    """The files that a segment consists of, relative to its folder; nothing else is read or shared."""
    compressed = [] if entry.faiss == FLAT else [_COMPRESSED]
    deleted = [DELETED] if entry.deleted else []
    return [_VECTORS, *compressed, _DOCUMENTS, *(f"{_LEXICAL}/{name}" for name in ARRAYS), *deleted]


def share_segment(source: Path, target: Path, entry: SegmentEntry, deleted: Rows) -> SegmentEntry:
    """Make the same segment part of another generation, without the deleted rows (ascending, all of them).

    Its files become hard links, or copies on a file system that has none. Raises StorageError.
    """
    share(source, target, [name for name in segment_files(entry) if name != DELETED])
    if len(deleted):
        path = target / DELETED
        with storing(path), create(path) as file:
            file.write(deleted.astype("<i4").tobytes())
            file.flush()
            os.fsync(file.fileno())
    return replace(entry, deleted=len(deleted))


class Segment:
    """An open segment.

    count: its rows, deleted ones included; live: bool (count,), those not deleted, None where all are.
    """

    def __init__(self, folder: Path, entry: SegmentEntry, dimension: int, named: Container[str]) -> None:
        """Open every file now: what is open outlives its name.

        named: the files that the manifest names, relative to the generation. Raises CorruptError, also for a
        file that is not among them, for nobody knows its bytes; FormatVersionError; StorageError.
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
        # First what tells whether the count is true: the rest takes memory by it.
        self.vectors = StoredVectors(folder / _VECTORS, self.count, dimension)
        self.live = _live(folder / DELETED, entry)
        self._depth = depth
        self._scan = (
            FastScan(folder / _COMPRESSED, self.count, dimension, parts, self.live) if parts else None
        )
        # Tuning has measured what the depth is worth with every row there.
        self._recall = 0.0 if self.live is None else float(entry.parameters.get("recall@10") or 0)
        if self._scan is not None:
            self.vectors.expect_few()
        self.lexical = Bm25(folder / _LEXICAL, self.count)
        self.documents = DocumentReader(folder / _DOCUMENTS)
        if self.documents.count != self.count:
            self.documents.close()
            raise CorruptError(
                f"{folder / _DOCUMENTS}: does not hold {self.count} documents; restore it or build again"
            )

    def search_dense(self, queries: NDArray[np.float32], k: int, where: Mask | None) -> Ranking:
        """`search_exact`, by the index that was tuned; exact where there is none and among what a filter
        leaves.
        """
        if self._scan is None or where is not None:
            return self.search_exact(queries, k, where)
        return self._scan.search(queries, k, self._depth, self.vectors, self._recall)

    def search_exact(self, queries: NDArray[np.float32], k: int, where: Mask | None) -> Ranking:
        """The k best by inner product, of the live rows where `where`, bool (count,), holds."""
        return search_exact(self.vectors, queries, k, self.allowed(where))

    def search_lexical(self, queries: list[list[Term]], k: int, where: Mask | None) -> Ranking:
        """The k best by BM25, of the live rows where `where`, bool (count,), holds."""
        return self.lexical.search(queries, k, self.allowed(where))

    def allowed(self, where: Mask | None) -> Mask | None:
        """The live rows among those of a filter; None for all rows."""
        if where is None or self.live is None:
            return self.live if where is None else where
        return where & self.live

    def rows_of(self, ids: list[str]) -> dict[str, int]:
        """The rows of the live documents with these ids."""
        found = self.documents.rows_of(ids)
        return {name: row for name, row in found.items() if self.live is None or self.live[row]}

    def deleted(self) -> Rows:
        """The rows of deleted documents, ascending."""
        return np.empty(0, np.int64) if self.live is None else np.flatnonzero(~self.live)

    def close(self) -> None:
        """Close the files; maps go with their last use."""
        self.documents.close()


def _scan_settings(folder: Path, entry: SegmentEntry) -> tuple[int, int]:
    """Into how many parts the compressed vectors are cut, 0 if there are none, and how many candidates to
    take from them.
    """
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
