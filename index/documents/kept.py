"""Documents kept in memory for the next searches.

In: documents by row. Out: those that are still here. Knows nothing of files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Generic, TypeVar

from index.locks import ProcessLock

Item = TypeVar("Item")

# The most characters of all documents together, 1 to 4 bytes each, and how many each document counts besides
# its own.
_MOST_CHARACTERS = 1 << 22
_CHARACTERS_A_DOCUMENT = 400


class Kept(Generic[Item]):
    """Documents by row. When they grow too large, all are dropped. Safe for use by several threads."""

    def __init__(self) -> None:
        self._lock = ProcessLock()
        self._documents: dict[int, Item] = {}
        self._characters = 0

    def find(self, rows: Sequence[int]) -> dict[int, Item]:
        """Those of these rows that are kept, by row."""
        with self._lock:
            return {row: self._documents[row] for row in rows if row in self._documents}

    def keep(self, documents: Mapping[int, Item], characters: int) -> None:
        """Keep these documents, by row, unless they alone are too large. characters: of all of them."""
        size = characters + _CHARACTERS_A_DOCUMENT * len(documents)
        if size > _MOST_CHARACTERS:
            return
        with self._lock:
            if self._characters + size > _MOST_CHARACTERS:
                self._documents.clear()
                self._characters = 0
            self._documents.update(documents)
            self._characters += size
