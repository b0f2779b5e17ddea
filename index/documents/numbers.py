"""Texts and numbers of metadata in the form in which they are stored and compared.

In: a text or a number. Out: the number that a text spells, and what SQLite stores of it. Knows nothing of
fields or conditions.

Whole numbers are compared exactly up to the largest float64 (309 digits), other numbers as float64.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterator

# A metadata value in the form in which it is compared.
Attribute = str | int | float

_NUMBER = r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?"
# SQLite stores whole numbers below this exactly, and larger ones as float64.
LARGEST = 1 << 63


def forms(value: str) -> Iterator[Attribute]:
    """A text, then the number that it spells, if any, in its stored form."""
    yield value
    number = number_of(value)
    if number is not None:
        yield number


def number_of(text: str) -> int | float | None:
    """The number that a text spells, in its stored form; None if there is none within float64."""
    if not re.fullmatch(_NUMBER, text):
        return None
    number = float(text)
    if not math.isfinite(number):
        return None
    # A large exponent would need more digits than there is memory, so only small numbers are made integers.
    if number.is_integer() and 0 < abs(number) <= LARGEST:
        from decimal import Decimal  # most searches have no filter, and must not wait for it

        exact = Decimal(text)
        if exact == int(exact):
            return stored(int(exact))
    return number or 0


def stored(number: int | float) -> int | float:
    """A number as SQLite keeps it: whole numbers of more than 63 bits become float64."""
    return float(number) if abs(number) >= LARGEST else number


def is_rounded(number: Attribute) -> bool:
    """Whether other numbers may be stored as the same value."""
    return isinstance(number, float) and abs(number) >= LARGEST


def exact(value: Attribute) -> Attribute:
    """A number, or the number that a text spells, without rounding. Other texts are returned unchanged.

    Whole numbers are returned as int.

    >>> exact("2020.0"), exact(2020.0), exact("18446744073709551617"), exact("en")
    (2020, 2020, 18446744073709551617, 'en')
    """
    number = number_of(value) if isinstance(value, str) else value
    if number is None:
        return value
    if is_rounded(number):
        from decimal import Decimal

        whole = Decimal(value)
        return int(whole) if whole == int(whole) else value
    return int(number) if float(number).is_integer() else number


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
