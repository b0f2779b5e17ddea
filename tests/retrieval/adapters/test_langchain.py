"""LangChain's own suites, and what they leave open: filters, scores, passages, marginal relevance."""

from __future__ import annotations

import asyncio
import math

import pytest

REASON = "needs langchain-core and langchain-tests; `make test-adapters` installs them"
pytest.importorskip("langchain_core", reason=REASON)
pytest.importorskip("langchain_tests", reason=REASON)

from langchain_core.documents import Document  # noqa: E402
from langchain_core.embeddings import DeterministicFakeEmbedding  # noqa: E402
from langchain_tests.integration_tests import (  # noqa: E402
    EmbeddingsIntegrationTests,
    RetrieversIntegrationTests,
    VectorStoreIntegrationTests,
)
from langchain_tests.unit_tests import EmbeddingsUnitTests  # noqa: E402

from index.documents.store import Document as IndexDocument  # noqa: E402
from index.errors import InputError  # noqa: E402
from retrieval.adapters.langchain import (  # noqa: E402
    PeepholeEmbeddings,
    PeepholeRetriever,
    PeepholeVectorStore,
)
from retrieval.adapters.towers import Towers  # noqa: E402
from retrieval.indexing.build import add_documents  # noqa: E402
from retrieval.search.retriever import Retriever  # noqa: E402


class TestRetrieverSuite(RetrieversIntegrationTests):
    @pytest.fixture(autouse=True)
    def _folder(self, index):
        self._index = str(index)

    @property
    def retriever_constructor(self):
        return PeepholeRetriever

    @property
    def retriever_constructor_params(self):
        return {"index": self._index}

    @property
    def retriever_query_example(self):
        return "copy a folder"


class _OfModel:
    @pytest.fixture(autouse=True)
    def _folder(self, model_folder):
        self._model = model_folder

    @property
    def embeddings_class(self):
        return PeepholeEmbeddings

    @property
    def embedding_model_params(self):
        return {"folder": self._model}


class TestEmbeddingsSuite(_OfModel, EmbeddingsIntegrationTests):
    pass


class TestEmbeddingsUnitSuite(_OfModel, EmbeddingsUnitTests):
    pass


class TestVectorStoreSuite(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self, tmp_path, model_folder):
        return PeepholeVectorStore(tmp_path / "new", model_folder)


def ids(documents):
    return [document.id for document in documents]


def test_queries_and_documents_are_embedded_by_their_own_towers(model_folder):
    embeddings, towers = PeepholeEmbeddings(model_folder), Towers(model_folder)
    assert embeddings.embed_query("copy files") == towers.encode("query", ["copy files"])[0].tolist()
    assert embeddings.embed_documents(["a", "b"]) == towers.encode("document", ["a", "b"]).tolist()
    assert math.hypot(*embeddings.embed_query("copy files")) == pytest.approx(1, abs=1e-6)


def test_the_retriever_finds_what_the_index_finds_with_title_and_metadata(index):
    with Retriever.open(index) as retriever:
        hits = retriever.search("copy a folder", 3)
    found = PeepholeRetriever(index=index, k=3).invoke("copy a folder")
    assert ids(found) == [hit.id for hit in hits]
    copy = next(document for document in found if document.id == "cp")
    assert copy.page_content == "copy a folder to another disk"
    assert copy.metadata == {"title": "Copy", "section": 1, "tags": ["file"]}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("section = 1 and tags = dir", {"ls"}),
        ({"section": 8}, {"tar"}),
        ({"section": 1, "tags": "dir"}, {"ls"}),
        ({"section": {"$gte": 1, "$lt": 8}}, {"ls", "cp", "ssh"}),
        ({"section": {"$ne": 1}}, {"tar"}),
        ({"tags": {"$in": ["dir"]}}, {"ls"}),
        ({"tags": {"$nin": ["dir"]}}, {"cp", "tar", "ssh"}),
        ({"$or": [{"tags": "dir"}, {"section": {"$gt": 1}}]}, {"ls", "tar"}),
        ({"$and": [{"tags": "file"}, {"$not": {"tags": "dir"}}]}, {"cp"}),
        ({"section": {"$lte": 1}, "secure": {"$eq": True}}, {"ssh"}),
        ({}, {"ls", "cp", "tar", "ssh"}),
        (None, {"ls", "cp", "tar", "ssh"}),
    ],
)
def test_a_filter_is_met_by_every_document_found(index, given, expected):
    store = PeepholeVectorStore(index)
    assert set(ids(store.similarity_search("archive", k=4, filter=given))) == expected
    retriever = PeepholeRetriever(index=index, filter=given)
    assert set(ids(retriever.invoke("archive"))) == expected


def test_a_filter_of_an_argument_takes_the_place_of_the_retrievers(index):
    retriever = PeepholeRetriever(index=index, filter={"section": 8})
    assert ids(retriever.invoke("archive", filter={"tags": "dir"})) == ["ls"]


def test_an_unknown_operator_of_a_filter_is_refused(index):
    with pytest.raises(InputError, match=r"the filter has '\$regex'; write \$eq"):
        PeepholeVectorStore(index).similarity_search("x", filter={"section": {"$regex": "1"}})


def test_a_function_as_filter_is_refused(index):
    with pytest.raises(InputError, match=r"the filter is a function; give a text as for --where"):
        PeepholeVectorStore(index).similarity_search("x", filter=lambda document: True)


