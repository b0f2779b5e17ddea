"""Amounts as people write them: 2GB, 1.5 ms."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from index.errors import InputError

_AMOUNT = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)")
_BYTES = {"b": 1, "": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
_BYTES |= {"kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40}
_MILLISECONDS = {"us": 0.001, "ms": 1.0, "s": 1000.0}


def parse_bytes(text: str) -> int:
    """A number of bytes. Raises InputError.

    >>> parse_bytes("1.5 GB"), parse_bytes("2MiB")
    (1500000000, 2097152)
    """
    return int(_amount(text, _BYTES, "2GB or 500MB"))


def parse_milliseconds(text: str) -> float:
    """A time in milliseconds; the unit must be there. Raises InputError.

    >>> parse_milliseconds("2ms"), parse_milliseconds("0.5s")
    (2.0, 500.0)
    """
    return _amount(text, _MILLISECONDS, "2ms or 0.5s")


def _amount(text: str, units: Mapping[str, float], examples: str) -> float:
    match = _AMOUNT.fullmatch(text.strip())
    unit = units.get(match[2].lower(), 0) if match else 0
    amount = float(match[1]) * unit if match else 0
    if not 0 < amount < math.inf:
        raise InputError(f"{text[:80]!r} is no amount above zero; write {examples}")
    return amount
