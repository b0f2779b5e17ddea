"""Sightings of the documents that a corpus has; what a log says of others is counted.

In: sightings and where each was read. Out: those of known documents. Knows nothing of files.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator

from retrieval.data.clicks.log import Sighting
from retrieval.data.lines import Place


class Known:
    """The sightings of known documents, read once, and the counts of all.

    sightings: each with the place where it was read.
    document_ids: of the known documents; None if all are known.
    """

    def __init__(
        self, sightings: Iterable[tuple[Place, Sighting]], document_ids: Container[str] | None
    ) -> None:
        self._sightings, self._ids = sightings, document_ids
        self.count = self.passed_over = 0
        self._missing: dict[str, Place] = {}  # unknown document to where it first occurs

    def __iter__(self) -> Iterator[Sighting]:
        for place, sighting in self._sightings:
            self.count += 1
            if self._ids is None or sighting.document in self._ids:
                yield sighting
            else:
                self.passed_over += 1
                self._missing.setdefault(sighting.document, place)

    def check(self) -> None:
        """Raise InputError if a document is unknown."""
        for document, place in self._missing.items():
            raise place.error(
                f"unknown document {document!r}; the corpus lacks {len(self._missing):,} documents of the "
                f"log ({self.passed_over:,} rows), add them or pass over them with --missing-ok"
            )
