"""The documents of an open generation in Milvus, put together from the rows of their passages.

In: rows of documents. Out: documents with their passages. Knows nothing of searching. The last documents that
were read are kept in memory.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from hashlib import sha256
from itertools import chain, groupby
from sqlite3 import DatabaseError
from typing import TypeVar

from index.dense.passages import Span
from index.documents.kept import Kept
from index.documents.metadata import metadata_of
from index.documents.store import Document
from index.errors import RemoteError
from index.remote.client import Collection, Row, number_in
from index.values import Json, lines_of

T = TypeVar("T")

# The rows that stand for documents.
FIRST = 'key != ""'
# Documents read at once: all of their text and metadata must fit in an answer of 64 MB.
_DOCUMENTS_AT_ONCE = 200
# Passages read at once where all are read, of which each may have a text of 64 KB.
_PASSAGES_AT_ONCE = 250


class Documents:
    """The documents of an open generation; safe for use by several threads."""

    def __init__(
        self, collection: Collection, live: str, passages: int, address: str, *, queries: bool
    ) -> None:
        """Nothing is read yet.

        collection: that holds the documents.
        live: the filter of the rows of the generation.
        passages: how many rows the generation has, deleted ones included.
        address: of the server, for messages.
        queries: whether the collection has known queries.
        """
        self._collection = collection
        self._live = live
        self._passages = passages
        self._address = address
        self._fields = ["start", "end", "id", "title", "text", "metadata", *(["queries"] if queries else [])]
        self._kept: Kept[tuple[Document, list[Span]]] = Kept()

    def read(self, rows: Sequence[int]) -> dict[int, tuple[Document, list[Span]]]:
        """The documents of these rows with their passages, by row. Raises IndexError, RemoteError."""
        wanted = [int(row) for row in rows]
        found = self._kept.find(wanted)
        missing = [row for row in dict.fromkeys(wanted) if row not in found]
        for part in in_parts(missing):
            fresh = self._read_part(part)
            self._kept.keep(fresh, sum(_characters(document) for document, _ in fresh.values()))
            found |= fresh
        absent = next((row for row in missing if row not in found), None)
        if absent is not None:
            raise IndexError(f"row {absent} is not in the index")
        return found

    def all(self, fields: Sequence[str]) -> Iterator[tuple[Document, list[Span], list[Row]]]:
        """All documents, by row, with their passages and the rows of these. fields: further ones to read."""
        wanted = ["row", *self._fields, *fields]
        rows = self._collection.scan(self._live, wanted, self._passages, _PASSAGES_AT_ONCE)
        for _, passages in groupby(chain.from_iterable(rows), lambda each: int(each["row"])):
            parts = list(passages)
            yield (*self._document(parts), parts)

    def all_metadata(self) -> Iterator[tuple[int, dict[str, Json]]]:
        """Row and metadata of every document."""
        within = f"({self._live}) and {FIRST}"
        for rows in self._collection.scan(within, ["metadata"], self._passages):
            for row in rows:
                yield number_in(row), self._metadata(row)

    def _read_part(self, rows: Sequence[int]) -> dict[int, tuple[Document, list[Span]]]:
        fields = ["number", "row", *self._fields]
        passages: dict[int, list[Row]] = defaultdict(list)
        for each in self._collection.query(f"({self._live}) and row in {list(rows)}", fields):
            passages[int(each["row"])].append(each)
        return {row: self._document(sorted(parts, key=number_in)) for row, parts in passages.items()}

    def _document(self, parts: Sequence[Row]) -> tuple[Document, list[Span]]:
        first = parts[0]
        text = "".join(part["text"] for part in parts)
        spans = [Span(int(part["start"]), int(part["end"])) for part in parts]
        queries = lines_of(first.get("queries", ""))
        return Document(first["id"], first["title"], text, self._metadata(first), queries), spans

    def _metadata(self, first: Row) -> dict[str, Json]:
        """The metadata of a document, by its first row. Raises RemoteError."""
        try:
            return metadata_of(first["metadata"])
        except DatabaseError as error:
            raise RemoteError(f"{self._address}: {error}; build the index again") from error


def key_of(document_id: str) -> str:
    """What finds the rows of a document: the hash of its id, because a filter must hold no text of a user."""
    return sha256(document_id.encode("utf-8", "surrogatepass")).hexdigest()


def in_parts(items: list[T]) -> Iterator[list[T]]:
    """Documents divided into as many as are read at once."""
    for start in range(0, len(items), _DOCUMENTS_AT_ONCE):
        yield items[start : start + _DOCUMENTS_AT_ONCE]


def _characters(document: Document) -> int:
    return len(document.title) + len(document.text)
