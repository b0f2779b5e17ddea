"""Conditions on the metadata of documents, for filtered search.

In: a text such as "year>=2020". Out: a condition, and the SQL that selects the rows which meet it from the
table `attributes` (index/documents/store.py). Knows nothing of vectors or ranking.
"""

from __future__ import annotations

import math
import operator as operators
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, get_args

from index.errors import InputError
from index.values import Scalar

Operator = Literal["!=", ">=", "<=", "=", ">", "<"]
OPERATORS: tuple[Operator, ...] = get_args(Operator)

# A metadata value in the form in which it is compared.
Attribute = str | int | float

_CONDITION = re.compile(rf"([^<>=!]+)({'|'.join(OPERATORS)})(.*)", re.DOTALL)
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
# SQLite stores whole numbers below this exactly, and larger ones as float64.
_LARGEST = 1 << 63

_COMPARISONS: Mapping[Operator, Callable[[Decimal, Decimal], bool]] = {
    "=": operators.eq,
    "!=": operators.eq,
    ">": operators.gt,
    "<": operators.lt,
    ">=": operators.ge,
    "<=": operators.le,
}


@dataclass(frozen=True, slots=True)
class Condition:
    """A comparison of a metadata field with a value.

    name: of the field.
    operator: one of `OPERATORS`.
    value: what the field is compared with, as text.

    Texts are compared with texts, by code point, so dates like 2024-05-01 are in order. Numbers are compared
    with numbers, and with texts that spell a number. "=" holds if either is equal. true and false are texts.
    A document without the field meets "!=" only.

    Whole numbers are compared exactly up to the largest float64 (309 digits), other numbers as float64. A
    text with a larger number counts as text only; a larger number in metadata is refused when it is read.

    Raises InputError for an unknown operator, and for a name or value that is not valid Unicode text.
    """

    name: str
    operator: Operator
    value: str

    def __post_init__(self) -> None:
        if self.operator not in OPERATORS:
            raise InputError(f"{self.operator!r} is no operator; write {', '.join(OPERATORS)}")
        for part in (self.name, self.value):
            if not isinstance(part, str):
                raise InputError(f"a condition is made of texts, not of {part!r}; write it as text")
            if not is_valid(part):
                raise InputError(f"the condition on {part!r} is not valid UTF-8; write it so")

    def sql(self) -> tuple[str, list[Attribute]]:
        """A SELECT of the rows that meet the condition (for "!=": that do not), and its parameters.

        It compares values as SQLite stores them; `rounded` tells which rows need a second, exact comparison.
        """
        if self.operator in ("=", "!="):
            values = list(forms(self.value))
            marks = ",".join("?" * len(values))
            where = f"name = ? AND value IN ({marks})"
            return f"SELECT row FROM attributes WHERE {where}", [self.name, *values]  # noqa: S608 (marks only)
        value = list(forms(self.value))[-1]
        kinds = "('text')" if isinstance(value, str) else "('integer', 'real')"
        where = f"name = ? AND value {self.operator} ? AND typeof(value) IN {kinds}"
        return f"SELECT row FROM attributes WHERE {where}", [self.name, value]  # noqa: S608 (see __post_init__)

    def rounded(self) -> float | None:
        """The float64 that the value is stored as, if other numbers can be stored as the same; else None.

        Rows with this stored value must be checked by `meets` on the number in their metadata.
        """
        number = _number(self.value)
        return number if isinstance(number, float) and abs(number) >= _LARGEST else None

    def meets(self, value: Scalar) -> bool:
        """Whether a number, or a text that spells one, meets the condition (for "!=": does not), exactly.

        Raises ArithmeticError, TypeError or ValueError for anything else.
        """
        return _COMPARISONS[self.operator](Decimal(value), Decimal(self.value))  # type: ignore[arg-type]


def parse_condition(text: str) -> Condition:
    """Read a condition such as "year>=2020". Raises InputError.

    >>> parse_condition("year >= 2020")
    Condition(name='year', operator='>=', value='2020')
    """
    match = _CONDITION.fullmatch(text)
    if match is None or match[1].isspace():
        raise InputError(f"{text[:80]!r} is no condition; write NAME=VALUE, or with {', '.join(OPERATORS)}")
    name, sign, value = match.groups()
    operator = next(known for known in OPERATORS if known == sign)
    return Condition(name.strip(), operator, value.strip())


def attributes(metadata: Mapping[str, Scalar]) -> Iterator[tuple[str, Attribute]]:
    """The (name, value) pairs by which filters find a document; null gives none."""
    for name, value in metadata.items():
        if isinstance(value, bool):
            yield name, "true" if value else "false"
        elif isinstance(value, str):
            for form in forms(value):
                yield name, form
        elif value is not None:
            yield name, _stored(value)


def forms(value: str) -> Iterator[Attribute]:
    """A text, then the number that it spells, if any, in its stored form."""
    yield value
    number = _number(value)
    if number is not None:
        yield number


def is_finite(value: object) -> bool:
    """Whether a value is a number within the range of float64, or not a number at all."""
    return not isinstance(value, int | float) or abs(value) <= sys.float_info.max


def is_valid(text: str) -> bool:
    """Whether a text can be encoded as UTF-8: a lone surrogate, which JSON can spell, cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _number(text: str) -> int | float | None:
    """The number that a text spells, in its stored form; None if there is none within float64."""
    if not _NUMBER.fullmatch(text):
        return None
    number = float(text)
    if not math.isfinite(number):
        return None
    # A large exponent would need more digits than there is memory, so only small numbers are made integers.
    if number.is_integer() and 0 < abs(number) <= _LARGEST:
        exact = Decimal(text)
        if exact == int(exact):
            return _stored(int(exact))
    return number or 0


def _stored(number: int | float) -> int | float:
    return float(number) if abs(number) >= _LARGEST else number
