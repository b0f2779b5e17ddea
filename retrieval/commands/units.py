"""Amounts as people write them: 2GB, 1.5 ms."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from index.errors import InputError

_AMOUNT = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)")
_BYTES = {"": 1, "B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_BYTES |= {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
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
    sizes = {name.lower(): size for name, size in units.items()}
    if match and match[2].lower() not in sizes:
        problem = "has an unknown unit" if match[2] else "has no unit"
        known = ", ".join(filter(None, units))
        raise InputError(f"{text[:80]!r} {problem}; write {examples} (the units are {known})")
    amount = float(match[1]) * sizes[match[2].lower()] if match else 0
    if not 0 < amount < math.inf:
        raise InputError(f"{text[:80]!r} is no amount above zero; write {examples}")
    return amount
