"""Filters as callers give them: one condition, one expression, or several that must all hold.

In: texts, conditions, expressions. Out: one expression. Knows nothing of SQL.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from index.documents.filtering.expression import (
    OPERATORS,
    And,
    Comparison,
    Expression,
    Field,
    Leaf,
    Not,
    Operator,
    Or,
    check_operator,
    check_text,
)
from index.errors import InputError

_CONDITION = re.compile(rf"([^<>=!]+)({'|'.join(OPERATORS)})(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Condition:
    """A comparison of a metadata field with a value.

    name: of the field. author.name stands for `name` inside `author`, and for a field called "author.name".
    operator: one of `OPERATORS`.
    value: what the field is compared with, as text.

    Texts are compared with texts, by code point, so dates like 2024-05-01 are in order. Numbers are compared
    with numbers, and with texts that spell a number. "=" holds if either is equal. true and false are texts.
    An array meets a condition if one of its elements does. A document without the field meets "!=" only.

    Whole numbers are compared exactly up to the largest float64 (309 digits), other numbers as float64. A
    text with a larger number counts as text only; a larger number in metadata is refused when it is read.

    A value with a time of day, such as 2024-05-01T10:00:00Z, is compared with dates and times (ISO 8601) as
    points in time: a date is its first moment in UTC, a time without an offset is in UTC.

    Raises InputError for an unknown operator, and for a name or value that is not valid Unicode text.
    """

    name: str
    operator: Operator
    value: str

    def __post_init__(self) -> None:
        check_operator(self.operator)
        check_text(self.name, self.value)


Filter: TypeAlias = Condition | Expression


def parse_condition(text: str) -> Condition:
    """Read a single condition such as "year>=2020", whose value is all that follows. Raises InputError.

    >>> parse_condition("year >= 2020")
    Condition(name='year', operator='>=', value='2020')
    """
    match = _CONDITION.fullmatch(text)
    if match is None or match[1].isspace():
        raise InputError(f"{text[:80]!r} is no condition; write NAME=VALUE, or with {', '.join(OPERATORS)}")
    name, sign, value = match.groups()
    operator = next(known for known in OPERATORS if known == sign)
    return Condition(name.strip(), operator, value.strip())


def as_expression(where: Filter) -> Expression:
    """A condition as an expression; an expression as it is. Raises InputError for anything else."""
    if isinstance(where, Condition):
        return Comparison(Field.bare(where.name), where.operator, where.value)
    if isinstance(where, And | Or | Not | Leaf):
        return where
    raise InputError(f"a filter is a text or a condition, not {where!r}")


def all_of(where: Sequence[Filter]) -> Expression:
    """The expression that holds where all of these hold."""
    parts = tuple(map(as_expression, where))
    return parts[0] if len(parts) == 1 else And(parts)
