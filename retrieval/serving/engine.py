"""The one module that calls the retriever, the writers and the explanation for HTTP.

In: checked values. Out: JSON values. Knows nothing of requests and responses.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from index.documents.store import Document
from index.protocol import OpenIndex
from index.writing.delete import delete
from retrieval.explain.rescoring import explain_rank
from retrieval.explain.shares import explain
from retrieval.explain.text import to_json
from retrieval.indexing.build import add_documents
from retrieval.model.encoder import Encoder
from retrieval.model.folder import read_model_of
from retrieval.search.answer import Answer, Request, answer_json, answers
from retrieval.search.facets import worth_counting
from retrieval.search.hits import Hit
from retrieval.search.retriever import Retriever
from retrieval.text.snippet import snippet

# Memory of a worker for converted vectors. An index that was not compressed has at most 20,000 documents.
KEPT_BYTES = 64 << 20


# Fields that /fields names: as many as a reader looks at, and as columns are kept.
_MOST_FIELDS = 8


class Shown(NamedTuple):
    """What an answer shows of a search."""

    profile: bool = False  # the milliseconds of each phase
    snippet: bool = False  # pieces of each hit's passage, or text, with the words of the query marked
    text: bool = True  # the text and the passage of each hit


class Engine:
    """An index that is served. Safe for use from several threads.

    Raises what `Retriever.open` raises.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.retriever = Retriever.open(folder, kept_bytes=KEPT_BYTES)
        self._documents: tuple[str, Encoder] | None = None
        self._documents_lock = threading.Lock()

    @property
    def index(self) -> OpenIndex:
        """The generation that is searched now."""
        return self.retriever.index

    @contextmanager
    def pinned(self) -> Iterator[Retriever]:
        """The generation of now, for answers that must all come from one."""
        with self.retriever.pinned() as retriever:
            yield retriever

    def refresh(self) -> bool:
        """See `Retriever.refresh`."""
        return self.retriever.refresh()

    def close(self) -> None:
        """Close the index."""
        self.retriever.close()

    def document(self, document_id: str) -> dict[str, Any] | None:
        """The document with this id: id, title, text, metadata; None if there is none."""
        with self.pinned() as retriever:
            row = retriever.index.row_of(document_id)
            if row is None:
                return None
            found = retriever.index.documents([row])[0]._asdict()
            del found["queries"]
            return found

    def holds(self, document_id: str) -> bool:
        """Whether there is a document with this id."""
        return document_id in self.retriever

    def explain(self, query: str, document_id: str | None, as_typed: bool) -> dict[str, Any]:
        """What `explain --json` prints. Raises what `explain` raises."""
        explained = explain(self.folder, query, document_id, as_typed=as_typed)
        read = explained.query.text
        return to_json(
            explained, None if document_id is None else explain_rank(self.folder, read, document_id)
        )

    def embed(self, side: str, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embeddings float32 (n, dimension) of texts. side: the tower, "query" or "document"."""
        if side == "query":
            return self.retriever.encode(texts)
        with self.pinned() as retriever, self._documents_lock:
            fingerprint = retriever.index.manifest.model_fingerprint
            if self._documents is None or self._documents[0] != fingerprint:
                self._documents = fingerprint, read_model_of(retriever.index).encoder("document")
            return self._documents[1].encode(texts)

    def add(self, documents: Sequence[Document], wait: float) -> dict[str, Any]:
        """Add or replace documents; this process serves them on return. wait: seconds, for another writer."""
        result = add_documents(documents, self.folder, wait=wait)
        self.refresh()
        return asdict(result)

    def delete(self, document_id: str, wait: float) -> bool:
        """Delete a document, and return whether there was one. wait: seconds, for another writer."""
        if document_id not in self.retriever:
            self.refresh()
        deleted = document_id in self.retriever and delete(
            self.folder, [document_id], missing_ok=True, wait=wait
        )
        self.refresh()
        return bool(deleted)


def search(retriever: Retriever, queries: Sequence[str], request: Request) -> list[Answer]:
    """Search a pinned generation. Raises what `answers` raises."""
    return answers(retriever, queries, request)


def fields(retriever: Retriever) -> dict[str, Any]:
    """The metadata fields worth a filter, each with its values and how many documents have each."""
    found = worth_counting(retriever.index, _MOST_FIELDS)
    return {field: [asdict(each) for each in counted] for field, counted in found.items()}


def to_values(answers: Sequence[Answer], shown: Shown) -> list[dict[str, Any]]:
    """For each answer what `search --json` prints, with more or less of it."""
    values = [answer_json(each, profile=shown.profile) for each in answers]
    for found, value in zip(answers, values, strict=True):
        for hit, own in zip(found.hits, value["hits"], strict=True):
            if shown.snippet:
                own["snippet"] = [piece._asdict() for piece in snippet(found.searched, _read(hit))]
            if not shown.text:
                del own["text"], own["passage"]
    return values


def characters(answers: Sequence[Answer]) -> int:
    """The length of all texts from which snippets are made."""
    return sum(len(_read(hit)) for each in answers for hit in each.hits)


def _read(hit: Hit) -> str:
    return hit.passage.text if hit.passage else hit.text
