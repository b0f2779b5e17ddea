"""The metadata of a document as the text that is stored.

In: metadata as JSON has it. Out: its text, or what is wrong with it; and back. Knows nothing of filters.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping

from index.documents.numbers import is_finite
from index.values import Json

# Objects and arrays inside each other in the metadata of a document, and all values in it.
MOST_NESTED = 20
MOST_VALUES = 10_000


def metadata_json(metadata: Mapping[str, Json]) -> str:
    """Metadata as compact JSON."""
    if not metadata:
        return "{}"  # most corpora have none, and an encoder is made for each document
    return json.dumps(dict(metadata), ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def metadata_of(text: str) -> dict[str, Json]:
    """What `metadata_json` wrote. Raises sqlite3.DatabaseError for anything else."""
    try:
        metadata = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise sqlite3.DatabaseError(f"metadata that is no JSON, {error}") from error
    if not isinstance(metadata, dict):
        raise sqlite3.DatabaseError("metadata that is no JSON object")
    return metadata


def problem_of(metadata: Mapping[str, Json]) -> str | None:
    """Why metadata cannot be stored, such as "'x' is NaN ..."; None if it can be."""
    values = 0
    pending: list[tuple[str, object, int]] = [(name, value, 0) for name, value in metadata.items()]
    while pending:
        name, value, depth = pending.pop()
        values += 1
        parts = list(value.values()) if isinstance(value, Mapping) else value
        if isinstance(parts, list | tuple):
            pending += [(name, part, depth + 1) for part in parts]
        elif not (value is None or isinstance(value, str | int | float)):
            return f"{name!r} is not text, number, true, false, null, array or object"
        if not isinstance(name, str) or (isinstance(value, Mapping) and not _texts(value)):
            return f"{name!r} has a name that is no text"
        if not is_finite(value):
            return f"{name!r} is NaN or past float64; write it as text"
        if depth > MOST_NESTED:
            return f"{name!r} is nested more than {MOST_NESTED} deep; write it as text"
        if values + len(pending) > MOST_VALUES:
            return f"holds more than {MOST_VALUES:,} values; write some as text"
    return None


def _texts(mapping: Mapping[object, object]) -> bool:
    return all(isinstance(key, str) for key in mapping)
