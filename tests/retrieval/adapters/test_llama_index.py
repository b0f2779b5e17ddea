"""LlamaIndex ships no suite; what its interfaces promise is tested here."""

from __future__ import annotations

import asyncio

import pytest

REASON = "needs llama-index-core; `make test-adapters` installs it"
pytest.importorskip("llama_index.core", reason=REASON)

from llama_index.core import VectorStoreIndex  # noqa: E402
from llama_index.core.schema import NodeRelationship, RelatedNodeInfo, TextNode  # noqa: E402
from llama_index.core.vector_stores.types import (  # noqa: E402
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
)

from index.errors import InputError  # noqa: E402
from retrieval.adapters.llama_index import (  # noqa: E402
    PeepholeEmbedding,
    PeepholeRetriever,
    PeepholeVectorStore,
)
from retrieval.adapters.towers import Towers  # noqa: E402
from retrieval.search.retriever import Retriever  # noqa: E402


def node(node_id, text, source="book", **metadata):
    of = {NodeRelationship.SOURCE: RelatedNodeInfo(node_id=source)}
    return TextNode(id_=node_id, text=text, metadata=metadata, relationships=of)


NODES = [
    node("a", "list the files", section=1, tags=["file", "dir"]),
    node("b", "copy a folder", section=1, tags=["file"]),
    node("c", "unpack an archive", source="paper", section=8, tags=[], title="Tar"),
]


@pytest.fixture
def store(tmp_path, model_folder):
    store = PeepholeVectorStore(tmp_path / "new", model_folder)
    assert store.add(NODES) == ["a", "b", "c"]
    return store


def filters(*conditions, condition=FilterCondition.AND):
    every = [
        each
        if isinstance(each, MetadataFilters)
        else MetadataFilter(key=each[0], operator=each[1], value=each[2])
        for each in conditions
    ]
    return MetadataFilters(filters=every, condition=condition)


def asked(text, k=10, **options):
    return VectorStoreQuery(query_str=text, similarity_top_k=k, **options)


def test_nodes_come_back_whole(store):
    assert store.get_nodes() == NODES
    assert store.get_nodes(["c", "none", "a"]) == [NODES[2], NODES[0]]
    assert store.get_nodes(["a", "c"], filters(("section", FilterOperator.EQ, 8))) == [NODES[2]]
    assert (store.stores_text, store.is_embedding_query) == (True, False)


def test_a_query_of_text_finds_what_the_index_finds(store):
    with Retriever.open(store.index) as retriever:
        hits = retriever.search("copy a folder", 2)
    result = store.query(asked("copy a folder", 2))
    assert result.ids == [hit.id for hit in hits] == [each.node_id for each in result.nodes]
    assert result.similarities == [hit.score for hit in hits]
    assert result.ids[0] == "b"
    assert asyncio.run(store.aquery(asked("copy a folder", 2))) == result


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (filters(("section", FilterOperator.EQ, 1)), {"a", "b"}),
        (filters(("section", FilterOperator.NE, 1)), {"c"}),
        (filters(("section", FilterOperator.GT, 1)), {"c"}),
        (filters(("section", FilterOperator.GTE, 1), ("section", FilterOperator.LT, 8)), {"a", "b"}),
        (filters(("section", FilterOperator.LTE, 1)), {"a", "b"}),
        (filters(("section", FilterOperator.IN, [8, 9])), {"c"}),
        (filters(("section", FilterOperator.NIN, [8, 9])), {"a", "b"}),
        (filters(("tags", FilterOperator.ANY, ["dir", "none"])), {"a"}),
        (filters(("tags", FilterOperator.ALL, ["dir", "file"])), {"a"}),
        (filters(("tags", FilterOperator.CONTAINS, "file")), {"a", "b"}),
        (filters(("tags", FilterOperator.IS_EMPTY, None)), {"c"}),
        (
            filters(("tags", FilterOperator.EQ, "dir"), ("section", FilterOperator.EQ, 8), condition="or"),
            {"a", "c"},
        ),
        (
            filters(("tags", FilterOperator.EQ, "dir"), ("section", FilterOperator.EQ, 8), condition="not"),
            {"b"},
        ),
        (
            filters(
                filters(("title", FilterOperator.EQ, "Tar")),
                filters(("tags", FilterOperator.EQ, "dir")),
                condition="or",
            ),
            {"a", "c"},
        ),
        (filters(condition="or"), {"a", "b", "c"}),
        (filters(("nobody has it", FilterOperator.EQ, "x")), set()),
    ],
)
def test_filters_hold_for_every_node_that_is_found(store, given, expected):
    assert set(store.query(asked("a file", filters=given)).ids) == expected
    assert {each.node_id for each in store.get_nodes(filters=given)} == expected


def test_a_filter_that_no_index_answers_is_refused(store):
    with pytest.raises(InputError, match="the filter on 'title' has 'text_match', which no index answers"):
        store.query(asked("a", filters=filters(("title", FilterOperator.TEXT_MATCH, "x"))))


