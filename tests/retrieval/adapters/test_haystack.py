"""Haystack's own suite for document stores, and the retriever in a pipeline."""

from __future__ import annotations

import asyncio

import pytest

REASON = "needs haystack-ai; `make test-adapters` installs it"
pytest.importorskip("haystack", reason=REASON)

from haystack import Document, Pipeline  # noqa: E402
from haystack.core.serialization import allow_deserialization_module  # noqa: E402
from haystack.dataclasses import ByteStream  # noqa: E402
from haystack.document_stores.errors import DuplicateDocumentError  # noqa: E402
from haystack.document_stores.types import DuplicatePolicy, FilterPolicy  # noqa: E402
from haystack.errors import FilterError  # noqa: E402
from haystack.testing.document_store import DocumentStoreBaseExtendedTests  # noqa: E402

from index.documents.store import Document as IndexDocument  # noqa: E402
from index.errors import InputError  # noqa: E402
from retrieval.adapters.haystack import PeepholeDocumentStore, PeepholeRetriever  # noqa: E402
from retrieval.indexing.build import add_documents  # noqa: E402
from retrieval.search.retriever import Retriever  # noqa: E402


class TestDocumentStoreSuite(DocumentStoreBaseExtendedTests):
    @pytest.fixture
    def document_store(self, tmp_path, model_folder):
        return PeepholeDocumentStore(str(tmp_path / "new"), str(model_folder))

    def test_write_documents(self, document_store):
        """The suite leaves the default policy to the store."""
        documents = [Document(content="one"), Document(content="two")]
        assert document_store.write_documents(documents) == 2
        with pytest.raises(DuplicateDocumentError):
            document_store.write_documents([documents[0]])
        assert document_store.filter_documents() == documents


@pytest.fixture
def store(index):
    return PeepholeDocumentStore(str(index))


def ids(documents):
    return [document.id for document in documents]


def test_the_retriever_finds_what_the_index_finds_with_scores_and_meta(store, index):
    with Retriever.open(index) as retriever:
        hits = retriever.search("copy a folder", 3)
    found = PeepholeRetriever(store, top_k=3).run("copy a folder")["documents"]
    assert [(document.id, document.score) for document in found] == [(hit.id, hit.score) for hit in hits]
    copy = next(document for document in found if document.id == "cp")
    assert copy.content == "copy a folder to another disk"
    assert copy.meta == {"title": "Copy", "section": 1, "tags": ["file"]}
    assert asyncio.run(PeepholeRetriever(store).run_async("copy a folder", top_k=3)) == {"documents": found}


NESTED = {
    "operator": "OR",
    "conditions": [
        {
            "operator": "AND",
            "conditions": [
                {"field": "meta.section", "operator": "==", "value": 1},
                {
                    "operator": "NOT",
                    "conditions": [{"field": "meta.tags", "operator": "in", "value": ["file"]}],
                },
            ],
        },
        {"field": "meta.added", "operator": ">=", "value": "2024-01-01"},
    ],
}


def test_nested_filters_hold_for_every_document_that_is_found(store):
    assert set(ids(store.filter_documents(NESTED))) == {"tar", "ssh"}
    found = PeepholeRetriever(store, filters=NESTED).run("copy a folder")["documents"]
    assert set(ids(found)) == {"tar", "ssh"}


@pytest.mark.parametrize(
    ("policy", "expected"), [(FilterPolicy.REPLACE, {"ls"}), (FilterPolicy.MERGE, set())]
)
def test_filters_of_a_run_replace_or_join_those_of_the_component(store, policy, expected):
    own = {"field": "meta.section", "operator": "==", "value": 8}
    given = {"field": "meta.tags", "operator": "==", "value": "dir"}
    retriever = PeepholeRetriever(store, filters=own, filter_policy=policy)
    assert set(ids(retriever.run("list", filters=given)["documents"])) == expected


