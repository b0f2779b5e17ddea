"""The peephole recurrence in compiled loops: one pass over the data instead of a dozen torch calls.

In and out: float32 numpy arrays of one part of a batch, gates in order i, f, g, o. The equations and the
packed order are those of `retrieval.towers.peephole.layer`. Knows nothing of torch.

Importing this module needs numba. The loops release the interpreter lock, so that parts run in parallel.
numba compiles them once and keeps the result on disk.

Each loop reads and writes few arrays. Only then does the compiler see that the arrays do not overlap, and
uses vector instructions.

Arrays that several functions share, where a row is a word in packed order:
gates: (words, 4H), gate inputs that become gates.
cells: (words, H), c(t).
squashed: (words, H), tanh(c(t)).
outputs: (words, H), y(t).
peepholes: (3, H), peephole weights of the gates i, f, o.
grad_x: (words, 4H), gradient of the gate inputs, which is filled.
grad_peepholes: (3, H), gradient of the peepholes, which is added to.
counts: int64 (steps,), the number of texts at each step.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from retrieval.towers.peephole.product import add_product
from retrieval.towers.peephole.vectors import LANES, Code, Vector, written

# Texts that `forward` and `backward` handle together, so that each row of weights is loaded once for
# all of them.
ROWS = 48


def _tanh(x: Vector) -> Vector:
    """The hyperbolic tangent by a rational function, with an absolute error below 3e-7.

    Constants: Eigen, `generic_fast_tanh_float` in Eigen/src/Core/MathFunctionsImpl.h, Copyright (C) 2014
    Pedro Gonnet and 2016 Gael Guennebaud, Mozilla Public License 2.0. The input is clamped to the value
    where the function reaches 1.
    """
    x = x.clamp(7.90531110763549805)
    x2 = x * x
    p = x2 * -2.76076847742355e-16 + 2.00018790482477e-13
    p = p * x2 + -8.60467152213735e-11
    p = p * x2 + 5.12229709037114e-08
    p = p * x2 + 1.48572235717979e-05
    p = p * x2 + 6.37261928875436e-04
    p = p * x2 + 4.89352455891786e-03
    q = x2 * 1.19825839466702e-06 + 1.18534705686654e-04
    q = q * x2 + 2.26843463243900e-03
    q = q * x2 + 4.89352518554385e-03
    return x * p / q


def _sigm(x: Vector) -> Vector:
    return _tanh(x * 0.5) * 0.5 + 0.5


def _cell_forward(
    code: Code, gates: Any, old_cell: Any, peepholes: Any, cell: Any, squashed: Any, output: Any, size: Any
) -> None:
    """One text, one step forward: gate inputs, in `gates`, into gates, c(t), tanh(c(t)) and y(t)."""

    def step(number: Any, sums: list[Vector]) -> list[Vector]:
        at = _Places(code, number, size)
        z_i, z_f, z_g, z_o = at.rows(gates, 4)
        p_i, p_f, p_o = at.rows(peepholes, 3)
        (old,) = at.rows(old_cell, 1)
        i = _sigm(z_i + p_i * old)
        f = _sigm(z_f + p_f * old)
        g = _tanh(z_g)
        c = f * old + i * g
        o = _sigm(z_o + p_o * c)
        t = _tanh(c)
        at.store(gates, i, f, g, o)
        at.store(cell, c)
        at.store(squashed, t)
        at.store(output, o * t)
        return sums

    code.loop(code.divided(size, LANES), step, [])


def _cell_backward(
    code: Code,
    dy: Any,
    dc: Any,
    gates: Any,
    cell: Any,
    squashed: Any,
    old_cell: Any,
    peepholes: Any,
    dz: Any,
    grad_peepholes: Any,
    size: Any,
) -> None:
    """One text, one step backward.

    dc comes in as the error carried from step t + 1, and goes out as the error carried to step t - 1.
    """

    def step(number: Any, sums: list[Vector]) -> list[Vector]:
        at = _Places(code, number, size)
        i, f, g, o = at.rows(gates, 4)
        p_i, p_f, p_o = at.rows(peepholes, 3)
        (c,), (old,), (t,), (e,), (d,) = (at.rows(row, 1) for row in (cell, old_cell, squashed, dc, dy))
        do = d * t * o * (1 - o)
        e = e + d * o * (1 - t * t) + p_o * do
        di = e * g * i * (1 - i)
        df = e * old * f * (1 - f)
        dg = e * i * (1 - g * g)
        at.store(dz, di, df, dg, do)
        at.store(dc, e * f + p_i * di + p_f * df)
        g_i, g_f, g_o = at.rows(grad_peepholes, 3)
        at.store(grad_peepholes, g_i + di * old, g_f + df * old, g_o + do * c)
        return sums

    code.loop(code.divided(size, LANES), step, [])


def _copy(code: Code, source: Any, target: Any, size: Any) -> None:
    def step(number: Any, sums: list[Vector]) -> list[Vector]:
        at = _Places(code, number, size)
        at.store(target, *at.rows(source, 1))
        return sums

    code.loop(code.divided(size, LANES), step, [])


def _add(code: Code, source: Any, target: Any, size: Any) -> None:
    def step(number: Any, sums: list[Vector]) -> list[Vector]:
        at = _Places(code, number, size)
        (value,), (total,) = at.rows(source, 1), at.rows(target, 1)
        at.store(target, total + value)
        return sums

    code.loop(code.divided(size, LANES), step, [])


class _Places:
    """The same vector of many rows: the one with a number, in rows of `size` numbers."""

    def __init__(self, code: Code, number: Any, size: Any) -> None:
        self.code, self.size, self.distance = code, size, code.times(number, 4 * LANES)

    def _places(self, address: Any, rows: int) -> list[Any]:
        row = self.code.times(self.size, 4)
        return [self.code.place(address, self.distance, self.code.times(row, n)) for n in range(rows)]

    def rows(self, address: Any, rows: int) -> list[Vector]:
        """The vectors of so many rows, which follow each other from an address on."""
        return [self.code.load(place) for place in self._places(address, rows)]

    def store(self, address: Any, *vectors: Vector) -> None:
        """Write the vectors of as many rows."""
        for place, vector in zip(self._places(address, len(vectors)), vectors, strict=True):
            self.code.store(vector, place)


_forward_cell = written(7, _cell_forward)
_backward_cell = written(10, _cell_backward)
_copy_row, _add_row = written(3, _copy), written(3, _add)


@njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
def forward(x, places, weights, gates, cells, squashed, outputs, peepholes, counts, kept):
    """All steps forward.

    x: (rows, 4H), gate inputs W l(t) + b.
    places: int64 (words,), the row of x of each word.
    weights: panels of the recurrent weights, transposed; see `product.panels`.
    kept: whether to fill gates, cells and squashed, as above; else they are scratch space, (ROWS, 4H) and
        twice (2 * texts, H), where one half holds the step before.
    """
    size = outputs.shape[1]
    narrow, wide = 4 * size, 16 * size  # bytes of a row
    zeros = np.zeros(size, np.float32)
    # Addresses: to make an array of each row takes a third of the time.
    x_at, gates_at, cells_at = x.ctypes.data, gates.ctypes.data, cells.ctypes.data
    squashed_at, outputs_at = squashed.ctypes.data, outputs.ctypes.data
    start, old_start = 0, 0
    for step in range(len(counts)):
        count = counts[step]
        cell_start = start if kept else step % 2 * counts[0]
        old_cells = old_start if kept else (step + 1) % 2 * counts[0]
        for first in range(0, count, ROWS):
            stop = min(first + ROWS, count)
            gate_start = start if kept else -first
            for place in range(first, stop):
                _copy_row(
                    (x_at + places[start + place] * wide, gates_at + (gate_start + place) * wide, 4 * size)
                )
            if step:
                add_product(
                    gates[gate_start + first : gate_start + stop],
                    outputs[old_start + first : old_start + stop],
                    weights,
                )
            for place in range(first, stop):
                row = cell_start + place
                at_row = (
                    gates_at + (gate_start + place) * wide,
                    cells_at + (old_cells + place) * narrow if step else zeros.ctypes.data,
                    peepholes.ctypes.data,
                    cells_at + row * narrow,
                    squashed_at + row * narrow,
                    outputs_at + (start + place) * narrow,
                    size,
                )
                _forward_cell(at_row)
        old_start = start
        start += count


@njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
def backward(
    grad_outputs,
    weights,
    gates,
    cells,
    squashed,
    peepholes,
    grad_gates,
    grad_peepholes,
    grad_x,
    places,
    counts,
):
    """All steps backward.

    grad_outputs: (words, H), gradient of the outputs from the loss.
    weights: panels of the recurrent weights; see `product.panels`.
    grad_gates: (words, 4H), gradient of the gate inputs of each word, which is filled.
    grad_x: (rows, 4H), gradient of x, which is added to; without rows it is left out.
    places: int64 (words,), the row of x of each word.
    """
    size = cells.shape[1]
    narrow, wide = 4 * size, 16 * size  # bytes of a row
    zeros = np.zeros(size, np.float32)
    dy = np.empty((counts[0], size), np.float32)
    dc = np.zeros((counts[0], size), np.float32)
    dy_at, dc_at, grad_at = dy.ctypes.data, dc.ctypes.data, grad_outputs.ctypes.data
    gates_at, cells_at, squashed_at = gates.ctypes.data, cells.ctypes.data, squashed.ctypes.data
    grad_gates_at, grad_x_at = grad_gates.ctypes.data, grad_x.ctypes.data
    start = len(grad_gates)
    later_start, later_count = start, 0
    for step in range(len(counts) - 1, -1, -1):
        count = counts[step]
        start -= count
        old_start = start - counts[step - 1] if step else 0
        for first in range(0, count, ROWS):
            stop = min(first + ROWS, count)
            for place in range(first, stop):
                _copy_row((grad_at + (start + place) * narrow, dy_at + place * narrow, size))
            continued = min(stop, later_count)
            if continued > first:
                add_product(
                    dy[first:continued], grad_gates[later_start + first : later_start + continued], weights
                )
            for place in range(first, stop):
                row = start + place
                at_row = (
                    dy_at + place * narrow,
                    dc_at + place * narrow,
                    gates_at + row * wide,
                    cells_at + row * narrow,
                    squashed_at + row * narrow,
                    cells_at + (old_start + place) * narrow if step else zeros.ctypes.data,
                    peepholes.ctypes.data,
                    grad_gates_at + row * wide,
                    grad_peepholes.ctypes.data,
                    size,
                )
                _backward_cell(at_row)
                if len(grad_x):
                    _add_row((grad_gates_at + row * wide, grad_x_at + places[row] * wide, 4 * size))
        later_start, later_count = start, count
