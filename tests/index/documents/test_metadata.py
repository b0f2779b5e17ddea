"""Metadata as text: compact, and what it was when it is read again."""

import pytest

from index.documents.metadata import metadata_json, metadata_of


@pytest.mark.parametrize(
    ("metadata", "text"), [({}, "{}"), ({"a": [1, None], "é": {"b": True}}, '{"a":[1,null],"é":{"b":true}}')]
)
def test_metadata_is_compact_and_comes_back(metadata: dict, text: str) -> None:
    assert metadata_json(metadata) == text
    assert metadata_of(text) == metadata
