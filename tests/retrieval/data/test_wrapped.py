"""Records with their columns in an object: what is taken out, and what is left as it is."""

from __future__ import annotations

import json

import pytest

from index.documents.store import Document
from retrieval.data.dataset import open_dataset
from retrieval.data.documents import read_documents
from retrieval.data.lines import Place
from retrieval.data.records import Record
from retrieval.data.wrapped import unwrapped

PLACE = Place("a.json", 1)


def taken(fields: dict[str, object]) -> list[dict[str, object]]:
    return [record.fields for record in unwrapped([Record(PLACE, fields)])]


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"id": 1, "attributes": {"title": "a"}}, {"id": 1, "title": "a"}),
        (
            {"_id": "a", "createdTime": "t", "updated_at": "t", "lastModified": "t", "f": {"x": 1}},
            {"_id": "a", "createdTime": "t", "updated_at": "t", "lastModified": "t", "x": 1},
        ),
        ({"id": "a", "fields": {"id": 7, "x": {"y": 1}}}, {"id": "a", "fields.id": 7, "x": {"y": 1}}),
    ],
)
def test_columns_are_taken_out_of_an_object_beside_an_id(fields, found):
    assert taken(fields) == [found]


@pytest.mark.parametrize(
    "fields",
    [
        {"id": "a", "text": "b", "author": {"name": "c"}},
        {"id": "a", "fields": {"x": 1}, "links": {"y": 1}},
        {"_id": "a", "metadata": {"text": "b"}},
        {"node": {"text": "b"}},
        {"created": "t", "fields": {"text": "b"}},
        {"id": "a", "created_by": "b", "fields": {"text": "c"}},
        {"id": "a", "text": "b"},
    ],
)
def test_any_other_record_stays_as_it_is(fields):
    assert taken(fields) == [fields]


def test_an_empty_object_is_a_blank_row():
    assert taken({"id": "a", "createdTime": "t", "fields": {}}) == []


@pytest.mark.parametrize("without_text", [{"id": "b", "info": {"text": "c"}}, {"id": "b", "info": {}}])
def test_a_record_that_lacks_its_text_among_others_stays_as_it_is(without_text):
    """It is told with its line; what its metadata hold is not its text."""
    rows = [{"id": "a", "text": "b", "info": {"x": 1}}, without_text]
    assert [record.fields for record in unwrapped(Record(PLACE, fields) for fields in rows)] == rows


def test_a_page_of_a_database_is_a_corpus_and_a_table_of_pairs(tmp_path):
    def page(*rows):
        records = [{"id": f"r{n}", "createdTime": "2026-01-31", "fields": row} for n, row in enumerate(rows)]
        path = tmp_path / "a.json"
        path.write_text(json.dumps({"records": records, "offset": "x"}, indent=1))
        return path

    corpus = page({"Name": "bolt", "Notes": "of steel", "Tags": ["a"]}, {}, {"Name": "nut"})
    assert list(read_documents(corpus)) == [
        Document("r0", "bolt", "of steel", {"createdTime": "2026-01-31", "Tags": ["a"]}),
        Document("r2", "nut", "", {"createdTime": "2026-01-31"}),
    ]
    pairs = open_dataset(page({"Question": "which bolt", "Answer": "of steel"}))
    assert [(document.id, document.text) for document in pairs.documents()] == [("r0", "of steel")]
