"""The values of metadata fields of an index in Milvus. They are counted here: the server cannot count them.

In: rows with their metadata, and a field. Out: a `Column`. Knows nothing of the server. Values are those of
index/documents/columns.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from index.documents.attributes import leaves
from index.documents.columns import Column, coded
from index.documents.filtering.expression import Field
from index.documents.numbers import Attribute, exact
from index.values import Json

Documents = Iterable[tuple[int, Mapping[str, Json]]]


def column_of(documents: Documents, field: Field) -> Column:
    """The values of a field in all documents."""
    return coded((value, row) for row, metadata in documents for value in values_in(metadata, field))


def values_in(metadata: Mapping[str, Json], field: Field) -> list[Attribute]:
    """The different values of a field in a document."""
    return list(dict.fromkeys(exact(value) for name, value in leaves(metadata) if name in field.names))


def few_values(documents: Documents, most: int) -> set[str]:
    """The stored names of the fields with at most `most` distinct values in all documents."""
    values: dict[str, set[Attribute]] = {}
    for _, metadata in documents:
        for name, value in leaves(metadata):
            known = values.setdefault(name, set())
            if len(known) <= most:
                known.add(exact(value))
    return {name for name, known in values.items() if len(known) <= most}
