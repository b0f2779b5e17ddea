"""Score accumulators: arrays of zeros that searches reuse.

In: an array that a search has set back to zero. Out: an array of zeros for the next search. To make an array
as long as the corpus takes longer than a search for rare words. Knows nothing of terms.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Sums:
    """A pool of arrays of zeros, float32 (count,); safe for use by several threads.

    It makes only as many arrays as are in use at the same time.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._free: deque[NDArray[np.float32]] = deque()  # its pop and append are atomic

    def take(self) -> NDArray[np.float32]:
        """An array of zeros that no other search uses."""
        try:
            return self._free.pop()
        except IndexError:
            return np.zeros(self._count, np.float32)

    def give_back(self, sums: NDArray[np.float32]) -> None:
        """Return an array to the pool; it must be all zeros. An array that is not returned is freed."""
        self._free.append(sums)
