"""Arrays of zeros to add scores up in, used again by one search after another.

An array as long as the corpus takes longer to make than a search of rare words takes.
"""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray


class Sums:
    """Arrays of zeros, float32 (count,); safe for use by several threads.

    As many are made as are in use at once, and no more.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._free: deque[NDArray[np.float32]] = deque()  # whose pop and append are atomic

    def take(self) -> NDArray[np.float32]:
        """An array of zeros that nobody else has."""
        try:
            return self._free.pop()
        except IndexError:
            return np.zeros(self._count, np.float32)

    def give_back(self, sums: NDArray[np.float32]) -> None:
        """Leave an array, all zero again, to the next. One that is never given back is forgotten."""
        self._free.append(sums)
