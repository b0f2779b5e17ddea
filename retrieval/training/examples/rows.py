"""The rows of many ids, without the ids.

In: ids in the order of their rows. Out: rows of ids. Knows nothing of what has these ids.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

# Enough bytes that no two ids share a digest.
_DIGEST_BYTES = 16


class RowsOfIds:
    """The row of each of many ids, counted from 0; 24 bytes an id."""

    def __init__(self, ids: Iterable[str]) -> None:
        digests = _digests(ids)
        order = np.argsort(digests, kind="stable")
        self._digests, self._rows = digests[order], order

    def of(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """The rows of some known ids, int64 (n,). An id that occurs several times has its last row."""
        places = np.searchsorted(self._digests, _digests(ids), side="right") - 1
        return self._rows[places]


def _digests(ids: Iterable[str]) -> NDArray[np.bytes_]:
    """One digest an id."""
    joined = bytearray()
    for each in ids:
        joined += hashlib.blake2b(each.encode(errors="surrogatepass"), digest_size=_DIGEST_BYTES).digest()
    return np.frombuffer(joined, f"S{_DIGEST_BYTES}")
