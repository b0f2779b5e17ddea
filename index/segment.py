"""A segment: documents that were written at once, with their vectors and their words.

    vectors.faiss  documents.sqlite  lexical/

Rows count from 0 within a segment. Once written, its files never change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from index.dense import read_flat, write_flat
from index.documents import DocumentReader, DocumentWriter
from index.errors import CorruptError, FormatVersionError
from index.files import storing
from index.lexical import BM25_SETTINGS, Bm25, write_bm25
from index.manifest import SegmentEntry

FLAT = "Flat"

_VECTORS = "vectors.faiss"
_DOCUMENTS = "documents.sqlite"
_LEXICAL = "lexical"
_REPORT_EVERY = 1000


def write_segment(
    folder: Path,
    documents: DocumentWriter,
    vectors: Path,
    dimension: int,
    report: Callable[[str, int, int], None],
) -> SegmentEntry:
    """Write a segment's files into a new folder; durable but for the folder's own entries.

    vectors: file of raw float32 rows, at least as many as there are documents. Raises StorageError.
    """
    count = documents.count
    with storing(folder):
        folder.mkdir()
    report("vectors", 0, count)
    write_flat(folder / _VECTORS, vectors, count, dimension)
    report("vectors", count, count)
    documents.copy_to(folder / _DOCUMENTS)
    write_bm25(folder / _LEXICAL, _texts(documents, report))
    report("words", count, count)
    return SegmentEntry(folder.name, count, FLAT, {}, BM25_SETTINGS)


def _texts(documents: DocumentWriter, report: Callable[[str, int, int], None]) -> Iterator[str]:
    for row, document in enumerate(documents):
        if row % _REPORT_EVERY == 0:
            report("words", row, documents.count)
        yield f"{document.title} {document.text}"


class Segment:
    """An open segment. vectors: float32 (count, dimension), memory-mapped, in the order of rows."""

    def __init__(self, folder: Path, entry: SegmentEntry, dimension: int) -> None:
        """Open every file now: what is open outlives its name. Raises CorruptError, FormatVersionError."""
        if entry.bm25.get("tokens") != BM25_SETTINGS["tokens"] or entry.faiss != FLAT:
            raise FormatVersionError(
                f"{folder}: written by a version this program does not read; build again"
            )
        self.count = entry.documents
        self.vectors: NDArray[np.float32] = read_flat(folder / _VECTORS, self.count, dimension)
        self.lexical = Bm25(folder / _LEXICAL, self.count)
        self.documents = DocumentReader(folder / _DOCUMENTS)
        if self.documents.count != self.count:
            self.documents.close()
            raise CorruptError(
                f"{folder / _DOCUMENTS}: does not hold {self.count} documents; restore it or build again"
            )

    def close(self) -> None:
        """Close the files; maps go with their last use."""
        self.documents.close()