@pytest.mark.parametrize(
    ("filters", "problem"),
    [
        ({"field": "meta.section", "operator": "~", "value": 1}, "'~' is no comparison"),
        ({"operator": "XOR", "conditions": []}, "'XOR' joins no conditions"),
        ({"field": "content", "operator": "==", "value": "x"}, "filters see the fields of meta"),
        ({"field": "meta.section", "operator": "==", "value": {"a": 1}}, "cannot be compared"),
    ],
)
def test_a_filter_that_cannot_be_mapped_says_why(store, filters, problem):
    with pytest.raises(FilterError, match=problem):
        store.filter_documents(filters)


@pytest.mark.parametrize(
    "document",
    [
        Document(id="a", content=None, meta={"n": 1}),
        Document(id="a", content="", meta={}),
        Document(id="a", content="x", meta={"title": "T", "deep": {"list": [1, 2.5, None, True]}}),
        Document(id="a", content="x", embedding=[0.1, 1e-300], score=0.25),
        Document(id="a", blob=ByteStream(b"\x00\xff", mime_type="image/png", meta={"k": "v"})),
    ],
)
def test_what_is_written_comes_back_equal(store, document):
    store.write_documents([document])
    (found,) = [each for each in store.filter_documents() if each.id == "a"]
    assert found == document


def test_overwriting_takes_the_last_of_equal_ids_and_skipping_the_first(store):
    both = [Document(id="a", content="first"), Document(id="a", content="second")]
    assert store.write_documents(both, DuplicatePolicy.SKIP) == 1
    assert store.filter_documents()[-1].content == "first"
    assert store.write_documents(both, DuplicatePolicy.OVERWRITE) == 1
    assert store.filter_documents()[-1].content == "second"


def test_meta_that_is_not_json_is_refused_by_name(store):
    with pytest.raises(InputError, match="metadata 'x' is not text"):
        store.write_documents([Document(id="a", content="x", meta={"x": object()})])
    assert store.count_documents() == 4


def test_metadata_under_the_name_of_the_stores_own_must_be_the_stores(store, index):
    add_documents([IndexDocument("a", text="x", metadata={"_haystack": "mine"})], index)
    with pytest.raises(InputError, match="document 'a': the metadata '_haystack' is none that this store"):
        store.filter_documents()


def test_a_pipeline_that_was_saved_finds_the_same(store):
    pipeline = Pipeline()
    retriever = PeepholeRetriever(store, top_k=2, mode="dense", filter_policy=FilterPolicy.MERGE)
    pipeline.add_component("retriever", retriever)
    allow_deserialization_module("retrieval.adapters.haystack")
    again = Pipeline.loads(pipeline.dumps())
    assert again.get_component("retriever").to_dict() == retriever.to_dict()
    asked = {"retriever": {"query": "copy a folder"}}
    assert again.run(asked) == pipeline.run(asked)
    assert len(again.run(asked)["retriever"]["documents"]) == 2


def test_a_store_is_opened_at_its_first_use(tmp_path):
    store = PeepholeDocumentStore(str(tmp_path / "none"))
    assert PeepholeDocumentStore.from_dict(store.to_dict()).index == store.index
    with pytest.raises(InputError, match="no such folder"):
        store.count_documents()
    with pytest.raises(InputError, match="mode must be one of"):
        PeepholeRetriever(store, mode="fast")


def test_misspelt_words_are_corrected_unless_they_are_to_stay(store):
    retriever = PeepholeRetriever(store, mode="lexical")
    assert ids(retriever.run("archvie")["documents"]) == ["tar"]
    assert retriever.run("archvie", as_typed=True)["documents"] == []
    exact = PeepholeRetriever(store, mode="lexical", as_typed=True)
    assert PeepholeRetriever.from_dict(exact.to_dict()).run("archvie")["documents"] == []
    assert ids(asyncio.run(exact.run_async("archvie", as_typed=False))["documents"]) == ["tar"]


def test_a_component_that_was_saved_before_there_was_as_typed_corrects(store):
    saved = PeepholeRetriever(store, mode="lexical").to_dict()
    del saved["init_parameters"]["as_typed"]
    assert ids(PeepholeRetriever.from_dict(saved).run("archvie")["documents"]) == ["tar"]
