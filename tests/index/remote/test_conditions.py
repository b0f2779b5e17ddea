import json
import re
from pathlib import Path

import numpy as np
import pytest

from index.documents.filtering.parse import parse_where
from index.documents.store import Document, DocumentReader
from index.documents.writer import DocumentWriter
from index.errors import InputError
from index.remote.conditions import filter_of, stored_attributes


def test_nothing_that_a_user_writes_reaches_the_server():
    hostile = 'x"] or number >= 0 or tags like "%\' \\ é'
    for text in ("name = {}", "name prefix {}", "name >= {}", "name in ({}, {})", "exists {}"):
        quoted = '"' + hostile.replace('"', '""') + '"'
        where = parse_where(text.format(quoted, quoted))
        filtered = filter_of(where, {"name", hostile})
        for piece in ("tags", "\\", "'", "é", "number >="):
            assert piece not in filtered


def test_bounds_are_the_least_and_largest_of_each_kind():
    stored = stored_attributes({"a": [3, "2", "x", "2024-05-01"], "b": True, "c": None})
    (field,) = (
        value for value in stored.values() if isinstance(value, dict) and value.get("number_low") is not None
    )
    assert (field["number_low"], field["number_high"]) == (2, 3)
    assert (field["text_low"], field["text_high"]) == (b"2".hex(), b"x".hex())
    assert field["time_low"] == field["time_high"] == 1_714_521_600_000_000
    assert len(stored["names"]) == 2
    assert json.loads(json.dumps(stored)) == stored


def test_bound_that_float64_rounds_is_refused():
    assert "9007199254740991" in filter_of(parse_where(f"n < {2**53 - 1}"), {"n"})
    with pytest.raises(InputError, match="too large to compare"):
        filter_of(parse_where(f"n < {2**53}"), {"n"})


def test_field_that_no_document_has_matches_nothing():
    assert filter_of(parse_where("exists a"), {"b"}) == "number < 0"
    assert "ab" not in filter_of(parse_where("exists a"), {"a", "ab"})


def evaluated(filtered: str, stored: dict) -> bool:
    """A filter of Milvus on one document, by rules that are not the product's: Python's own."""

    def json_contains_any(values: list, wanted: list) -> bool:
        return not set(values).isdisjoint(wanted)

    class Missing(dict):
        def __missing__(self, key: str) -> "Missing":
            return Missing()

        def __lt__(self, other: object) -> bool:
            return False

        __gt__ = __le__ = __ge__ = __lt__

    names = {
        "json_contains_any": json_contains_any,
        "attributes": Missing({k: Missing(v) if isinstance(v, dict) else v for k, v in stored.items()}),
        "number": 1,
    }
    python = re.sub(r'(attributes\["\w+"\]\["texts"\]) like "%([^%]*)%"', r'("\2" in \1)', filtered)
    return bool(eval(python, {"__builtins__": {}}, names))  # noqa: S307 (made of fingerprints only)


METADATA = [
    {"a": 1},
    {"a": [0.5, "x", 2**60]},
    {"a": "2024-05-01"},
    {"a": ["2024-05-01T10:00:00+02:00", "zz"]},
    {"a": {"b": "1"}},
    {"a.b": True, "c": [[1], [-3.5]]},
    {},
    {"a": 2**64 + 1, "c": "007"},
    {"a": 2**64, "c": "中文"},
]
CONDITIONS = [
    *(f"a {sign} {value}" for sign in ("=", "!=", "<", "<=", ">", ">=") for value in ("1", "x", "0.5")),
    *(f"a {sign} 2024-05-01T08:00:00Z" for sign in ("=", "!=", "<", "<=", ">", ">=")),
    f"a = {2**64}",
    f"a != {2**64 + 1}",
    "a.b = 1",
    "a.b = true",
    "exists a",
    "not exists c",
    "c = 7",
    "c < 0 or c prefix 中",
    "c in (7, 1) and not a = 1",
    "a in (2024-05-01T08:00:00Z, x)",
]


def test_filters_mean_what_they_mean_in_a_local_index(tmp_path: Path):
    writer = DocumentWriter(tmp_path / "documents.sqlite")
    writer.append([Document(f"d{n}", metadata=metadata) for n, metadata in enumerate(METADATA)])
    writer.copy_to(tmp_path / "copy.sqlite")
    reader = DocumentReader(tmp_path / "copy.sqlite")
    known = reader.fields()
    for text in CONDITIONS:
        where = parse_where(text)
        filtered = filter_of(where, known)
        found = [evaluated(filtered, stored_attributes(metadata)) for metadata in METADATA]
        assert np.array_equal(found, reader.matching(where)), text
