"""Address, statistics and rows: what an index in Milvus is made of on our side. No server is needed."""

from pathlib import Path

import numpy as np
import pytest

from index.documents.store import Document
from index.errors import CorruptError, InputError
from index.remote.address import Address
from index.remote.rows import Numbering, check_lengths, pieces, rows_of_document
from index.remote.terms import Statistics, sparse_of, write_statistics


def test_address_is_read_strictly():
    assert Address.parse("milvus://[::1]:19530/faq_2") == Address("[::1]", 19530, "faq_2")
    for wrong in (
        "http://a:1/b",
        "milvus://a/b",
        "milvus://a:70000/b",
        "milvus://a:1/b-c",
        "milvus://a:1/",
        "x",
    ):
        with pytest.raises(InputError, match="write milvus://HOST:PORT/COLLECTION"):
            Address.parse(wrong)


def test_terms_keep_their_numbers_and_their_documents_add_up(tmp_path: Path):
    first = write_statistics(tmp_path / "1", None, {"a": 2, "b": 1}, {"x"})
    second = write_statistics(tmp_path / "2", tmp_path / "1", {"b": 1, "c": 1}, {"x", "y"})
    assert first["b"] == second["b"]
    assert len({first["a"], first["b"], second["c"]}) == 3
    assert 0 not in {*first.values(), *second.values()}
    old, new = Statistics(tmp_path / "1", 2), Statistics(tmp_path / "2", 3)
    assert new.fields() == {"x", "y"}
    # ln(1 + (3 - 2 + 1/2) / (2 + 1/2)), twice in the query
    assert new.weigh("b b unknown").terms == pytest.approx({first["b"]: 2 * np.log(1.6)})
    assert old.weigh("b").terms == pytest.approx({first["b"]: np.log(2)})
    assert old.weigh("c").terms == {}


def test_damaged_statistics_are_told(tmp_path: Path):
    write_statistics(tmp_path / "1", None, {"a": 5}, ())
    with pytest.raises(CorruptError, match="damaged"):
        Statistics(tmp_path / "1", 4).weigh("a")  # more documents have the word than there are
    (tmp_path / "2").write_bytes(b"no database")
    for path in (tmp_path / "2", tmp_path / "missing"):
        with pytest.raises(CorruptError, match="cannot be read"):
            Statistics(path, 4)


def test_sparse_vector_holds_the_tf_parts_and_is_never_empty():
    # two of three tokens, average 3: 2 / (2 + .9)
    assert sparse_of(["a", "b", "a"], {"a": 7, "b": 9}, 3) == pytest.approx({7: 2 / 2.9, 9: 1 / 1.9})
    assert sparse_of([], {}, 3) == {0: 1.0}


def test_pieces_are_the_whole_text():
    spans = np.array([[2, 4], [3, 6], [7, 9]], np.int32)
    assert pieces("0123456789", spans) == ["012", "3456", "789"]
    assert pieces("abc", np.zeros((1, 2), np.int32)) == ["abc"]


def test_only_the_first_row_of_a_document_has_its_words():
    spans = np.array([[0, 3], [4, 7]], np.int32)
    document = Document("id", "t", "one two", {"n": 1}, ("three",))
    numbering = Numbering({"t": 1, "one": 2, "two": 3, "three": 4}, 3, {}, None)
    first, second = rows_of_document(document, spans, np.ones((2, 4), np.float16), 5, numbering)
    assert (first["number"], first["row"], second["number"], second["row"]) == (5, 5, 6, 5)
    assert (first["id"], second["id"], first["text"] + second["text"]) == ("id", "", "one two")
    assert (set(first["sparse"]), set(second["sparse"])) == ({1, 2, 3, 4}, {0})
    assert (first["queries"], second["queries"]) == ("three", "")
    assert first["attributes"] == second["attributes"]


def test_rows_of_a_collection_without_known_queries_have_none():
    document = Document("id", "t", "one", {}, ("three",))
    numbering = Numbering({"t": 1, "one": 2, "three": 4}, 3, {}, None, queries=False)
    (row,) = rows_of_document(document, np.zeros((1, 2), np.int32), np.ones((1, 4), np.float16), 0, numbering)
    assert set(row["sparse"]) == {1, 2}
    assert "queries" not in row


def test_known_queries_are_stored_as_far_as_milvus_can_hold_them():
    queries = tuple(f"{number:05d}" for number in range(20_000))
    numbering = Numbering(dict.fromkeys(queries, 1), 1, {}, None)
    document = Document("id", "", "", {}, queries)
    (row,) = rows_of_document(document, np.zeros((1, 2), np.int32), np.ones((1, 4), np.float16), 0, numbering)
    assert tuple(row["queries"].split("\n")) == queries[: 65_535 // 6]


def test_document_that_milvus_cannot_hold_is_named():
    long = "é" * 40_000
    whole = np.array([[0, 0, 0], [1, 0, 0]], np.int32)
    with pytest.raises(InputError, match=r"document 'b': its text has more than 65,535 bytes.*--passages"):
        check_lengths([Document("a", "", "short"), Document("b", "", long)], whole)
    check_lengths([Document("b", "", long)], np.array([[0, 0, 20_000], [0, 20_000, 40_000]], np.int32))
    with pytest.raises(InputError, match=r"its metadata has more .* shorten it"):
        check_lengths([Document("a", "", "", {"x": long})], whole[:1])
