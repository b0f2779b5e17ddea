"""Conditions on documents' metadata: what a filtered search asks for, and how SQLite finds it.

In: a text such as "year>=2020". Out: a condition, and the SQL that selects the rows which meet it from the
table `attributes` of a segment's documents (see documents.py).
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

# The form of a metadata value that is compared.
Attribute = str | int | float

_CONDITION = re.compile(rf"([^<>=!]+)({'|'.join(OPERATORS)})(.*)", re.DOTALL)
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
# SQLite keeps whole numbers below this as they are, and others as float64.
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
    """A field of the metadata compared with a value.

    Texts compare with texts, by code point, so that dates like 2024-05-01 sort; numbers with numbers, and
    with texts that spell one. "=" holds for either. true and false are texts. A document without the field
    meets no condition but "!=".

    Whole numbers compare exactly, whatever their size up to that of float64 (309 digits), others as float64.
    Past that size a text spells no number, and a number is refused where it is read.

    Raises InputError for an operator that is none, and for a name or value that is no valid Unicode text.
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
        """A SELECT of the rows that meet the condition (for "!=", that do not), and its parameters.

        It compares as SQLite stores: see `rounded` for the rows that this leaves in doubt.
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
        """The float64 by which the value is stored, if other numbers may be stored by the same; else None.

        Rows with it meet the condition if `meets` says so of what their metadata holds.
        """
        number = _number(self.value)
        return number if isinstance(number, float) and abs(number) >= _LARGEST else None

    def meets(self, value: Scalar) -> bool:
        """Whether a number, or a text that spells one, meets the condition (for "!=", does not), exactly.

        Raises ArithmeticError, TypeError or ValueError for anything else.
        """
        return _COMPARISONS[self.operator](Decimal(value), Decimal(self.value))  # type: ignore[arg-type]


def parse_condition(text: str) -> Condition:
    """Read a condition. Raises InputError.

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
    """The pairs of name and value by which a document is found; a null is as no value at all."""
    for name, value in metadata.items():
        if isinstance(value, bool):
            yield name, "true" if value else "false"
        elif isinstance(value, str):
            for form in forms(value):
                yield name, form
        elif value is not None:
            yield name, _stored(value)


def forms(value: str) -> Iterator[Attribute]:
    """A text, then the number it spells, if it does, as it is stored."""
    yield value
    number = _number(value)
    if number is not None:
        yield number


def is_finite(value: object) -> bool:
    """Whether a value is no number, or one that float64 has room for."""
    return not isinstance(value, int | float) or abs(value) <= sys.float_info.max


def is_valid(text: str) -> bool:
    """Whether a text has a UTF-8 form: a lone surrogate, as JSON can spell one, has not."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _number(text: str) -> int | float | None:
    """The number that a text spells, as it is stored; None if it spells none or one past float64."""
    if not _NUMBER.fullmatch(text):
        return None
    number = float(text)
    if not math.isfinite(number):
        return None
    # An exponent could ask for more digits than there is memory: only what is short is made whole.
    if number.is_integer() and 0 < abs(number) <= _LARGEST:
        exact = Decimal(text)
        if exact == int(exact):
            return _stored(int(exact))
    return number or 0


def _stored(number: int | float) -> int | float:
    return float(number) if abs(number) >= _LARGEST else number
