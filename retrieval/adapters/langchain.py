"""LangChain: a retriever, embeddings and a vector store over an index folder (extra `langchain`).

In: queries, texts and documents of LangChain. Out: its documents and lists of floats. Filters are those of
`peephole search --where` as a text, or a mapping in the manner of MongoDB.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeAlias

import numpy as np

from index.documents.filtering.expression import And, Expression, Not, Or
from index.errors import InputError, needing
from retrieval.adapters.collection import Collection, Found, document_of, metadata_of
from retrieval.adapters.conditions import Sign, condition
from retrieval.adapters.towers import Towers
from retrieval.search.modes import Mode

with needing("langchain"):
    from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
    from langchain_core.documents import Document
    from langchain_core.embeddings import Embeddings
    from langchain_core.retrievers import BaseRetriever
    from langchain_core.runnables import run_in_executor
    from langchain_core.vectorstores import VectorStore
    from langchain_core.vectorstores.utils import maximal_marginal_relevance
    from pydantic import PrivateAttr

# "lang = en and year >= 2020", or {"lang": "en", "year": {"$gte": 2020}}; see docs/adapters.md.
Filter: TypeAlias = str | Mapping[str, Any] | None

_SIGNS: Mapping[str, Sign] = {
    "$eq": "=",
    "$ne": "!=",
    "$gt": ">",
    "$gte": ">=",
    "$lt": "<",
    "$lte": "<=",
    "$in": "in",
    "$nin": "not in",
}


class PeepholeRetriever(BaseRetriever):
    """The retriever of an index.

    index: its folder.
    k: the number of documents, also an argument of `invoke`.
    mode: "hybrid", "dense" or "lexical".
    filter: what the metadata must meet, also an argument of `invoke`.
    passages: whether the content of a long document is its passage that answers best, not all of its text.
    as_typed: whether to search for a query as it is, else with its misspelt words corrected; also an argument
        of `invoke`.
    Raises what `Retriever.open` raises.
    """

    index: Path | str
    k: int = 10
    mode: Mode = "hybrid"
    filter: Any = None
    passages: bool = False
    as_typed: bool = False
    _collection: Collection = PrivateAttr()

    def model_post_init(self, context: Any, /) -> None:
        """Open the index."""
        super().model_post_init(context)
        self._collection = Collection(self.index)

    def _get_relevant_documents(
        self,
        query: str,
        *,
        run_manager: CallbackManagerForRetrieverRun,
        k: int | None = None,
        filter: Filter = None,  # noqa: A002
        as_typed: bool | None = None,
    ) -> list[Document]:
        where = _where(self.filter if filter is None else filter)
        found = self._collection.search(
            query,
            self.k if k is None else k,
            self.mode,
            where,
            as_typed=self.as_typed if as_typed is None else as_typed,
        )
        return [_document(each, passage=self.passages) for each in found]

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, **asked: Any
    ) -> list[Document]:
        # That of the base class takes no further arguments.
        find = partial(self._get_relevant_documents, query, run_manager=run_manager.get_sync(), **asked)
        found: list[Document] = await run_in_executor(None, find)
        return found


class PeepholeEmbeddings(Embeddings):
    """The towers of a model: queries and documents are encoded each by its own.

    folder: of a model, or of an index, whose model is taken.
    Raises what `Towers` raises.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self._towers = Towers(folder)

    def embed_query(self, text: str) -> list[float]:
        """The embedding of a query, unit length."""
        query: list[float] = self._towers.encode("query", [text])[0].tolist()
        return query

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """The embeddings of documents, unit length."""
        documents: list[list[float]] = self._towers.encode("document", texts).tolist()
        return documents


