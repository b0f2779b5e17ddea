"""Files named .json or .jsonl: an array of objects, objects one after the other, or one object with them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from index.errors import InputError
from retrieval.data import lines
from retrieval.data.json_file import json_file_records
from retrieval.data.records import Record

OBJECTS = [{"id": n, "text": f'a "quoted" [text] {n}\n, {{'} for n in range(5)]


def records_of(path: Path) -> Iterator[Record]:
    return json_file_records(path, lambda names: "sku" in names)


def written(tmp_path: Path, content: str | bytes) -> Path:
    path = tmp_path / "c.json"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize("piece", [1, 7, 1 << 20])
@pytest.mark.parametrize(
    "content",
    [
        json.dumps(OBJECTS),
        "\ufeff" + json.dumps(OBJECTS, indent=2).replace("\n", "\r\n"),
        "".join(json.dumps(each) + "\n" for each in OBJECTS),
        "\n \n" + json.dumps(OBJECTS, ensure_ascii=False) + "\n",
        "\n".join(json.dumps(each, indent=2) for each in OBJECTS),
        "".join(json.dumps(each) for each in OBJECTS),
        json.dumps({"count": -1.5e10, "articles": OBJECTS, "next_page": None, "tags": [1, 25], "none": []}),
        json.dumps({"next": "x", "meta": {"lists": [{}]}, "articles": OBJECTS}, indent=1) + "\n",
    ],
    ids=[
        *("line", "indented", "lines", "blank lines"),
        *("one after the other", "one line of all", "list in an object", "list in an indented object"),
    ],
)
def test_objects_are_read_wherever_pieces_end(tmp_path, monkeypatch, content: str, piece: int):
    monkeypatch.setattr(lines, "_PIECE_BYTES", piece)
    assert [record.fields for record in records_of(written(tmp_path, content))] == OBJECTS


def test_records_have_the_line_where_they_begin(tmp_path):
    path = written(tmp_path, '[\n{"a": 1},\n\n{"a":\n2},\n{"a": 3}]')
    assert [record.place.line for record in records_of(path)] == [2, 4, 6]


@pytest.mark.parametrize(
    "record",
    [
        {"_id": "a", "text": "x", "comments": [{"by": "me"}]},
        {"id": 7, "text": "x", "comments": [{"by": "me"}]},
        {"query": "x", "document": "y", "negative": ["z"], "metadata": {"links": [{"url": "u"}]}},
        {"query": "x", "document": "y", "negative": []},
    ],
)
@pytest.mark.parametrize("indent", [None, 1])
def test_an_only_object_is_a_record_if_it_has_an_id_or_no_list_of_objects(tmp_path, record, indent):
    path = written(tmp_path, json.dumps(record, indent=indent))
    assert [record.fields for record in records_of(path)] == [record]


def test_the_only_line_of_jsonl_is_a_record_if_it_may_be_one(tmp_path):
    record = {"sku": "a", "name": "x", "images": [{"id": 1, "text": "y"}]}
    path = tmp_path / "c.jsonl"
    path.write_text(json.dumps(record) + "\n")
    assert [record.fields for record in records_of(path)] == [record]
    path.write_text(json.dumps({"articles": OBJECTS}))
    assert [record.fields for record in records_of(path)] == OBJECTS


@pytest.mark.parametrize("content", ["", "[]", " [ ]\n", '{"articles": [], "count": 0}'])
def test_an_empty_file_has_no_records(tmp_path, content: str):
    assert list(records_of(written(tmp_path, content))) == []


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ('[{"a": 1}\n{"a": 2}]', r"c\.json:2: broken JSON \(the array goes on without a comma"),
        ('[{"a": 1},\n{"a": ', r"c\.json:2: broken JSON \(it ends early\); export the file again"),
        ('[{"a": 1}', r"c\.json:1: broken JSON \(it ends early\)"),
        ('[{"a": 1}, ', r"c\.json:1: broken JSON \(it ends early\)"),
        ('{"a": 1\n\n', r"c\.json:1: broken JSON \(it ends early\)"),
        ('{"a": "b', r"c\.json:1: broken JSON \(it ends early\)"),
        ('{"a": [{"b": 1}', r"c\.json:1: broken JSON \(it ends early\)"),
        ('{"a": [{"b": tr', r"c\.json:1: broken JSON \(it ends early\)"),
        ('{"a": [{"b": tr}]}', r"c\.json:1: broken JSON \(Expecting value.*; write one object a line"),
        ('{"a": 1, "b', r"c\.json:1: broken JSON \(it ends early\)"),
        ('{"a"', r"c\.json:1: broken JSON \(it ends early\)"),
        ("{", r"c\.json:1: broken JSON \(it ends early\)"),
        ('[{"a": {"b": [1]}', r"c\.json:1: broken JSON \(it ends early\)"),
        ('[{"a": 1,\n"b": "c d', r"c\.json:1: broken JSON \(it ends early\)"),
        ('{"a": 1},\n{"a": 2},\n', r"c\.json:1: broken JSON \(Expecting value"),
        ('{"a": tru}\n{"a": 2}\n{"a"', r"c\.json:1: broken JSON \(Expecting value"),
        ('{"a": 1 "b": 2}\n{"a"', r"c\.json:1: broken JSON \(Expecting ',' delimiter"),
        ('{"a": "b\n{"a": "c"}', r"c\.json:1: broken JSON \(Unterminated .*; write one object a line"),
        ('[{"a": 1}] x', "something follows the array"),
        ("[\n1]", r"c\.json:2: not a JSON object"),
        ('{"data": {"articles": [{}]}}', "is one JSON object that is no record; give the array"),
        (
            '{"articles": [{}], "users": [{}]}',
            r"is one JSON object with several lists of objects \('articles', 'users'\); give one of them "
            r"alone, as this prints: jq '\.\"articles\"' /",
        ),
        (
            '{"sku": "a", "images": [{}]}',
            r"is one JSON object that may be a record, or hold records in 'images'; give it as \[{\.\.\.}\], "
            r"or a list alone, as this prints: jq '\.\"images\"' /",
        ),
        ('{"articles": [{"a": 1}\n{"a": 2}]}', r"c\.json:2: broken JSON \(the array goes on without a comma"),
        ('{\n"articles": [{"a": 1}\n{"a": 2}]}', r"c\.json:3: broken JSON \(the array goes on without"),
        ('{\n"a": 1\n"b": 2}', r"c\.json:3: broken JSON \(an object goes on without a comma"),
        ('{\n"a": 1},\n{"b": 2}', r"c\.json:2: broken JSON \("),
        ("{\na: 1}", r"c\.json:2: broken JSON \(the name of a value is missing"),
        ('{"a": 1,\n}', r"c\.json:2: broken JSON \("),
        ('{"a": 1}\n{"a": ', r"c\.json:2: broken JSON \(.*; write one object a line"),
        (b'[{"a": "\xff"}]', r"c\.json:1: not UTF-8: a byte is 0xff"),
        ('[{"a": NaN}]', r"c\.json:1: "),
        ("[" * 100_000, r"c\.json:1: "),
    ],
)
def test_what_is_broken_is_told_with_its_line(tmp_path, content: str | bytes, problem: str):
    with pytest.raises(InputError, match=problem):
        list(records_of(written(tmp_path, content)))


def test_an_endless_object_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("retrieval.data.json_file.LONGEST_LINE_BYTES", 100)
    monkeypatch.setattr(lines, "_PIECE_BYTES", 10)
    with pytest.raises(InputError, match="an object is longer than 100 characters"):
        list(records_of(written(tmp_path, '[{"a": "' + "x" * 10_000)))
