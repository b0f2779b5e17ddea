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

import numpy as np
from numba import njit

# Texts that `forward_all` and `backward_all` handle together, so that each row of weights is loaded once for
# all of them.
_ROWS = 16


@njit(inline="always", fastmath=True, error_model="numpy")
def _tanh(x):
    """The hyperbolic tangent by a rational function, with an absolute error below 3e-7.

    Constants: Eigen, `generic_fast_tanh_float` in Eigen/src/Core/MathFunctionsImpl.h, Copyright (C) 2014
    Pedro Gonnet and 2016 Gael Guennebaud, Mozilla Public License 2.0. The input is clamped to the value
    where the function reaches 1.
    """
    x = min(max(x, np.float32(-7.90531110763549805)), np.float32(7.90531110763549805))
    x2 = x * x
    p = np.float32(-2.76076847742355e-16)
    p = p * x2 + np.float32(2.00018790482477e-13)
    p = p * x2 + np.float32(-8.60467152213735e-11)
    p = p * x2 + np.float32(5.12229709037114e-08)
    p = p * x2 + np.float32(1.48572235717979e-05)
    p = p * x2 + np.float32(6.37261928875436e-04)
    p = p * x2 + np.float32(4.89352455891786e-03)
    q = np.float32(1.19825839466702e-06)
    q = q * x2 + np.float32(1.18534705686654e-04)
    q = q * x2 + np.float32(2.26843463243900e-03)
    q = q * x2 + np.float32(4.89352518554385e-03)
    return x * p / q


@njit(inline="always", fastmath=True, error_model="numpy")
def _sigm(x):
    half = np.float32(0.5)
    return _tanh(half * x) * half + half


@njit(inline="always", fastmath=True, error_model="numpy")
def _cell_forward(gates, old_cell, peepholes, cell, squashed, output):
    """One text, one step forward: gate inputs, in `gates`, into gates, c(t), tanh(c(t)) and y(t)."""
    size = len(cell)
    i, f, g, o = gates[:size], gates[size : 2 * size], gates[2 * size : 3 * size], gates[3 * size :]
    for j in range(size):
        i[j] = _sigm(i[j] + peepholes[0, j] * old_cell[j])
    for j in range(size):
        f[j] = _sigm(f[j] + peepholes[1, j] * old_cell[j])
    for j in range(size):
        g[j] = _tanh(g[j])
    for j in range(size):
        cell[j] = f[j] * old_cell[j] + i[j] * g[j]
    for j in range(size):
        o[j] = _sigm(o[j] + peepholes[2, j] * cell[j])
    for j in range(size):
        squashed[j] = _tanh(cell[j])
    for j in range(size):
        output[j] = o[j] * squashed[j]


@njit(inline="always", fastmath=True, error_model="numpy")
def _cell_backward(dy, dc, z, cell, squashed, old_cell, peepholes, dz, grad_peepholes):
    """One text, one step backward.

    dc comes in as the error carried from step t + 1, and goes out as the error carried to step t - 1.
    """
    size = len(cell)
    one = np.float32(1)
    i, f, g, o = z[:size], z[size : 2 * size], z[2 * size : 3 * size], z[3 * size :]
    di, df, dg, do = dz[:size], dz[size : 2 * size], dz[2 * size : 3 * size], dz[3 * size :]
    for j in range(size):
        do[j] = dy[j] * squashed[j] * o[j] * (one - o[j])
    for j in range(size):
        dc[j] += dy[j] * o[j] * (one - squashed[j] * squashed[j]) + peepholes[2, j] * do[j]
    for j in range(size):
        di[j] = dc[j] * g[j] * i[j] * (one - i[j])
    for j in range(size):
        df[j] = dc[j] * old_cell[j] * f[j] * (one - f[j])
    for j in range(size):
        dg[j] = dc[j] * i[j] * (one - g[j] * g[j])
    for j in range(size):
        dc[j] = dc[j] * f[j] + peepholes[0, j] * di[j] + peepholes[1, j] * df[j]
    for j in range(size):
        grad_peepholes[0, j] += di[j] * old_cell[j]
    for j in range(size):
        grad_peepholes[1, j] += df[j] * old_cell[j]
    for j in range(size):
        grad_peepholes[2, j] += do[j] * cell[j]


