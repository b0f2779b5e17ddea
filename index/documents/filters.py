"""Conditions on documents' metadata: what a filtered search asks for, and how SQLite finds it.

In: a text such as "year>=2020". Out: a condition, and the SQL that selects the rows which meet it from the
table `attributes` of a segment's documents (see documents.py).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from index.errors import InputError
from index.values import Scalar

Operator = Literal["!=", ">=", "<=", "=", ">", "<"]
OPERATORS: tuple[Operator, ...] = get_args(Operator)

# The form of a metadata value that is compared.
Attribute = str | int | float

_CONDITION = re.compile(rf"\s*([^<>=!]*[^<>=!\s])\s*({'|'.join(OPERATORS)})(.*)", re.DOTALL)
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
_LARGEST = 1 << 63


@dataclass(frozen=True, slots=True)
class Condition:
    """A field of the metadata compared with a value.

    Texts compare with texts, by code point, so that dates like 2024-05-01 sort; numbers with numbers, and
    with texts that spell one. "=" holds for either. true and false are texts. A document without the field
    meets no condition but "!=".
    """

    name: str
    operator: Operator
    value: str

    def sql(self) -> tuple[str, list[Attribute]]:
        """A SELECT of the rows that meet the condition (for "!=", that do not), and its parameters."""
        if self.operator in ("=", "!="):
            values = list(forms(self.value))
            marks = ",".join("?" * len(values))
            return f"SELECT row FROM attributes WHERE name = ? AND value IN ({marks})", [self.name, *values]
        value = list(forms(self.value))[-1]
        kinds = "('text')" if isinstance(value, str) else "('integer', 'real')"
        compared = f"value {self.operator} ? AND typeof(value) IN {kinds}"
        return f"SELECT row FROM attributes WHERE name = ? AND {compared}", [self.name, value]


def parse_condition(text: str) -> Condition:
    """Read a condition. Raises InputError.

    >>> parse_condition("year >= 2020")
    Condition(name='year', operator='>=', value='2020')
    """
    match = _CONDITION.fullmatch(text)
    if match is None:
        raise InputError(f"{text!r} is no condition; write NAME=VALUE, or with {', '.join(OPERATORS)}")
    name, sign, value = match.groups()
    operator = next(known for known in OPERATORS if known == sign)
    return Condition(name, operator, value.strip())


def attributes(metadata: Mapping[str, Scalar]) -> Iterator[tuple[str, Attribute]]:
    """The pairs of name and value by which a document is found; a null is as no value at all."""
    for name, value in metadata.items():
        if isinstance(value, bool):
            yield name, "true" if value else "false"
        elif isinstance(value, str):
            for form in forms(value):
                yield name, form
        elif value is not None:
            yield name, float(value) if abs(value) >= _LARGEST else value


def forms(value: str) -> Iterator[Attribute]:
    """A text, then the number it spells, if it does."""
    yield value
    if _NUMBER.fullmatch(value):
        number = float(value)
        if math.isfinite(number):
            yield int(number) if number.is_integer() and abs(number) < _LARGEST else number
