"""An index folder as the adapters use it: searched, read and changed by one process while others do the same.

In: queries, filters, documents, ids. Out: documents with their metadata. A change is durable when the call
returns; the next call, here or in another process, sees it. Imports no torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from index.documents.filtering.expression import Expression
from index.documents.store import Document
from index.errors import ExistingError
from index.values import Json
from index.writing.delete import delete
from retrieval.indexing.build import Existing, add_documents, create
from retrieval.search.modes import Mode, Where
from retrieval.search.passages import Passage
from retrieval.search.retriever import Retriever

# How long a change waits for another writer: longer than a large addition takes to publish.
_WAIT_SECONDS = 60.0
# The metadata by which other libraries give a document a title. It stays there too, for filters.
_TITLE = "title"


class Found(NamedTuple):
    """A document that a search found."""

    document: Document  # without the queries that it is known to answer
    score: float  # as in `Hit`
    passage: Passage | None  # as in `Hit`


class Collection:
    """An index folder. Safe for use from several threads.

    folder: of the index.
    model: of which to make an index without documents if there is no index yet; otherwise not looked at.
    Raises what `Retriever.open` and `create` raise.
    """

    def __init__(self, folder: Path | str, model: Path | str | None = None) -> None:
        self.folder = Path(folder)
        if model is not None:
            create(Path(model), self.folder, wait=_WAIT_SECONDS)
        self._retriever = Retriever.open(self.folder)

    def corrected(self, query: str) -> str:
        """The query as a search reads it; see `Retriever.corrected`."""
        with self._reading() as retriever:
            return retriever.corrected(query)

    def search(
        self,
        query: str,
        k: int,
        mode: Mode,
        where: Where = (),
        *,
        as_typed: bool = False,
    ) -> list[Found]:
        """The k best documents, best first; parameters and errors as for `Retriever.search`."""
        with self._reading() as retriever:
            hits = retriever.search(query, k, mode, where, metadata=True, as_typed=as_typed)
        return [
            Found(Document(hit.id, hit.title, hit.text, hit.metadata or {}), hit.score, hit.passage)
            for hit in hits
        ]

    def documents(self, ids: Sequence[str]) -> list[Document]:
        """The documents with these ids, in this order; ids that no document has are left out."""
        with self._reading() as retriever:
            rows = retriever.index.rows_of(ids)
            return retriever.index.documents([rows[each] for each in ids if each in rows])

    def matching(self, where: Sequence[Expression] = ()) -> list[Document]:
        """All documents that meet all of some filters, those added last at the end as a rule."""
        with self._reading() as retriever:
            return retriever.index.documents(retriever.index.rows(where).tolist())

    def count(self) -> int:
        """How many documents there are."""
        with self._reading() as retriever:
            return retriever.index.count

    def add(self, documents: Sequence[Document], existing: Existing = "replace") -> int:
        """Add documents in one step; returns how many were written.

        documents: of two with the same id the last counts, with "keep" the first.
        existing: what becomes of documents whose id the index has.
        Raises what `add_documents` raises.
        """
        unique: dict[str, Document] = {}
        for document in documents:
            if document.id not in unique or existing == "replace":
                unique[document.id] = document
            elif existing == "refuse":
                raise ExistingError(f"two documents have the id {document.id!r}; nothing was added")
        if not unique:
            return 0
        result = add_documents([*unique.values()], self.folder, existing=existing, wait=_WAIT_SECONDS)
        return result.added + result.replaced

    def delete(self, ids: Sequence[str]) -> int:
        """Delete documents in one step; returns how many there were. Raises what `delete` raises."""
        return delete(self.folder, ids, missing_ok=True, wait=_WAIT_SECONDS)

    @contextmanager
    def _reading(self) -> Iterator[Retriever]:
        self._retriever.refresh()
        with self._retriever.pinned() as retriever:
            yield retriever


def document_of(document_id: str, text: str, metadata: Mapping[str, Json]) -> Document:
    """A document of another library as ours; the metadata `title`, if it is a text, is its title."""
    title = metadata.get(_TITLE)
    return Document(document_id, title if isinstance(title, str) else "", text, metadata)


def metadata_of(document: Document) -> dict[str, Json]:
    """The metadata of a document for another library, with its title."""
    title = {_TITLE: document.title} if document.title else {}
    return {**title, **document.metadata}
