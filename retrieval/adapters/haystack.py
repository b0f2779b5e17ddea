"""Haystack: a retriever component and a document store over an index folder (extra `haystack`).

In: queries, filters and documents of Haystack. Out: its documents. The model inside the index encodes; an
embedding that a document brings is given back with it and used for nothing.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from index.documents.filtering.expression import And, Expression, Not, Or
from index.documents.store import Document as IndexDocument
from index.errors import ExistingError, InputError, needing
from index.values import Json
from retrieval.adapters.collection import Collection, document_of, metadata_of
from retrieval.adapters.conditions import Sign, condition
from retrieval.indexing.build import Existing
from retrieval.search.modes import Mode, check_mode

with needing("haystack"):
    from haystack import Document, component, default_from_dict, default_to_dict
    from haystack.document_stores.errors import DuplicateDocumentError
    from haystack.document_stores.types import DuplicatePolicy, FilterPolicy, apply_filter_policy
    from haystack.errors import FilterError

# The metadata that holds, as JSON, what a document of Haystack has and ours does not.
_REST = "_haystack"

_SIGNS: Mapping[str, Sign] = {
    "==": "=",
    "!=": "!=",
    ">": ">",
    ">=": ">=",
    "<": "<",
    "<=": "<=",
    "in": "in",
    "not in": "not in",
}
_ORDERING = (">", ">=", "<", "<=")
_FIELDS = frozenset(field.name for field in fields(Document))


class PeepholeDocumentStore:
    """An index as a document store. It is opened at its first use.

    index: its folder.
    model: the folder of a model, needed if there is no index yet; one without documents is then made.
    Methods raise PeepholeError where the folder cannot be read or changed.
    """

    def __init__(self, index: str, model: str | None = None) -> None:
        self.index = index
        self.model = model
        self._opened: Collection | None = None

    def to_dict(self) -> dict[str, Any]:
        """What `from_dict` makes an equal store of."""
        return _mapping(default_to_dict(self, index=self.index, model=self.model))

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """A store from what `to_dict` gave."""
        store: Self = default_from_dict(cls, data)
        return store

    def count_documents(self) -> int:
        """The number of documents."""
        return self._collection.count()

    def filter_documents(self, filters: dict[str, Any] | None = None) -> list[Document]:
        """The documents whose `meta` meets a filter; all without one. Raises FilterError."""
        return list(map(_from_index, self._collection.matching(_where(filters))))

    def write_documents(
        self, documents: list[Document], policy: DuplicatePolicy = DuplicatePolicy.NONE
    ) -> int:
        """Add documents in one step, durable on return; returns how many were written.

        documents: their `meta` must be JSON; `title` in it is encoded and searched before the content.
        policy: what becomes of documents whose id is taken; NONE is FAIL.
        Raises DuplicateDocumentError; ValueError for what is no list of documents.
        """
        if not isinstance(documents, list) or not all(isinstance(each, Document) for each in documents):
            raise ValueError("write_documents takes a list of haystack.Document")
        try:
            return self._collection.add(list(map(_to_index, documents)), _EXISTING[policy])
        except ExistingError as error:
            raise DuplicateDocumentError(str(error)) from error

    def delete_documents(self, document_ids: list[str]) -> None:
        """Delete documents in one step, durable on return; ids that do not exist are ignored."""
        self._collection.delete(document_ids)

    def delete_all_documents(self) -> None:
        """Delete all documents in one step."""
        self.delete_by_filter({})

    def delete_by_filter(self, filters: dict[str, Any]) -> int:
        """Delete the documents that meet a filter in one step; returns how many. Raises FilterError."""
        found = self._collection.matching(_where(filters))
        return self._collection.delete([each.id for each in found])

    def update_by_filter(self, filters: dict[str, Any], meta: dict[str, Any]) -> int:
        """Set fields of the `meta` of the documents that meet a filter, in one step; returns how many.

        filters: as for `filter_documents`.
        meta: field to value.
        Raises FilterError.
        """
        found = self.filter_documents(filters)
        changed = [replace(each, meta={**each.meta, **meta}) for each in found]
        return self._collection.add(list(map(_to_index, changed)))

    def search(
        self,
        query: str,
        top_k: int,
        mode: Mode,
        filters: dict[str, Any] | None,
        *,
        as_typed: bool = False,
    ) -> list[Document]:
        """The best documents with their scores; for `PeepholeRetriever`. Raises FilterError."""
        found = self._collection.search(query, top_k, mode, _where(filters), as_typed=as_typed)
        return [_from_index(each.document, each.score) for each in found]

    @property
    def _collection(self) -> Collection:
        if self._opened is None:
            self._opened = Collection(Path(self.index), self.model)
        return self._opened


@component
class PeepholeRetriever:
    """Retrieves documents from a `PeepholeDocumentStore` by the text of the query.

    document_store: the store.
    filters: what `meta` must meet.
    top_k: the number of documents.
    mode: "hybrid", "dense" or "lexical".
    filter_policy: whether filters of a run replace these or are added.
    as_typed: whether to search for a query as it is; else its misspelt words are corrected.
    """

    def __init__(
        self,
        document_store: PeepholeDocumentStore,
        filters: dict[str, Any] | None = None,
        top_k: int = 10,
        mode: Mode = "hybrid",
        filter_policy: FilterPolicy = FilterPolicy.REPLACE,
        as_typed: bool = False,
    ) -> None:
        check_mode(mode)
        self.document_store = document_store
        self.filters = filters
        self.top_k = top_k
        self.mode: Mode = mode
        self.filter_policy = filter_policy
        self.as_typed = as_typed

    def to_dict(self) -> dict[str, Any]:
        """What `from_dict` makes an equal component of."""
        return _mapping(
            default_to_dict(
                self,
                document_store=self.document_store.to_dict(),
                filters=self.filters,
                top_k=self.top_k,
                mode=self.mode,
                filter_policy=self.filter_policy.value,
                as_typed=self.as_typed,
            )
        )

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """A component from what `to_dict` gave."""
        given = dict(data["init_parameters"])
        given["document_store"] = PeepholeDocumentStore.from_dict(given["document_store"])
        given["filter_policy"] = FilterPolicy.from_str(given["filter_policy"])
        return cls(**given)

    @component.output_types(documents=list[Document])
    def run(
        self,
        query: str,
        filters: dict[str, Any] | None = None,
        top_k: int | None = None,
        as_typed: bool | None = None,
    ) -> dict[str, list[Document]]:
        """The best documents, best first.

        query: text.
        filters: with or instead of those of the component, as its policy says.
        top_k, as_typed: instead of those of the component.
        """
        where = apply_filter_policy(self.filter_policy, self.filters, filters)
        count = self.top_k if top_k is None else top_k
        typed = self.as_typed if as_typed is None else as_typed
        return {"documents": self.document_store.search(query, count, self.mode, where, as_typed=typed)}

    @component.output_types(documents=list[Document])
    async def run_async(
        self,
        query: str,
        filters: dict[str, Any] | None = None,
        top_k: int | None = None,
        as_typed: bool | None = None,
    ) -> dict[str, list[Document]]:
        """`run` in a thread."""
        return await asyncio.to_thread(self.run, query, filters, top_k, as_typed)


_EXISTING: Mapping[DuplicatePolicy, Existing] = {
    DuplicatePolicy.NONE: "refuse",
    DuplicatePolicy.FAIL: "refuse",
    DuplicatePolicy.SKIP: "keep",
    DuplicatePolicy.OVERWRITE: "replace",
}


def _to_index(document: Document) -> IndexDocument:
    values = document.to_dict(flatten=False).items()
    rest = {
        name: value for name, value in values if name not in ("id", "content", "meta") and value is not None
    }
    if document.content is None:
        rest["content"] = None
    metadata = {**document.meta, _REST: json.dumps(rest)} if rest else document.meta
    return document_of(document.id, document.content or "", metadata)


def _from_index(document: IndexDocument, score: float | None = None) -> Document:
    meta = metadata_of(document)
    others = _rest(document.id, meta.pop(_REST, "{}"))
    if score is not None:
        others["score"] = score
    return Document.from_dict({"id": document.id, "content": document.text, "meta": meta, **others})


def _rest(document_id: str, stored: Json) -> dict[str, Any]:
    try:
        rest = json.loads(str(stored))
    except ValueError:
        rest = None
    if not isinstance(rest, dict):
        raise InputError(f"document {document_id!r}: the metadata {_REST!r} is none that this store wrote")
    return rest


def _where(filters: dict[str, Any] | None) -> list[Expression]:
    if not filters:
        return []
    try:
        return [_expression(filters)]
    except InputError as error:
        raise FilterError(str(error)) from error


def _expression(filters: Mapping[str, Any]) -> Expression:
    if "field" in filters:
        field, operator, value = _parts(filters, "field", "operator", "value")
        if operator not in _SIGNS:
            raise FilterError(f"{operator!r} is no comparison; write {', '.join(_SIGNS)}")
        if operator in _ORDERING and isinstance(value, str) and not _is_date(value):
            raise FilterError(f"{operator} compares numbers and ISO 8601 dates, not {value!r}")
        return condition(_name(field), _SIGNS[operator], value)
    operator, conditions = _parts(filters, "operator", "conditions")
    every = tuple(map(_expression, conditions))
    if operator == "OR":
        return Or(every)
    if operator not in ("AND", "NOT"):
        raise FilterError(f"{operator!r} joins no conditions; write AND, OR or NOT")
    return And(every) if operator == "AND" else Not(And(every))


def _parts(filters: Mapping[str, Any], *names: str) -> Iterator[Any]:
    """The values under these names. Raises FilterError for one that is missing."""
    for name in names:
        if name not in filters:
            raise FilterError(f"{name!r} is missing in the filter {dict(filters)!r}")
        yield filters[name]


def _name(field: str) -> str:
    """The name of a field of `meta`; as in Haystack, a name without the prefix is one too."""
    if field in _FIELDS:
        raise FilterError(f"filters see the fields of meta, not {field!r}")
    return field.removeprefix("meta.")


def _is_date(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _mapping(value: Any) -> dict[str, Any]:
    """What an untyped function of Haystack returns."""
    return dict(value)
