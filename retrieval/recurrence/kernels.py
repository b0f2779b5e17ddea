"""The peephole recurrence in compiled loops: one pass over the data instead of a dozen torch calls.

In and out: float32 numpy arrays of one part of a batch, gates in order i, f, g, o. The equations and the
packed order are those of `retrieval.towers.peephole.layer`. Knows nothing of torch.

Importing this module needs numba. The loops release the interpreter lock, so that parts run in parallel.
They go from row to row by address: to make an array of each row takes a third of the time. What is done with
a row is written in vectors, see `retrieval.recurrence.vectors`.

numba compiles them once and keeps the result on disk until this file changes. Whoever changes `vectors` or
`product` alone deletes `__pycache__`.

Arrays that several functions share, where a row is a word in packed order:
gates: (words, 4H), gate inputs that become gates.
cells: (words, H), c(t).
squashed: (words, H), tanh(c(t)).
outputs: (words, H), y(t).
peepholes: (3, H), peephole weights of the gates i, f, o.
grad_gates: (words, 4H), gradient of the gate inputs, which is filled.
grad_peepholes: (3, H), gradient of the peepholes, which is added to.
counts: int64 (steps,), the number of texts at each step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

from retrieval.recurrence.product import COLUMNS, add_product
from retrieval.recurrence.vectors import FLOAT_BYTES, LANES, Code, Vector, intrinsic_of

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


class _Place:
    """The same vector of many rows: the one at an offset in bytes, in rows of `size` numbers."""

    def __init__(self, code: Code, offset: Any, size: Any) -> None:
        self.code, self.offset, self.row_bytes = code, offset, code.times(size, FLOAT_BYTES)

    def _addresses(self, start: Any, rows: int) -> list[Any]:
        code = self.code
        return [code.sum(start, self.offset, code.times(self.row_bytes, row)) for row in range(rows)]

    def load(self, start: Any, rows: int) -> list[Vector]:
        """The vectors of so many rows, which follow each other from an address on."""
        return [self.code.load(address) for address in self._addresses(start, rows)]

    def store(self, start: Any, *vectors: Vector) -> None:
        """Write the vectors of as many rows."""
        for vector, address in zip(vectors, self._addresses(start, len(vectors)), strict=True):
            self.code.store(vector, address)


def _each(code: Code, size: Any, step: Callable[[_Place], None]) -> None:
    """Write a step for all numbers of a row: `LANES` at a time, then those that are left one at a time."""
    vectors = code.divided(size, LANES)
    done = code.times(vectors, LANES)
    for some, first, count in (
        (code, code.number(0), vectors),
        (Code(code.builder, lanes=1), done, code.builder.sub(size, done)),
    ):

        def write(number: Any, sums: list[Vector], some: Code = some, first: Any = first) -> list[Vector]:
            column = some.sum(first, some.times(number, some.lanes))
            step(_Place(some, some.times(column, FLOAT_BYTES), size))
            return sums

        some.loop(count, write, [])


def _cell_forward(
    code: Code, gates: Any, old_cell: Any, peepholes: Any, cell: Any, squashed: Any, output: Any, size: Any
) -> None:
    """One text, one step forward: gate inputs, in `gates`, into gates, c(t), tanh(c(t)) and y(t)."""

    def step(at: _Place) -> None:
        z_i, z_f, z_g, z_o = at.load(gates, 4)
        p_i, p_f, p_o = at.load(peepholes, 3)
        (old,) = at.load(old_cell, 1)
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

    _each(code, size, step)


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

    def step(at: _Place) -> None:
        i, f, g, o = at.load(gates, 4)
        p_i, p_f, p_o = at.load(peepholes, 3)
        (c,), (old,), (t,), (e,), (d,) = (at.load(row, 1) for row in (cell, old_cell, squashed, dc, dy))
        do = d * t * o * (1 - o)
        e = e + d * o * (1 - t * t) + p_o * do
        di = e * g * i * (1 - i)
        df = e * old * f * (1 - f)
        dg = e * i * (1 - g * g)
        at.store(dz, di, df, dg, do)
        at.store(dc, e * f + p_i * di + p_f * df)
        g_i, g_f, g_o = at.load(grad_peepholes, 3)
        at.store(grad_peepholes, g_i + di * old, g_f + df * old, g_o + do * c)

    _each(code, size, step)


def _copy(code: Code, source: Any, target: Any, size: Any) -> None:
    _each(code, size, lambda at: at.store(target, *at.load(source, 1)))


def _add(code: Code, source: Any, target: Any, size: Any) -> None:
    _each(code, size, lambda at: at.store(target, at.load(target, 1)[0] + at.load(source, 1)[0]))


_forward_cell = intrinsic_of(7, _cell_forward)
_backward_cell = intrinsic_of(10, _cell_backward)
_copy_row, _add_row = intrinsic_of(3, _copy), intrinsic_of(3, _add)


@njit(nogil=True, cache=True, error_model="numpy")
def _forward_cells(gates, old_cells, peepholes, cells, squashed, outputs):
    """One step forward of several texts, whose gate inputs are complete.

    gates: (texts, 4H), rows of the array above, as are those of the other arrays.
    old_cells: (texts, H), c(t-1); without rows it is zero.
    """
    size = outputs.shape[1]
    narrow, wide = FLOAT_BYTES * size, FLOAT_BYTES * 4 * size  # bytes of a row
    zeros = np.zeros(size, np.float32)
    old, old_bytes = (old_cells.ctypes.data, narrow) if len(old_cells) else (zeros.ctypes.data, 0)
    for row in range(len(gates)):
        _forward_cell(
            (
                gates.ctypes.data + row * wide,
                old + row * old_bytes,
                peepholes.ctypes.data,
                cells.ctypes.data + row * narrow,
                squashed.ctypes.data + row * narrow,
                outputs.ctypes.data + row * narrow,
                size,
            )
        )


@njit(nogil=True, cache=True, error_model="numpy")
def _backward_cells(dy, dc, gates, cells, squashed, old_cells, peepholes, grad_gates, grad_peepholes):
    """One step backward of several texts.

    dy: (texts, at least H), gradient of y(t).
    dc: (texts, H), error carried from step t + 1; replaced by the error carried to step t - 1.
    gates: (texts, 4H), rows of the array above, as are those of the other arrays.
    old_cells: (texts, H), c(t-1); without rows it is zero.
    """
    size = cells.shape[1]
    narrow, wide = FLOAT_BYTES * size, FLOAT_BYTES * 4 * size  # bytes of a row
    zeros = np.zeros(size, np.float32)
    old, old_bytes = (old_cells.ctypes.data, narrow) if len(old_cells) else (zeros.ctypes.data, 0)
    for row in range(len(gates)):
        _backward_cell(
            (
                dy.ctypes.data + row * dy.strides[0],
                dc.ctypes.data + row * narrow,
                gates.ctypes.data + row * wide,
                cells.ctypes.data + row * narrow,
                squashed.ctypes.data + row * narrow,
                old + row * old_bytes,
                peepholes.ctypes.data,
                grad_gates.ctypes.data + row * wide,
                grad_peepholes.ctypes.data,
                size,
            )
        )


@njit(nogil=True, cache=True, error_model="numpy")
def forward_step(gates, cells, squashed, outputs, peepholes, start, stop, old_start):
    """One step forward for the packed rows from start to stop.

    gates: holds the gate inputs of these rows, recurrent part included.
    old_start: the first row of the step before, or -1 at the first step.
    """
    old_cells = cells[:0] if old_start < 0 else cells[old_start : old_start + stop - start]
    here = slice(start, stop)
    _forward_cells(gates[here], old_cells, peepholes, cells[here], squashed[here], outputs[here])


@njit(nogil=True, cache=True, error_model="numpy")
def backward_step(
    dy, dc, gates, cells, squashed, peepholes, grad_gates, grad_peepholes, start, stop, old_start
):
    """One step backward for the packed rows from start to stop.

    dy: (texts, H), gradient of y(t).
    dc: (texts, H), error carried from step t + 1; replaced by the error carried to step t - 1.
    old_start: the first row of the step before, or -1 at the first step.
    """
    old_cells = cells[:0] if old_start < 0 else cells[old_start : old_start + stop - start]
    here = slice(start, stop)
    saved = (gates[here], cells[here], squashed[here], old_cells)
    _backward_cells(dy, dc, *saved, peepholes, grad_gates[here], grad_peepholes)


@njit(nogil=True, cache=True, error_model="numpy")
def forward(x, places, weights, gates, cells, squashed, outputs, peepholes, counts, kept):
    """All steps forward.

    x: (rows, at least 4H), gate inputs W l(t) + b in the first 4H columns; 4H is at least COLUMNS.
    places: int64 (words,), the row of x of each word.
    weights: panels of the recurrent weights, transposed; see `product.panels`.
    kept: whether to fill gates, cells and squashed, as above; else they are scratch space, (ROWS, 4H) and
        twice (2 * texts, H), where one half holds the step before.
    """
    row_bytes = FLOAT_BYTES * x.shape[1]
    start, old_start = 0, 0
    for step in range(len(counts)):
        count = counts[step]
        cell_start = start if kept else step % 2 * counts[0]
        old_cells = old_start if kept else (step + 1) % 2 * counts[0]
        for first in range(0, count, ROWS):
            stop = min(first + ROWS, count)
            z = gates[start + first : start + stop] if kept else gates[: stop - first]
            for row in range(stop - first):
                place = places[start + first + row]
                source, target = x.ctypes.data + place * row_bytes, z.ctypes.data + row * z.strides[0]
                _copy_row((source, target, z.shape[1]))
            if step:
                add_product(z, outputs[old_start + first : old_start + stop], weights)
            _forward_cells(
                z,
                cells[old_cells + first : old_cells + (stop if step else first)],
                peepholes,
                cells[cell_start + first : cell_start + stop],
                squashed[cell_start + first : cell_start + stop],
                outputs[start + first : start + stop],
            )
        old_start = start
        start += count


@njit(nogil=True, cache=True, error_model="numpy")
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
    grad_x: (rows, 4H), gradient of x, which is added to; without rows it is left out.
    places: int64 (words,), the row of x of each word.
    """
    size = cells.shape[1]
    narrow, wide = FLOAT_BYTES * size, FLOAT_BYTES * 4 * size  # bytes of a row
    dy = np.zeros((counts[0], max(size, COLUMNS)), np.float32)
    dc = np.zeros((counts[0], size), np.float32)
    start = len(grad_gates)
    later_start, later_count = start, 0
    for step in range(len(counts) - 1, -1, -1):
        count = counts[step]
        start -= count
        old_start = start - counts[step - 1] if step else 0
        for first in range(0, count, ROWS):
            stop = min(first + ROWS, count)
            for place in range(first, stop):
                target = dy.ctypes.data + place * dy.strides[0]
                _copy_row((grad_outputs.ctypes.data + (start + place) * narrow, target, size))
            continued = min(stop, later_count)
            if continued > first:
                add_product(
                    dy[first:continued], grad_gates[later_start + first : later_start + continued], weights
                )
            _backward_cells(
                dy[first:stop],
                dc[first:stop],
                gates[start + first : start + stop],
                cells[start + first : start + stop],
                squashed[start + first : start + stop],
                cells[old_start + first : old_start + (stop if step else first)],
                peepholes,
                grad_gates[start + first : start + stop],
                grad_peepholes,
            )
            if len(grad_x):
                for row in range(start + first, start + stop):
                    target = grad_x.ctypes.data + places[row] * wide
                    _add_row((grad_gates.ctypes.data + row * wide, target, 4 * size))
        later_start, later_count = start, count
