"""Filters as trees of conditions on the metadata of documents.

In: the parts. Out: frozen trees, which can be keys of a cache. Knows nothing of how they are written or
evaluated.

A condition holds for a document if one of the values of its field meets it: an array gives the field each of
its elements as a value. `Not` holds exactly where its part does not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, get_args

from index.documents.attributes import shown_name, stored_name
from index.errors import InputError

Operator = Literal["!=", ">=", "<=", "=", ">", "<"]
OPERATORS: tuple[Operator, ...] = get_args(Operator)


@dataclass(frozen=True, slots=True)
class Field:
    """A field of the metadata.

    names: the stored names whose values it has.
    column: where it stands in the text of the filter, from 1; 0 if the filter has no text.
    optional: whether a filter is allowed if no document has the field. Otherwise it is refused, because
        people mistype names. A filter that a program makes can be older than the first such document.
    """

    names: tuple[str, ...]
    column: int = field(default=1, compare=False)
    optional: bool = False

    @classmethod
    def bare(cls, text: str, column: int = 1, *, optional: bool = False) -> Field:
        """The field of an unquoted name: a.b stands for `b` inside `a`, and for a field called "a.b"."""
        path = stored_name(text.split("."))
        name = stored_name((text,))
        return cls((name,) if path == name else (name, path), column, optional)

    def __str__(self) -> str:
        return shown_name(self.names[-1])


@dataclass(frozen=True, slots=True)
class Comparison:
    """A comparison of the field with a text.

    Texts are compared with texts, by code point, so dates like 2024-05-01 are in order. Numbers are compared
    with numbers, and with texts that spell a number. "=" holds if either is equal. true and false are texts.
    "!=" is the opposite of "=": it holds for documents without the field too.

    Whole numbers are compared exactly up to the largest float64 (309 digits), other numbers as float64. A
    text with a larger number counts as text only; a larger number in metadata is refused when it is read.

    A value with a time of day, such as 2024-05-01T10:00:00Z, is compared with dates and times (ISO 8601) as
    points in time: a date is its first moment in UTC, a time without an offset is in UTC.

    Raises InputError for an unknown operator.
    """

    field: Field
    operator: Operator
    value: str

    def __post_init__(self) -> None:
        if self.operator not in OPERATORS:
            raise InputError(f"{self.operator!r} is no operator; write {', '.join(OPERATORS)}")


@dataclass(frozen=True, slots=True)
class In:
    """A value of the field equals one of these. Without values it holds for no document."""

    field: Field
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Exists:
    """The field, or anything inside it, is a text, a number, true or false."""

    field: Field


@dataclass(frozen=True, slots=True)
class Prefix:
    """A value of the field is a text that begins so."""

    field: Field
    prefix: str


@dataclass(frozen=True, slots=True)
class Not:
    """The part does not hold."""

    part: Expression


@dataclass(frozen=True, slots=True)
class And:
    """All parts hold; without parts it holds for every document."""

    parts: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """One of the parts holds, or more; without parts it holds for no document."""

    parts: tuple[Expression, ...]


Leaf: TypeAlias = Comparison | In | Exists | Prefix
Expression: TypeAlias = Leaf | Not | And | Or


def all_of(where: Sequence[Expression]) -> Expression:
    """The expression that holds where all of these hold."""
    return where[0] if len(where) == 1 else And(tuple(where))


def leaves_of(expression: Expression) -> Iterator[Leaf]:
    """All conditions of a filter, from left to right."""
    pending = [expression]
    while pending:
        part = pending.pop()
        if isinstance(part, And | Or):
            pending += reversed(part.parts)
        elif isinstance(part, Not):
            pending.append(part.part)
        else:
            yield part