@njit(inline="always", fastmath=True, error_model="numpy")
def _add_product(z, y, weights):
    """Add a matrix product to z.

    Takes four rows of weights at a time, so that z is loaded and stored once for four products. Several rows
    of z at a time would save loads too, but then the compiler no longer sees that they do not overlap.

    z: (rows, n), added to.
    y: (rows, m), m a multiple of four.
    weights: (m, n).
    """
    for k in range(0, y.shape[1], 4):
        w0, w1, w2, w3 = weights[k], weights[k + 1], weights[k + 2], weights[k + 3]
        for row in range(len(z)):
            y0, y1, y2, y3 = y[row, k], y[row, k + 1], y[row, k + 2], y[row, k + 3]
            out = z[row]
            for j in range(len(out)):
                out[j] += y0 * w0[j] + y1 * w1[j] + y2 * w2[j] + y3 * w3[j]


@njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
def forward_step(gates, cells, squashed, outputs, peepholes, start, stop, old_start):
    """One step forward for the packed rows from start to stop.

    gates: holds the gate inputs of these rows, recurrent part included.
    old_start: the first row of the step before, or -1 at the first step.
    """
    zeros = np.zeros(cells.shape[1], np.float32)
    for row in range(start, stop):
        old_cell = zeros if old_start < 0 else cells[old_start + row - start]
        _cell_forward(gates[row], old_cell, peepholes, cells[row], squashed[row], outputs[row])


@njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
def backward_step(dy, dc, gates, cells, squashed, peepholes, grad_x, grad_peepholes, start, stop, old_start):
    """One step backward for the packed rows from start to stop.

    dy: (texts, H), gradient of y(t).
    dc: (texts, H), error carried from step t + 1; replaced by the error carried to step t - 1.
    old_start: the first row of the step before, or -1 at the first step.
    """
    zeros = np.zeros(cells.shape[1], np.float32)
    for row in range(start, stop):
        old_cell = zeros if old_start < 0 else cells[old_start + row - start]
        place = row - start
        _cell_backward(
            dy[place],
            dc[place],
            gates[row],
            cells[row],
            squashed[row],
            old_cell,
            peepholes,
            grad_x[row],
            grad_peepholes,
        )


@njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
def forward_all(x, transposed, gates, cells, squashed, outputs, peepholes, counts):
    """All steps forward, matrix products included.

    x: (words, 4H), gate inputs W l(t) + b.
    transposed: (H, 4H), recurrent weights, transposed.
    """
    zeros = np.zeros(cells.shape[1], np.float32)
    start, old_start = 0, 0
    for step in range(len(counts)):
        count = counts[step]
        for first in range(0, count, _ROWS):
            stop = min(first + _ROWS, count)
            gates[start + first : start + stop] = x[start + first : start + stop]
            if step:
                _add_product(
                    gates[start + first : start + stop],
                    outputs[old_start + first : old_start + stop],
                    transposed,
                )
            for place in range(first, stop):
                row = start + place
                old_cell = cells[old_start + place] if step else zeros
                _cell_forward(gates[row], old_cell, peepholes, cells[row], squashed[row], outputs[row])
        old_start = start
        start += count


@njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
def backward_all(
    dy, dc, gates, cells, squashed, peepholes, grad_x, grad_peepholes, grad_outputs, recurrent, counts
):
    """All steps backward, matrix products included.

    dy: (texts, H), scratch space.
    dc: (texts, H), zeros; scratch space.
    grad_outputs: (words, H), gradient of the outputs from the loss.
    recurrent: (4H, H), recurrent weights.
    """
    zeros = np.zeros(cells.shape[1], np.float32)
    start = len(grad_x)
    later_start, later_count = start, 0
    for step in range(len(counts) - 1, -1, -1):
        count = counts[step]
        start -= count
        old_start = start - counts[step - 1] if step else 0
        for first in range(0, count, _ROWS):
            stop = min(first + _ROWS, count)
            dy[first:stop] = grad_outputs[start + first : start + stop]
            continued = min(stop, later_count)
            if continued > first:
                _add_product(
                    dy[first:continued], grad_x[later_start + first : later_start + continued], recurrent
                )
            for place in range(first, stop):
                row = start + place
                old_cell = cells[old_start + place] if step else zeros
                _cell_backward(
                    dy[place],
                    dc[place],
                    gates[row],
                    cells[row],
                    squashed[row],
                    old_cell,
                    peepholes,
                    grad_x[row],
                    grad_peepholes,
                )
        later_start, later_count = start, count
