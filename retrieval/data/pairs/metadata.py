"""The metadata of a document that stands in several rows.

In: the metadata that each row gives it. Out: one object for the document. Knows nothing of rows and files.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from index.values import Json


@dataclass
class JoinedMetadata:
    """The different values of each name, in the order in which they came."""

    values: dict[str, dict[str, Json]] = field(default_factory=dict)  # name to JSON text to value

    def add(self, metadata: Mapping[str, Json]) -> None:
        """Note what a row says."""
        for name, value in metadata.items():
            self.values.setdefault(name, {}).setdefault(_text(value), value)

    def joined(self) -> dict[str, Json]:
        """One value of each name: where rows differ, an array of all their values without the empty ones.

        An array of a row counts as its elements. A filter finds an array by each of its values.
        """
        return {name: _joined(list(values.values())) for name, values in self.values.items()}


def _joined(values: list[Json]) -> Json:
    said = [value for value in values if value is not None and value != ""]
    if len(said) < 2:
        return said[0] if said else values[0]
    return _distinct(part for value in said for part in (value if isinstance(value, list) else [value]))


def _distinct(values: Iterable[Json]) -> list[Json]:
    return list({_text(value): value for value in values}.values())


def _text(value: Json) -> str:
    return json.dumps(value, sort_keys=True)