def test_scores_are_those_of_the_mode_and_relevance_is_the_cosine(index):
    store = PeepholeVectorStore(index, mode="lexical")
    with Retriever.open(index) as retriever:
        lexical = [(hit.id, hit.score) for hit in retriever.search("copy", 4, "lexical")]
        dense = [(hit.id, max(0.0, hit.score)) for hit in retriever.search("copy", 4, "dense")]
    scored = store.similarity_search_with_score("copy", k=4)
    assert [(document.id, score) for document, score in scored] == lexical
    relevant = store.similarity_search_with_relevance_scores("copy", k=4)
    assert [(document.id, score) for document, score in relevant] == dense
    assert ids(store.similarity_search("copy", k=4, mode="dense")) == [each for each, _ in dense]


def test_a_store_of_texts_has_the_model_of_the_embeddings(tmp_path, model_folder):
    store = PeepholeVectorStore.from_texts(
        ["move a file", "print a file"],
        PeepholeEmbeddings(model_folder),
        [{"n": 1}, {"n": 2}],
        ids=["mv", "lp"],
        index=tmp_path / "new",
    )
    assert ids(store.similarity_search("print a file", k=1)) == ["lp"]
    assert store.embeddings.embed_query("x") == PeepholeEmbeddings(model_folder).embed_query("x")
    again = PeepholeVectorStore.from_documents(
        [Document("rename a file", id="mv")], None, index=tmp_path / "new"
    )
    assert again.get_by_ids(["mv", "lp"]) == [
        Document("rename a file", id="mv"),
        Document("print a file", metadata={"n": 2}, id="lp"),
    ]


def test_embeddings_of_another_model_are_refused(tmp_path, model_folder):
    with pytest.raises(InputError, match="give PeepholeEmbeddings"):
        PeepholeVectorStore.from_texts(["a"], DeterministicFakeEmbedding(size=6), index=tmp_path / "new")


def test_lists_of_other_lengths_are_refused_before_anything_is_written(index):
    store = PeepholeVectorStore(index)
    with pytest.raises(InputError, match="2 texts, 2 metadatas and 1 ids"):
        store.add_texts(["a", "b"], ids=["1"])
    with pytest.raises(InputError, match="metadata 'x' is not text"):
        store.add_texts(["a"], [{"x": {1, 2}}])
    assert len(store.similarity_search("a", k=10)) == 4


def test_marginal_relevance_leaves_out_what_is_the_same(tmp_path, model_folder):
    texts = ["copy a folder", "copy a folder", "log in to a machine"]
    store = PeepholeVectorStore.from_texts(
        texts, PeepholeEmbeddings(model_folder), ids=["a", "b", "c"], index=tmp_path / "new"
    )
    query = "copy a folder"
    assert set(ids(store.similarity_search(query, k=2))) == {"a", "b"}
    assert ids(store.max_marginal_relevance_search(query, k=2, lambda_mult=0.1))[1] == "c"
    chosen = store.as_retriever(search_type="mmr", search_kwargs={"k": 1, "fetch_k": 3}).invoke(query)
    assert chosen[0].page_content == query


def test_the_content_of_a_long_document_is_its_best_passage_if_asked(index):
    long = " ".join(["Nothing of interest stands in this sentence."] * 40)
    add_documents([IndexDocument("long", text=f"{long} Zebras live in herds.")], index)
    whole = PeepholeRetriever(index=index, k=1, mode="lexical").invoke("zebras")[0]
    passage = PeepholeRetriever(index=index, k=1, mode="lexical", passages=True).invoke("zebras")[0]
    assert whole.page_content == f"{long} Zebras live in herds."
    assert passage.page_content in whole.page_content
    assert "Zebras" in passage.page_content
    assert len(passage.page_content) < len(whole.page_content)


def test_misspelt_words_are_corrected_unless_they_are_to_stay(index):
    retriever = PeepholeRetriever(index=index, mode="lexical")
    assert ids(retriever.invoke("archvie")) == ["tar"]
    assert ids(retriever.invoke("archvie", as_typed=True)) == []
    exact = PeepholeRetriever(index=index, mode="lexical", as_typed=True)
    assert ids(exact.invoke("archvie")) == []
    assert ids(exact.invoke("archvie", as_typed=False)) == ["tar"]


def test_a_query_takes_the_same_arguments_without_blocking(index):
    retriever = PeepholeRetriever(index=index, k=1)
    asked = {"k": 2, "filter": {"tags": "dir"}, "as_typed": True}
    found = asyncio.run(retriever.ainvoke("archive", **asked))
    assert ids(found) == ids(retriever.invoke("archive", **asked)) == ["ls"]
    assert len(asyncio.run(retriever.ainvoke("archive"))) == 1


def test_a_store_corrects_misspelt_words_unless_they_are_to_stay(index):
    store, exact = (PeepholeVectorStore(index, mode="lexical", as_typed=each) for each in (False, True))
    assert ids(store.similarity_search("archvie")) == ["tar"]
    assert ids(store.similarity_search("archvie", as_typed=True)) == []
    assert ids(exact.similarity_search("archvie")) == []
    assert ids(exact.similarity_search("archvie", as_typed=False)) == ["tar"]
    kept = store.as_retriever(search_kwargs={"as_typed": True})
    assert ids(kept.invoke("archvie")) == []


def test_marginal_relevance_is_that_of_the_corrected_query(index):
    store = PeepholeVectorStore(index, mode="dense")
    typed, meant = (store.max_marginal_relevance_search(each, lambda_mult=1) for each in ("copu", "copy"))
    assert ids(typed) == ids(meant)
    embedded = []
    embed = store.embeddings.embed_query
    store.embeddings.embed_query = lambda text: embedded.append(text) or embed(text)
    store.max_marginal_relevance_search("archvie")
    store.max_marginal_relevance_search("archvie", as_typed=True)
    assert embedded == ["archive", "archvie"]