class PeepholeVectorStore(VectorStore):
    """An index as a vector store. The model inside the index encodes queries and documents.

    index: its folder.
    model: the folder of a model, needed if there is no index yet; one without documents is then made.
    mode: "hybrid", "dense" or "lexical", also an argument of the searches.
    as_typed: whether to search for a query as it is, else with its misspelt words corrected; also an argument
        of the searches.
    Raises what `Collection` raises; changes raise PeepholeError.
    """

    def __init__(
        self,
        index: Path | str,
        model: Path | str | None = None,
        mode: Mode = "hybrid",
        *,
        as_typed: bool = False,
    ) -> None:
        self._collection = Collection(index, model)
        self._mode: Mode = mode
        self._as_typed = as_typed
        self._embeddings: PeepholeEmbeddings | None = None

    @classmethod
    def from_texts(
        cls,
        texts: list[str],
        embedding: Embeddings | None = None,
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        **kwargs: Any,
    ) -> Self:
        """A store to which texts were added.

        texts, metadatas, ids: as for `add_texts`.
        embedding: `PeepholeEmbeddings`, whose model a new index gets, or None.
        kwargs: what the class takes; `index` is needed.
        """
        if embedding is not None and not isinstance(embedding, PeepholeEmbeddings):
            raise InputError("an index is searched by the model inside it; give PeepholeEmbeddings")
        if embedding is not None:
            kwargs.setdefault("model", embedding.folder)
        store = cls(**kwargs)
        store.add_texts(texts, metadatas, ids=ids)
        return store

    @property
    def embeddings(self) -> PeepholeEmbeddings:
        """The towers of the model inside the index."""
        if self._embeddings is None:
            self._embeddings = PeepholeEmbeddings(self._collection.folder)
        return self._embeddings

    def add_texts(
        self,
        texts: Iterable[str],
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
        **kwargs: Any,
    ) -> list[str]:
        """Add texts in one step, durable on return; a text takes the place of one with the same id.

        texts: the contents.
        metadatas: what JSON can say, of each text; `title` is the title of the document.
        ids: of each text; None, or None for one of them, for a random one.
        Returns the ids. Raises InputError for metadata that cannot be stored or lists of other lengths.
        """
        texts = list(texts)
        metadatas = [{}] * len(texts) if metadatas is None else metadatas
        given = [None] * len(texts) if ids is None else ids
        if not len(texts) == len(metadatas) == len(given):
            raise InputError(f"{len(texts)} texts, {len(metadatas)} metadatas and {len(given)} ids")
        settled = [each or str(uuid.uuid4()) for each in given]
        self._collection.add(list(map(document_of, settled, texts, metadatas)))
        return settled

    def delete(self, ids: list[str] | None = None, **kwargs: Any) -> bool:
        """Delete documents in one step, durable on return; ids that do not exist are ignored."""
        if ids is None:
            raise InputError("give the ids of the documents to delete")
        self._collection.delete(ids)
        return True

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """The documents with these ids, in this order; ids that do not exist are left out."""
        return [_document(Found(each, 0.0, None)) for each in self._collection.documents(ids)]

    def similarity_search(self, query: str, k: int = 4, **kwargs: Any) -> list[Document]:
        """The k best documents; parameters as for `similarity_search_with_score`."""
        return [document for document, _ in self.similarity_search_with_score(query, k, **kwargs)]

    def similarity_search_with_score(
        self,
        query: str,
        k: int = 4,
        *,
        filter: Filter = None,  # noqa: A002
        mode: Mode | None = None,
        as_typed: bool | None = None,
        **kwargs: Any,
    ) -> list[tuple[Document, float]]:
        """The k best documents with their scores, higher is better; in mode "dense" the cosine.

        query: text.
        k: the number of documents.
        filter: what the metadata must meet.
        mode, as_typed: instead of those of the store.
        """
        typed = self._as_typed if as_typed is None else as_typed
        found = self._collection.search(query, k, mode or self._mode, _where(filter), as_typed=typed)
        return [(_document(each), each.score) for each in found]

    def max_marginal_relevance_search(
        self,
        query: str,
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        *,
        filter: Filter = None,  # noqa: A002
        mode: Mode | None = None,
        as_typed: bool | None = None,
        **kwargs: Any,
    ) -> list[Document]:
        """Documents that are near the query and far from each other (Carbonell and Goldstein, 1998).

        query, k, filter, mode, as_typed: as for `similarity_search_with_score`.
        fetch_k: how many of the best documents to choose from.
        lambda_mult: from 0, the most different ones, to 1, the nearest ones.
        """
        typed = self._as_typed if as_typed is None else as_typed
        read = query if typed else self._collection.corrected(query)  # for both of the next two
        found = self._collection.search(read, fetch_k, mode or self._mode, _where(filter), as_typed=True)
        documents = [_document(each) for each in found]
        embedding = np.array(self.embeddings.embed_query(read))
        others = self.embeddings.embed_documents([document.page_content for document in documents])
        chosen = maximal_marginal_relevance(embedding, others, lambda_mult, k)
        return [documents[number] for number in chosen]

    def _similarity_search_with_relevance_scores(
        self, query: str, k: int = 4, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        """By cosine, negative ones as 0: the scores of other modes have no meaning beyond one search."""
        found = self.similarity_search_with_score(query, k, **{**kwargs, "mode": "dense"})
        return [(document, min(1.0, max(0.0, score))) for document, score in found]


def _document(found: Found, *, passage: bool = False) -> Document:
    document = found.document
    text = found.passage.text if passage and found.passage else document.text
    return Document(page_content=text, metadata=metadata_of(document), id=document.id)


def _where(given: Filter) -> list[str | Expression]:
    if given is None:
        return []
    if not isinstance(given, str | Mapping):
        raise InputError(f"the filter is a {type(given).__name__}; give a text as for --where, or a mapping")
    return [given if isinstance(given, str) else _expression(given)]


def _expression(given: Mapping[str, Any]) -> Expression:
    """A mapping of fields to values or to operators; all must hold."""
    parts: list[Expression] = []
    for name, value in given.items():
        if name in ("$and", "$or"):
            parts.append((And if name == "$and" else Or)(tuple(map(_expression, value))))
        elif name == "$not":
            parts.append(Not(_expression(value)))
        else:
            compared = value if isinstance(value, Mapping) else {"$eq": value}
            parts += [condition(name, _sign(operator), other) for operator, other in compared.items()]
    return And(tuple(parts))


def _sign(operator: str) -> Sign:
    if operator not in _SIGNS:
        raise InputError(f"the filter has {operator!r}; write {', '.join(_SIGNS)}, $and, $or or $not")
    return _SIGNS[operator]
