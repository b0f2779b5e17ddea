"""A matrix product for the compiled loops: z += y W, in tiles that stay in vector registers.

In and out: float32 numpy arrays. Knows nothing of gates. Importing this module needs numba.

A step of a narrow layer multiplies a few hundred rows by a small matrix. A library's product is called from
outside the loops, packs its operands at each call and writes z back to memory before the gates are computed.
This one is called from inside, on rows that the loop has in cache.

A tile is some rows of z and `COLUMNS` of its columns. It is loaded into registers; for each k, the numbers
W[k] of these columns are loaded once, and for each row y[row, k] times these is added; then it is stored.
The weights are copied into panels of `COLUMNS` columns beforehand, so that a tile reads them in one sweep.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from retrieval.recurrence.vectors import FLOAT_BYTES, LANES, REGISTERS, Code, Vector, intrinsic_of

COLUMNS = 2 * LANES  # of a panel and a tile
# Rows of a tile. Each has two sums; the registers that are left hold weights and factors.
_ROWS = 12 if REGISTERS == 32 else 6
_DEPTH = 256  # rows of weights that are multiplied at once: a panel of them fits the nearest cache


def panels(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Weights, float32 (m, n), as panels (ceil(n / COLUMNS), m, COLUMNS), each contiguous.

    If n is no multiple of COLUMNS, the last panel ends at the last column and is zero in the columns that
    the panel before it has as well. With n below COLUMNS, there are columns of zeros at the end.
    """
    m, n = weights.shape
    whole, rest = n - n % COLUMNS, n % COLUMNS
    parts = [weights[:, :whole].reshape(m, -1, COLUMNS)]
    if rest:
        last = np.zeros((m, 1, COLUMNS), np.float32)
        first = COLUMNS - rest if whole else 0
        last[:, 0, first : first + rest] = weights[:, whole:]
        parts.append(last)
    return np.ascontiguousarray(np.concatenate(parts, 1).transpose(1, 0, 2))


def _tile(rows: int) -> Any:
    """A function that adds the product of some rows of y and a panel to a tile of z.

    Its arguments: the address of the tile, bytes from one of its rows to the next; the same of the rows of
    y; the address of the panel; how many columns y has.
    """
    halves = (0, LANES * FLOAT_BYTES)  # where the two vectors of a row begin, in bytes

    def write(code: Code, z: Any, z_stride: Any, y: Any, y_stride: Any, panel: Any, depth: Any) -> None:
        tile = [code.sum(z, code.times(z_stride, row), half) for row in range(rows) for half in halves]
        starts = [code.sum(y, code.times(y_stride, row)) for row in range(rows)]

        def add(k: Any, sums: list[Vector]) -> list[Vector]:
            weights = [
                code.load(code.sum(panel, code.times(k, COLUMNS * FLOAT_BYTES), half)) for half in halves
            ]
            factors = [code.broadcast(code.sum(start, code.times(k, FLOAT_BYTES))) for start in starts]
            return [sums[n] + factors[n // 2] * weights[n % 2] for n in range(len(sums))]

        sums = code.loop(depth, add, [code.load(address) for address in tile])
        for total, address in zip(sums, tile, strict=True):
            code.store(total, address)

    return intrinsic_of(6, write)


_tall, _four, _two, _one = (_tile(rows) for rows in (_ROWS, 4, 2, 1))


@njit(nogil=True, cache=True)
def add_product(z, y, weights):
    """Add a matrix product to z.

    z: (rows, n), added to; neighbours in a row are neighbours in memory; n is at least COLUMNS.
    y: (rows, m), likewise.
    weights: panels (ceil(n / COLUMNS), m, COLUMNS) of W, see `panels`.
    """
    rows, depth = y.shape
    z_stride, y_stride = z.strides[0], y.strides[0]
    z_start, y_start, w_start = z.ctypes.data, y.ctypes.data, weights.ctypes.data
    last = z.shape[1] - COLUMNS
    for first in range(0, depth, _DEPTH):
        some = min(_DEPTH, depth - first)
        for panel in range(weights.shape[0]):
            w = w_start + FLOAT_BYTES * COLUMNS * (panel * depth + first)
            column = min(COLUMNS * panel, last)
            row = 0
            while row < rows:
                tile = (
                    z_start + row * z_stride + FLOAT_BYTES * column,
                    z_stride,
                    y_start + row * y_stride + FLOAT_BYTES * first,
                    y_stride,
                    w,
                    some,
                )
                if rows - row >= _ROWS:
                    _tall(tile)
                    row += _ROWS
                elif rows - row >= 4:
                    _four(tile)
                    row += 4
                elif rows - row >= 2:
                    _two(tile)
                    row += 2
                else:
                    _one(tile)
                    row += 1
