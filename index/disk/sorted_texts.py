"""Sorted texts in memory-mapped files, found by bisection; opening reads none of them.

In: a text. Out: its number. Knows nothing of what the texts are.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class SortedTexts:
    """Distinct texts in ascending order. The order by UTF-8 bytes and that by code points are the same.

    characters: uint8 (bytes,), the UTF-8 of all texts, one after the other.
    starts: int (texts + 1,), where each begins.
    Arrays that do not fit together give wrong answers, or raise IndexError or ValueError.
    """

    def __init__(self, characters: NDArray[np.uint8], starts: NDArray[np.integer[Any]]) -> None:
        self.characters = characters
        self.starts = starts

    def __len__(self) -> int:
        return len(self.starts) - 1

    def number(self, text: str) -> int | None:
        """The number of a text, from 0; None if it is not among them."""
        key = text.encode("utf-8", "surrogatepass")
        low, high = 0, len(self)
        while low < high:
            middle = (low + high) // 2
            candidate = self.characters[self.starts[middle] : self.starts[middle + 1]].tobytes()
            if candidate == key:
                return middle
            low, high = (middle + 1, high) if candidate < key else (low, middle)
        return None

    def first_from(self, text: str) -> str | None:
        """The first of the texts that is not smaller than another; None if all are."""
        key = text.encode("utf-8", "surrogatepass")
        low, high, found = 0, len(self), None
        while low < high:
            middle = (low + high) // 2
            candidate = self.characters[self.starts[middle] : self.starts[middle + 1]].tobytes()
            if candidate < key:
                low = middle + 1
            else:
                high, found = middle, candidate
        return None if found is None else found.decode("utf-8", "surrogatepass")

    def all(self) -> list[str]:
        """All texts in order."""
        return self.between(0, len(self))

    def between(self, first: int, stop: int) -> list[str]:
        """The texts number `first` to `stop - 1`, in order."""
        ends = self.starts[first : stop + 1]
        content, starts = self.characters[ends[0] : ends[-1]].tobytes(), (ends - ends[0]).tolist()
        return [content[start:end].decode("utf-8", "surrogatepass") for start, end in pairwise(starts)]

    def at(self, numbers: NDArray[np.int64]) -> list[str]:
        """The texts of some numbers."""
        bounds = zip(self.starts[numbers].tolist(), self.starts[numbers + 1].tolist(), strict=True)
        return [
            self.characters[start:stop].tobytes().decode("utf-8", "surrogatepass") for start, stop in bounds
        ]

    def beginning(self, prefix: str, within: range | None = None) -> range:
        """The numbers of the texts that begin with a prefix.

        prefix: at least one character.
        within: numbers to look among; None for all.
        """
        numbers = range(len(self)) if within is None else within
        first = numbers.start + self._smaller(prefix, numbers)
        rest = range(first, numbers.stop)
        return range(first, first + self._smaller(prefix[:-1] + chr(ord(prefix[-1]) + 1), rest))

    def ending(self, suffix: str, within: range | None = None) -> NDArray[np.int64]:
        """The numbers of the texts that end with a suffix, ascending. All that are looked among are read.

        within: as for `beginning`.
        """
        key = suffix.encode("utf-8", "surrogatepass")
        among = range(len(self)) if within is None else within
        lengths = np.diff(self.starts[among.start : among.stop + 1])
        numbers = among.start + np.flatnonzero(lengths >= len(key))
        stops = self.starts[numbers + 1]
        for back, byte in enumerate(reversed(key), 1):  # in UTF-8 no character ends as another does
            same = self.characters[stops - back] == byte
            numbers, stops = numbers[same], stops[same]
        return numbers

    def smaller(self, text: str) -> int:
        """How many of the texts are smaller than a text, which need not be one of them."""
        return self._smaller(text, range(len(self)))

    def _smaller(self, text: str, numbers: range) -> int:
        return bisect_left(numbers, text, key=lambda number: self.between(number, number + 1)[0])


def sorted_texts(texts: Iterable[str]) -> SortedTexts:
    """`SortedTexts` in memory, of distinct texts that are already in order."""
    encoded = [text.encode("utf-8", "surrogatepass") for text in texts]
    starts = np.zeros(len(encoded) + 1, np.int64)
    np.cumsum([len(one) for one in encoded], out=starts[1:])
    return SortedTexts(np.frombuffer(b"".join(encoded), np.uint8), starts)