def test_a_query_can_be_kept_to_nodes_or_documents(store):
    assert store.query(asked("copy a folder", 1, node_ids=["a", "c"])).ids[0] in ("a", "c")
    assert store.query(asked("copy a folder", 5, node_ids=["c"])).ids == ["c"]
    assert store.query(asked("copy a folder", 5, doc_ids=["paper"])).ids == ["c"]


def test_the_mode_of_a_query_is_that_of_the_index(store):
    assert store.query(asked("folder", mode=VectorStoreQueryMode.TEXT_SEARCH)).ids == ["b"]
    assert len(store.query(asked("folder", mode=VectorStoreQueryMode.HYBRID)).ids) == 3
    with pytest.raises(InputError, match="the mode mmr is not one of an index"):
        store.query(asked("folder", mode=VectorStoreQueryMode.MMR))
    with pytest.raises(InputError, match="the query has no text"):
        store.query(VectorStoreQuery(query_embedding=[0.1]))


def test_nodes_are_deleted_by_document_id_and_filter(store):
    store.delete("paper")
    assert [each.node_id for each in store.get_nodes()] == ["a", "b"]
    store.delete("none")
    store.delete_nodes(["a", "b"], filters(("tags", FilterOperator.EQ, "dir")))
    assert [each.node_id for each in store.get_nodes()] == ["b"]
    store.clear()
    assert store.get_nodes() == []
    assert store.query(asked("copy")).ids == []


def test_a_node_takes_the_place_of_one_with_its_id(store):
    store.add([node("a", "print a file", section=2)])
    (found,) = store.get_nodes(["a"])
    assert (found.text, found.metadata) == ("print a file", {"section": 2})
    assert len(store.get_nodes()) == 3


def test_the_retriever_reads_an_index_that_the_command_made(index):
    found = PeepholeRetriever(
        index, similarity_top_k=2, filters=filters(("tags", FilterOperator.EQ, "file"))
    ).retrieve("copy a folder")
    assert {each.node_id for each in found} == {"ls", "cp"}
    copy = next(each for each in found if each.node_id == "cp")
    assert copy.text == "copy a folder to another disk"
    assert copy.metadata == {"title": "Copy", "section": 1, "tags": ["file"]}
    assert [each.score for each in found] == sorted((each.score for each in found), reverse=True)
    again = asyncio.run(PeepholeRetriever(index, mode="lexical").aretrieve("archive"))
    assert [each.node_id for each in again] == ["tar"]


def test_embeddings_are_those_of_the_towers(model_folder):
    embedding, towers = PeepholeEmbedding(model_folder), Towers(model_folder)
    assert embedding.get_query_embedding("copy") == towers.encode("query", ["copy"])[0].tolist()
    assert embedding.get_text_embedding("copy") == towers.encode("document", ["copy"])[0].tolist()
    both = ["copy", "list"]
    assert embedding.get_text_embedding_batch(both) == towers.encode("document", both).tolist()


def test_an_index_of_llama_index_keeps_its_nodes_in_the_folder(tmp_path, model_folder):
    store = PeepholeVectorStore(tmp_path / "new", model_folder)
    index = VectorStoreIndex.from_vector_store(store, embed_model=PeepholeEmbedding(model_folder))
    index.insert_nodes(NODES)
    (found,) = index.as_retriever(similarity_top_k=1).retrieve("unpack an archive")
    assert found.node_id == "c"
    index.delete_nodes(["c"])
    again = VectorStoreIndex.from_vector_store(
        PeepholeVectorStore(tmp_path / "new"), embed_model=PeepholeEmbedding(tmp_path / "new")
    )
    assert {each.node_id for each in again.as_retriever().retrieve("unpack an archive")} == {"a", "b"}


def test_misspelt_words_are_corrected_unless_they_are_to_stay(index):
    for as_typed, expected in ((False, ["tar"]), (True, [])):
        retriever = PeepholeRetriever(index, mode="lexical", as_typed=as_typed)
        assert [each.node_id for each in retriever.retrieve("archvie")] == expected
        store = PeepholeVectorStore(index, mode="lexical", as_typed=as_typed)
        assert store.query(asked("archvie")).ids == expected
        assert PeepholeVectorStore(index, mode="lexical").query(asked("archvie"), as_typed=as_typed).ids == (
            expected
        )


def test_a_retriever_of_a_store_takes_as_typed_among_the_arguments_of_the_store(index, model_folder):
    store = PeepholeVectorStore(index, mode="lexical")
    whole = VectorStoreIndex.from_vector_store(store, embed_model=PeepholeEmbedding(model_folder))
    assert [each.node_id for each in whole.as_retriever().retrieve("archvie")] == ["tar"]
    kept = whole.as_retriever(vector_store_kwargs={"as_typed": True})
    assert kept.retrieve("archvie") == []
