"""A document as rows of a collection. No server is needed."""

import numpy as np
import pytest

from index.documents.store import Document
from index.errors import InputError
from index.remote.rows import Numbering, check_lengths, pieces, rows_of_document


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
