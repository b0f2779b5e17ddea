"""The outputs of a narrow peephole LSTM over packed texts, without keeping its states.

In and out: float32 numpy arrays, see `retrieval.recurrence.kernels`. Importing this module needs numba.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from retrieval.recurrence import kernels
from retrieval.recurrence.product import COLUMNS

# Cells of the widest layer that counts as narrow; measured, see benchmarks/NOTES.md.
_WIDEST_NARROW = 96


def is_narrow(size: int) -> bool:
    """Whether the loops multiply the outputs of a layer of so many cells faster than a library does."""
    return bool(COLUMNS / 4 <= size <= _WIDEST_NARROW)


def fill_outputs(
    x: NDArray[np.float32],
    places: NDArray[np.int64],
    weights: NDArray[np.float32],
    peepholes: NDArray[np.float32],
    counts: Sequence[int],
    y: NDArray[np.float32],
) -> None:
    """Fill y, float32 (words, H), with the outputs of packed texts.

    x, places, weights, peepholes, counts: as for `kernels.forward`; `is_narrow(H)`.
    """
    gates = np.empty((kernels.ROWS, 4 * y.shape[1]), np.float32)
    cells, squashed = np.empty((2, 2 * counts[0], y.shape[1]), np.float32)
    kernels.forward(x, places, weights, gates, cells, squashed, y, peepholes, np.array(counts), False)
