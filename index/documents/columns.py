"""The values of one metadata field, document by document, for counting and grouping.

In: a field and an open database of documents. Out: a `Column`. Knows nothing of filters or rankings.

Two values are the same if "=" says so: a text that spells a number is that number; true and false are texts.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from index.documents.attributes import leaves
from index.documents.filtering.expression import Field
from index.documents.metadata import metadata_of
from index.documents.numbers import Attribute, exact, is_rounded, number_of
from index.documents.untrusted import query
from index.values import Mask, Rows


@dataclass(frozen=True, slots=True)
class Column:
    """The values of a field in the documents of a segment.

    values: all different values.
    rows: int64 (n,), ascending; a row with several values stands there several times.
    codes: int64 (n,), the place in `values` of the row's value.
    """

    values: tuple[Attribute, ...]
    rows: Rows
    codes: NDArray[np.int64]

    def counts(self, allowed: Mask) -> Iterator[tuple[Attribute, int]]:
        """Each value that the allowed rows have, and how many of them have it."""
        counts = np.bincount(self.codes[allowed[self.rows]], minlength=len(self.values))
        for code in np.flatnonzero(counts):
            yield self.values[code], int(counts[code])

    def values_of(self, row: int) -> list[Attribute]:
        """The values of a row."""
        start, stop = np.searchsorted(self.rows, [row, row + 1])
        return [self.values[code] for code in self.codes[start:stop]]


def read_column(
    database: sqlite3.Connection,
    field: Field,
    count: int,
    most: int,
) -> Column:
    """The values of a field.

    database: open, with the tables of a segment.
    field: which one.
    count: rows of the segment.
    most: no file of this size can hold more attributes.
    Raises sqlite3.DatabaseError or ValueError if the file is damaged.
    """
    marks = ",".join("?" * len(field.names))
    statement = f"SELECT value, row FROM attributes WHERE name IN ({marks})"  # noqa: S608 (marks only)
    pairs = query(database, statement, field.names, most=most)
    if not all(isinstance(row, int) and 0 <= row < count for _, row in pairs):
        raise ValueError("an attribute of no document")
    different = {value for value, _ in pairs}
    if any(map(is_rounded, different)):
        return coded(_exact_pairs(database, field, pairs))
    spelling = set(filter(_spells, different))
    return coded((value, row) for value, row in pairs if value not in spelling)


def few_values(database: sqlite3.Connection, name: str, most: int) -> set[Attribute] | None:
    """The distinct values under a stored name; None if there are more than `most`.

    Raises sqlite3.DatabaseError if the file is damaged.
    """
    limit = 2 * most + 1  # a text that spells a number stands beside its number
    statement = "SELECT DISTINCT value FROM attributes WHERE name = ? LIMIT ?"
    found = query(database, statement, [name, limit], most=limit)
    values = {exact(value) for (value,) in found if not _spells(value)}
    return None if len(found) == limit or len(values) > most else values


def coded(pairs: Iterable[tuple[Attribute, int]]) -> Column:
    """The column of values that are given with their rows, in any order."""
    codes: dict[Attribute, int] = {}
    coded = [(row, codes.setdefault(value, len(codes))) for value, row in pairs]
    rows, places = np.array(coded, np.int64).reshape(-1, 2).T
    ordered = np.unique(rows * len(codes) + places)  # as pairs are, by the row and then the code
    return Column(tuple(map(exact, codes)), *np.divmod(ordered, max(1, len(codes))))


def _spells(value: Attribute) -> bool:
    """Whether a text spells a number, which is then an attribute of the same row."""
    return isinstance(value, str) and number_of(value) is not None


def _exact_pairs(
    database: sqlite3.Connection, field: Field, pairs: list[tuple[Attribute, int]]
) -> Iterator[tuple[Attribute, int]]:
    """The pairs. For rows with a number that SQLite rounds, the value is read from their metadata."""
    rounded = {row for value, row in pairs if is_rounded(value)}
    yield from ((value, row) for value, row in pairs if row not in rounded and not _spells(value))
    for row in sorted(rounded):
        for (text,) in query(database, "SELECT metadata FROM documents WHERE row = ?", [row], most=1):
            for name, value in leaves(metadata_of(text)):
                if name in field.names:
                    yield exact(value), row
