"""What a corpus changes in an index: which documents are new, differ, are the same, or are gone.

In: the parts of the live generation, then the documents of the corpus. Out: the documents to write, the
rows to delete. Changes nothing. Knows nothing of vectors.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np

from index.documents.store import Document
from index.protocol import Part
from index.values import Rows


class Comparison:
    """Goes through a corpus once. It holds a bit for each row of the index."""

    def __init__(self, segments: Sequence[Part]) -> None:
        """segments: all parts of the live generation."""
        self._segments = segments
        self._unseen = [
            np.ones(segment.count, bool) if segment.live is None else segment.live.copy()
            for segment in segments
        ]
        self.found = 0  # documents of the corpus whose id the index has
        self.unchanged = 0  # of these, the ones that are the same in title, text and metadata

    def changed(self, documents: Sequence[Document]) -> list[Document]:
        """The documents that are new or differ from those of the index, in order. Ids are not checked."""
        stored: dict[str, Document] = {}
        ids = [document.id for document in documents]
        for segment, unseen in zip(self._segments, self._unseen, strict=True):
            rows = list(segment.rows_of(ids).values())
            unseen[rows] = False
            stored.update((document.id, document) for document in segment.read(rows))
        changed = [
            document
            for document in documents
            if document.id not in stored or not is_same(document, stored[document.id])
        ]
        self.found += len(stored)
        self.unchanged += len(documents) - len(changed)
        return changed

    def gone(self) -> list[Rows]:
        """For each segment, the live rows whose documents did not occur."""
        return [np.flatnonzero(unseen) for unseen in self._unseen]

    def first_gone(self) -> str:
        """The id of the first of them. There must be one."""
        segment, rows = next(one for one in zip(self._segments, self.gone(), strict=True) if len(one[1]))
        return segment.read(rows[:1].tolist())[0].id


def is_same(one: Document, other: Document) -> bool:
    """Whether replacing a document would change nothing. The order of metadata does not matter.

    one: the new document. If it has no known queries, it keeps those of `other`.
    other: the document of the index with the same id.

    >>> is_same(Document("a", metadata={"n": 1}), Document("a", metadata={"n": True}))
    False
    """
    return (
        (one.title, one.text) == (other.title, other.text)
        and one.queries in ((), other.queries)
        and _canonical(one) == _canonical(other)
    )


def _canonical(document: Document) -> str:
    """Metadata as JSON, in which 1, 1.0 and true differ, as they do in a filter."""
    return json.dumps(dict(document.metadata), sort_keys=True)
