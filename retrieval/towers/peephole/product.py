"""A matrix product for the compiled loops: z += y W, in tiles that stay in vector registers.

In and out: float32 numpy arrays. Knows nothing of gates. Importing this module needs numba.

A step of a narrow layer multiplies a few hundred rows by a small matrix. A library's product is called from
outside the loops, packs its operands at each call and writes z back to memory before the gates are computed.
This one is called from inside, on rows that the loop has in cache. Vector instructions are written as
vectors of LLVM's intermediate language, which a compiler of loops does not find by itself.
"""

from __future__ import annotations

from typing import Any

from numba import njit
from torch import Tensor

from retrieval.towers.peephole.vectors import LANES, REGISTERS, Code, Vector, written

COLUMNS = 2 * LANES  # of a panel and a tile
# Rows of a tile: two sums each, with registers left for the panel.
_ROWS = 12 if REGISTERS == 32 else 6
_DEPTH = 256  # rows of weights that are multiplied at once: a panel of them fits the nearest cache


def panels(weights: Tensor) -> Tensor:
    """Weights (m, n) as panels (n / COLUMNS, m, COLUMNS), each contiguous; n is a multiple of COLUMNS."""
    return weights.reshape(len(weights), -1, COLUMNS).transpose(0, 1).contiguous()


def _tile(rows: int) -> Any:
    """A function that adds the product of some rows of y and a panel to a tile of z.

    Its arguments: the address of the tile, bytes from one of its rows to the next; the same of the rows of
    y; the address of the panel; how many columns y has.
    """

    def write(code: Code, z: Any, z_stride: Any, y: Any, y_stride: Any, panel: Any, depth: Any) -> None:
        tile = [
            code.place(z, code.times(z_stride, row), part * 4 * LANES)
            for row in range(rows)
            for part in (0, 1)
        ]
        starts = [code.place(y, code.times(y_stride, row)) for row in range(rows)]

        def add(k: Any, sums: list[Vector]) -> list[Vector]:
            weights = [
                code.load(code.place(panel, code.times(k, 4 * COLUMNS), part * 4 * LANES)) for part in (0, 1)
            ]
            factors = [code.spread(code.place(start, code.times(k, 4))) for start in starts]
            return [sums[n] + factors[n // 2] * weights[n % 2] for n in range(len(sums))]

        for place, total in zip(
            tile, code.loop(depth, add, [code.load(place) for place in tile]), strict=True
        ):
            code.store(total, place)

    return written(6, write)


_tall, _four, _two, _one = (_tile(rows) for rows in (_ROWS, 4, 2, 1))


@njit(nogil=True, cache=True)
def add_product(z, y, weights):
    """Add a matrix product to z.

    z: (rows, n), added to; neighbours in a row are neighbours in memory.
    y: (rows, m), likewise.
    weights: panels (n / COLUMNS, m, COLUMNS) of W.
    """
    rows, depth = y.shape
    z_stride, y_stride = z.strides[0], y.strides[0]
    z_start, y_start, w_start = z.ctypes.data, y.ctypes.data, weights.ctypes.data
    for first in range(0, depth, _DEPTH):
        some = min(_DEPTH, depth - first)
        for panel in range(weights.shape[0]):
            w = w_start + 4 * COLUMNS * (panel * depth + first)
            row = 0
            while row < rows:
                z_place = z_start + row * z_stride + 4 * COLUMNS * panel
                y_place = y_start + row * y_stride + 4 * first
                if rows - row >= _ROWS:
                    _tall((z_place, z_stride, y_place, y_stride, w, some))
                    row += _ROWS
                elif rows - row >= 4:
                    _four((z_place, z_stride, y_place, y_stride, w, some))
                    row += 4
                elif rows - row >= 2:
                    _two((z_place, z_stride, y_place, y_stride, w, some))
                    row += 2
                else:
                    _one((z_place, z_stride, y_place, y_stride, w, some))
                    row += 1
