"""An index folder that is searched and changed at the same time, here and elsewhere."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from index.documents.store import Document
from index.errors import ExistingError, InputError
from retrieval.adapters.collection import Collection, document_of, metadata_of
from retrieval.adapters.conditions import condition
from retrieval.indexing.build import add_documents
from retrieval.search.retriever import Retriever


def test_a_search_finds_documents_with_metadata_and_the_scores_of_the_retriever(index, documents):
    found = Collection(index).search("copy a folder", 3, "hybrid")
    with Retriever.open(index) as retriever:
        hits = retriever.search("copy a folder", 3)
    assert [(each.document.id, each.score) for each in found] == [(hit.id, hit.score) for hit in hits]
    by_id = {document.id: document for document in documents}
    assert [each.document for each in found] == [by_id[hit.id] for hit in hits]


def test_what_another_writer_publishes_is_seen_by_the_next_call(index):
    collection = Collection(index)
    assert collection.count() == 4
    add_documents([Document("mv", text="move a file")], index)
    assert collection.count() == 5
    assert [each.document.id for each in collection.search("move", 1, "lexical")] == ["mv"]


def test_documents_come_by_id_in_the_order_asked_and_by_filter(index, documents):
    collection = Collection(index)
    assert collection.documents(["tar", "none", "ls"]) == [documents[2], documents[0]]
    assert collection.matching([condition("section", "=", 8)]) == [documents[2]]
    assert collection.matching() == documents


def test_without_an_index_one_is_made_of_the_model(tmp_path, model_folder):
    with pytest.raises(InputError, match="no such folder"):
        Collection(tmp_path / "new")
    collection = Collection(tmp_path / "new", model_folder)
    assert (collection.count(), collection.search("files", 3, "hybrid"), collection.delete(["a"])) == (
        0,
        [],
        0,
    )
    assert collection.add([Document("a", text="a file")]) == 1
    assert Collection(tmp_path / "new", model_folder).documents(["a"]) == [Document("a", text="a file")]
    assert (collection.delete(["a", "b"]), collection.count()) == (1, 0)


@pytest.mark.parametrize(
    ("existing", "written", "text"), [("replace", 1, "second"), ("keep", 1, "first"), ("refuse", 0, None)]
)
def test_of_two_documents_with_one_id_the_policy_takes_one_or_none(index, existing, written, text):
    collection = Collection(index)
    both = [Document("new", text="first"), Document("new", text="second")]
    if existing == "refuse":
        with pytest.raises(ExistingError, match="two documents have the id 'new'"):
            collection.add(both, existing)
    else:
        assert collection.add(both, existing) == written
    assert [each.text for each in collection.documents(["new"])] == ([text] if text else [])


def test_nothing_is_added_by_no_documents(index):
    assert Collection(index).add([]) == 0


def test_the_title_is_metadata_and_metadata_the_title():
    document = document_of("a", "text", {"title": "T", "n": 1})
    assert document == Document("a", "T", "text", {"title": "T", "n": 1})
    assert metadata_of(document) == {"title": "T", "n": 1}
    assert metadata_of(Document("a", "T", "text", {"n": 1})) == {"title": "T", "n": 1}
    assert document_of("a", "text", {"title": 3}).title == ""


def test_writers_and_readers_at_once_lose_nothing(index):
    def write(name: str) -> list[int]:
        collection = Collection(index)
        counts = []
        for number in range(3):
            collection.add([Document(f"{name}{number}", text=f"file {number} of {name}")])
            found = collection.search(f"file {number} of {name}", 100, "hybrid")
            assert f"{name}{number}" in {each.document.id for each in found}
            counts.append(len(found))
        return counts

    with ThreadPoolExecutor(2) as threads:
        for counts in threads.map(write, ["a", "b"]):
            assert counts == sorted(counts)
    assert Collection(index).count() == 4 + 2 * 3


@pytest.mark.parametrize("mode", ["hybrid", "dense", "lexical"])
def test_a_misspelt_query_is_corrected_unless_it_is_to_stay(index, mode):
    collection = Collection(index)
    assert collection.corrected("unpack archvie") == "unpack archive"
    assert collection.search("archvie", 4, mode) == collection.search("archive", 4, mode)
    kept = collection.search("archvie", 4, mode, as_typed=True)
    with Retriever.open(index) as retriever:
        hits = retriever.search("archvie", 4, mode, as_typed=True)
    assert [(each.document.id, each.score) for each in kept] == [(hit.id, hit.score) for hit in hits]
    assert kept != collection.search("archive", 4, mode)
