"""The rows whose metadata meets an expression, from the table `attributes` (index/documents/store.py).

In: an expression and an open database of documents. Out: a mask of rows. Knows nothing of how filters are
written. Every value reaches SQLite as a parameter.
"""

from __future__ import annotations

import operator as operators
import sqlite3
from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import reduce
from typing import Any

import numpy as np

from index.documents.attributes import SEPARATOR, leaves
from index.documents.filtering.dates import has_time, instant
from index.documents.filtering.expression import (
    And,
    Comparison,
    Exists,
    Expression,
    In,
    Leaf,
    Not,
    Operator,
    Or,
    Prefix,
)
from index.documents.metadata import metadata_of
from index.documents.numbers import Attribute, forms, is_rounded, number_of
from index.documents.untrusted import query
from index.values import Json, Mask

Statement = tuple[str, list[Any]]

# The documents whose metadata has a value that is stored as the given one.
_STORED_AS = (
    "SELECT row, metadata FROM documents WHERE row IN (SELECT row FROM attributes WHERE {} AND value = ?)"
)
# The first sign after the separator: stored names inside a field are below the name with this sign.
_AFTER = chr(ord(SEPARATOR) + 1)

_COMPARISONS: Mapping[Operator, Callable[[Decimal, Decimal], bool]] = {
    "=": operators.eq,
    "!=": operators.eq,
    ">": operators.gt,
    "<": operators.lt,
    ">=": operators.ge,
    "<=": operators.le,
}


class Selection:
    """Finds rows in the documents of a segment.

    database: open, with the tables of a segment.
    count: its rows.
    most: no file of this size can hold more attributes.
    """

    def __init__(self, database: sqlite3.Connection, count: int, most: int) -> None:
        self._database = database
        self._count = count
        self._most = most

    def rows(self, expression: Expression) -> Mask:
        """The rows that meet an expression, bool (count,).

        Raises sqlite3.DatabaseError, ValueError or ArithmeticError if the file is damaged.
        """
        if isinstance(expression, Not):
            return ~self.rows(expression.part)
        if isinstance(expression, And):
            return reduce(operators.and_, map(self.rows, expression.parts), np.ones(self._count, bool))
        if isinstance(expression, Or):
            return reduce(operators.or_, map(self.rows, expression.parts), np.zeros(self._count, bool))
        return self._leaf(expression)

    def _leaf(self, leaf: Leaf) -> Mask:
        if isinstance(leaf, Comparison):
            return self._compared(leaf)
        if isinstance(leaf, In):
            return self._listed(leaf)
        return self._selected(_exists(leaf) if isinstance(leaf, Exists) else _prefix(leaf))

    def _compared(self, comparison: Comparison) -> Mask:
        mask = self._selected(self._comparison(comparison))
        rounded = number_of(comparison.value)
        if rounded is not None and is_rounded(rounded):
            self._compare_exactly(comparison, rounded, mask)
        return ~mask if comparison.operator == "!=" else mask

    def _listed(self, leaf: In) -> Mask:
        single = [value for value in leaf.values if is_rounded(number_of(value) or 0) or has_time(value)]
        plain = [value for value in leaf.values if value not in single]
        found = [self._compared(Comparison(leaf.field, "=", value)) for value in single]
        if plain:
            found.append(self._selected(_equal(leaf.field.names, plain)))
        return reduce(operators.or_, found, np.zeros(self._count, bool))

    def _comparison(self, comparison: Comparison) -> Statement:
        """A statement for the rows that meet a comparison; for "!=" those that meet "="."""
        names, value = comparison.field.names, comparison.value
        equal = comparison.operator in ("=", "!=")
        if has_time(value):
            self._database.create_function("instant", 1, instant, deterministic=True)
            return _in_time(names, "=" if equal else comparison.operator, value)
        if equal:
            return _equal(names, [value])
        form = list(forms(value))[-1]
        kinds = "('text')" if isinstance(form, str) else "('integer', 'real')"
        return _where(names, f"value {comparison.operator} ? AND typeof(value) IN {kinds}", [form])

    def _selected(self, statement: Statement) -> Mask:
        mask = np.zeros(self._count, bool)
        records = query(self._database, *statement, most=self._most)
        rows = np.array([row for (row,) in records] or np.empty(0, np.int64))
        if rows.dtype != np.int64 or ((rows < 0) | (rows >= self._count)).any():
            raise ValueError("an attribute of no document")
        mask[rows] = True
        return mask

    def _compare_exactly(self, comparison: Comparison, rounded: Attribute, mask: Mask) -> None:
        """Correct the mask where SQLite stores another number as it stores the number of the comparison."""
        names = comparison.field.names
        statement = _STORED_AS.format(f"name IN ({_marks(names)})")
        for row, text in query(self._database, statement, [*names, rounded], most=self._count):
            mask[row] = _meets(comparison, rounded, metadata_of(text))


def _meets(comparison: Comparison, rounded: Attribute, metadata: Mapping[str, Json]) -> bool:
    """Whether a number of a document, or a text that spells one, meets the comparison exactly.

    Raises ValueError unless the document has a number that is stored as `rounded`.
    """
    values = [value for name, value in leaves(metadata) if name in comparison.field.names]
    numbers = {value: number_of(value) if isinstance(value, str) else float(value) for value in values}
    if rounded not in numbers.values():
        raise ValueError("a number that the metadata does not hold")
    compare, limit = _COMPARISONS[comparison.operator], Decimal(comparison.value)
    return any(compare(Decimal(value), limit) for value, number in numbers.items() if number is not None)


def _equal(names: tuple[str, ...], values: list[str]) -> Statement:
    every = list(dict.fromkeys(form for value in values for form in forms(value)))
    return _where(names, f"value IN ({_marks(every)})", every)


def _in_time(names: tuple[str, ...], sign: str, value: str) -> Statement:
    """Dates and times are compared as points in time, other texts by code point."""
    test = (
        "typeof(value) = 'text' AND CASE WHEN instant(value) IS NULL "
        f"THEN value {sign} ? ELSE instant(value) {sign} ? END"
    )
    return _where(names, test, [value, instant(value)])


def _exists(leaf: Exists) -> Statement:
    """Two reads a name, joined: a single one with OR takes twice as long."""
    reads, parameters = [], []
    for name in leaf.field.names:
        reads += ["SELECT row FROM attributes WHERE name = ?"]
        reads += ["SELECT row FROM attributes WHERE name >= ? AND name < ?"]
        parameters += [name, f"{name}{SEPARATOR}", f"{name}{_AFTER}"]
    return " UNION ALL ".join(reads), parameters


def _prefix(leaf: Prefix) -> Statement:
    """Bytes are compared: SQLite's functions on texts end at a NUL. Of an empty text they make NULL."""
    start = leaf.prefix.encode()
    if not start:
        return _where(leaf.field.names, "typeof(value) = 'text'", [])
    test = "value >= ? AND typeof(value) = 'text' AND substr(CAST(value AS BLOB), 1, ?) = ?"
    return _where(leaf.field.names, test, [leaf.prefix, len(start), start])


def _where(names: tuple[str, ...], test: str, parameters: list[Any]) -> Statement:
    statement = f"SELECT row FROM attributes WHERE name IN ({_marks(names)}) AND {test}"  # noqa: S608 (marks only)
    return statement, [*names, *parameters]


def _marks(values: tuple[Any, ...] | list[Any]) -> str:
    return ",".join("?" * len(values))
