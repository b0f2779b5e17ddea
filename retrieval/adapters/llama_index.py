"""LlamaIndex: a retriever, embeddings and a vector store over an index folder (extra `llama-index`).

In: queries, filters and nodes of LlamaIndex. Out: its nodes. The vector store encodes queries and nodes by
the model inside the index (`is_embedding_query` is False).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from index.documents.filtering.expression import And, Expression, Not, Or
from index.documents.store import Document
from index.errors import InputError, needing
from retrieval.adapters.collection import Collection, document_of, metadata_of
from retrieval.adapters.conditions import Sign, condition
from retrieval.adapters.towers import Towers
from retrieval.search.modes import Mode

with needing("llama-index"):
    from llama_index.core.base.base_retriever import BaseRetriever
    from llama_index.core.base.embeddings.base import BaseEmbedding
    from llama_index.core.bridge.pydantic import PrivateAttr
    from llama_index.core.schema import BaseNode, MetadataMode, NodeWithScore, QueryBundle, TextNode
    from llama_index.core.vector_stores.types import (
        BasePydanticVectorStore,
        FilterCondition,
        FilterOperator,
        MetadataFilter,
        MetadataFilters,
        VectorStoreQuery,
        VectorStoreQueryMode,
        VectorStoreQueryResult,
    )
    from llama_index.core.vector_stores.utils import metadata_dict_to_node, node_to_metadata_dict

# The metadata under which LlamaIndex stores a node, and the document that it was cut from.
_NODE = "_node_content"
_SOURCE = "ref_doc_id"

_SIGNS: Mapping[FilterOperator, Sign] = {
    FilterOperator.EQ: "=",
    FilterOperator.NE: "!=",
    FilterOperator.GT: ">",
    FilterOperator.GTE: ">=",
    FilterOperator.LT: "<",
    FilterOperator.LTE: "<=",
    FilterOperator.IN: "in",
    FilterOperator.NIN: "not in",
    FilterOperator.ANY: "in",
    FilterOperator.CONTAINS: "=",
}
# The mode of a query to ours; by default a store has its own.
_MODES: Mapping[VectorStoreQueryMode, Mode] = {
    VectorStoreQueryMode.HYBRID: "hybrid",
    VectorStoreQueryMode.SEMANTIC_HYBRID: "hybrid",
    VectorStoreQueryMode.SPARSE: "lexical",
    VectorStoreQueryMode.TEXT_SEARCH: "lexical",
}


class PeepholeRetriever(BaseRetriever):
    """The retriever of an index.

    index: its folder.
    similarity_top_k: the number of nodes.
    mode: "hybrid", "dense" or "lexical".
    filters: what the metadata must meet.
    as_typed: whether to search for a query as it is; else its misspelt words are corrected.
    kwargs: what the base class takes.
    Raises what `Retriever.open` raises.
    """

    def __init__(
        self,
        index: Path | str,
        similarity_top_k: int = 10,
        mode: Mode = "hybrid",
        filters: MetadataFilters | None = None,
        as_typed: bool = False,
        **kwargs: Any,
    ) -> None:
        self._collection = Collection(index)
        self._similarity_top_k = similarity_top_k
        self._mode: Mode = mode
        self._filters = filters
        self._as_typed = as_typed
        super().__init__(**kwargs)

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        found = self._collection.search(
            query_bundle.query_str,
            self._similarity_top_k,
            self._mode,
            _where(self._filters),
            as_typed=self._as_typed,
        )
        return [NodeWithScore(node=_node(each.document), score=each.score) for each in found]

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return await asyncio.to_thread(self._retrieve, query_bundle)


class PeepholeEmbedding(BaseEmbedding):
    """The towers of a model: queries and texts are encoded each by its own.

    folder: of a model, or of an index, whose model is taken.
    Raises what `Towers` raises.
    """

    folder: str
    _towers: Towers = PrivateAttr()

    def __init__(self, folder: Path | str, **kwargs: Any) -> None:
        kwargs["folder"] = str(folder)
        super().__init__(**kwargs)
        self._towers = Towers(folder)

    @classmethod
    def class_name(cls) -> str:
        """The name under which LlamaIndex stores it."""
        return "PeepholeEmbedding"

    def _get_query_embedding(self, query: str) -> list[float]:
        embedding: list[float] = self._towers.encode("query", [query])[0].tolist()
        return embedding

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return await asyncio.to_thread(self._get_query_embedding, query)

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._get_text_embeddings([text])[0]

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        embeddings: list[list[float]] = self._towers.encode("document", texts).tolist()
        return embeddings


class PeepholeVectorStore(BasePydanticVectorStore):
    """An index as a vector store.

    index: its folder.
    model: the folder of a model, needed if there is no index yet; one without documents is then made.
    mode: of queries in the mode DEFAULT: "hybrid", "dense" or "lexical".
    as_typed: whether to search for a query as it is; else its misspelt words are corrected.
    Raises what `Collection` raises; changes raise PeepholeError.
    """

    stores_text: bool = True
    is_embedding_query: bool = False
    index: str
    model: str | None = None
    mode: Mode = "hybrid"
    as_typed: bool = False
    _collection: Collection = PrivateAttr()

    def __init__(
        self,
        index: Path | str,
        model: Path | str | None = None,
        mode: Mode = "hybrid",
        as_typed: bool = False,
        **kwargs: Any,
    ) -> None:
        kwargs |= {"index": str(index), "model": None if model is None else str(model)}
        kwargs |= {"mode": mode, "as_typed": as_typed}
        super().__init__(**kwargs)
        self._collection = Collection(index, model)

    @classmethod
    def class_name(cls) -> str:
        """The name under which LlamaIndex stores it."""
        return "PeepholeVectorStore"

    @property
    def client(self) -> Collection:
        """The open index."""
        return self._collection

    def add(self, nodes: Sequence[BaseNode], **kwargs: Any) -> list[str]:
        """Add nodes in one step, durable on return; a node takes the place of one with the same id.

        nodes: their texts are encoded here; embeddings that they bring are used for nothing.
        Returns the ids. Raises InputError for metadata that is not JSON.
        """
        self._collection.add(list(map(_document, nodes)))
        return [node.node_id for node in nodes]

    def delete(self, ref_doc_id: str, **delete_kwargs: Any) -> None:
        """Delete the nodes that were cut from a document, in one step."""
        self._delete([condition(_SOURCE, "=", ref_doc_id)])

    def delete_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None, **delete_kwargs: Any
    ) -> None:
        """Delete nodes in one step: those with these ids that meet the filters.

        node_ids: None for all.
        filters: None for no filter.
        """
        self._collection.delete([document.id for document in self._found(node_ids, filters)])

    def clear(self) -> None:
        """Delete all nodes in one step."""
        self._delete([])

    def get_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None
    ) -> list[BaseNode]:
        """The nodes with these ids that meet the filters; parameters as for `delete_nodes`."""
        return list(map(_node, self._found(node_ids, filters)))

    def query(
        self,
        query: VectorStoreQuery,
        as_typed: bool | None = None,
        **kwargs: Any,
    ) -> VectorStoreQueryResult:
        """The best nodes for the text of a query.

        query: its `query_str`, `similarity_top_k`, `filters`, `doc_ids`, `node_ids` and `mode` count; no ids
            stand for all, and the mode is DEFAULT, HYBRID, SPARSE or TEXT_SEARCH.
        as_typed: instead of that of the store.
        Raises InputError for another mode, and for a query without text.
        """
        if query.query_str is None:
            raise InputError("the query has no text; a vector of another model finds nothing here")
        where = _where(query.filters)
        if query.doc_ids:
            where.append(condition(_SOURCE, "in", query.doc_ids))
        k = query.similarity_top_k
        depth = max(1, self._collection.count()) if query.node_ids else k
        found = self._collection.search(
            query.query_str,
            depth,
            self._mode_of(query.mode),
            where,
            as_typed=self.as_typed if as_typed is None else as_typed,
        )
        if query.node_ids:
            wanted = set(query.node_ids)
            found = [each for each in found if each.document.id in wanted][:k]
        return VectorStoreQueryResult(
            nodes=[_node(each.document) for each in found],
            similarities=[each.score for each in found],
            ids=[each.document.id for each in found],
        )

    async def aquery(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:
        """`query` in a thread."""
        return await asyncio.to_thread(self.query, query, **kwargs)

    def _mode_of(self, mode: VectorStoreQueryMode) -> Mode:
        if mode == VectorStoreQueryMode.DEFAULT:
            return self.mode
        if mode not in _MODES:
            raise InputError(f"the mode {mode.value} is not one of an index; take default, hybrid or sparse")
        return _MODES[mode]

    def _found(self, node_ids: list[str] | None, filters: MetadataFilters | None) -> list[Document]:
        if node_ids is None:
            return self._collection.matching(_where(filters))
        if filters is None:
            return self._collection.documents(node_ids)
        wanted = set(node_ids)
        return [each for each in self._collection.matching(_where(filters)) if each.id in wanted]

    def _delete(self, where: list[Expression]) -> None:
        self._collection.delete([document.id for document in self._collection.matching(where)])


def _document(node: BaseNode) -> Document:
    """A node as a document: its text without the metadata, which is stored beside it."""
    text = node.get_content(metadata_mode=MetadataMode.NONE)
    return document_of(node.node_id, text, node_to_metadata_dict(node, remove_text=True))


def _node(document: Document) -> BaseNode:
    """The node that was added, or one of a document that `peephole build` or `add` made."""
    if _NODE in document.metadata:
        return metadata_dict_to_node(dict(document.metadata), text=document.text)
    return TextNode(id_=document.id, text=document.text, metadata=metadata_of(document))


def _where(filters: MetadataFilters | None) -> list[Expression]:
    return [] if filters is None else [_expression(filters)]


def _expression(filters: MetadataFilters) -> Expression:
    parts = tuple(
        _expression(each) if isinstance(each, MetadataFilters) else _condition(each)
        for each in filters.filters
    )
    if not parts or filters.condition not in (FilterCondition.OR, FilterCondition.NOT):
        return And(parts)
    return Or(parts) if filters.condition == FilterCondition.OR else Not(Or(parts))


def _condition(given: MetadataFilter) -> Expression:
    if given.operator == FilterOperator.IS_EMPTY:
        return Or((condition(given.key, "=", None), condition(given.key, "=", "")))
    if given.operator == FilterOperator.ALL and isinstance(given.value, list):
        return And(tuple(condition(given.key, "=", value) for value in given.value))
    if given.operator not in _SIGNS:
        raise InputError(f"the filter on {given.key!r} has {given.operator.value!r}, which no index answers")
    return condition(given.key, _SIGNS[given.operator], given.value)
