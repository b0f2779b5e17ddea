"""The peephole recurrence in compiled loops: one pass over the cache instead of a dozen calls.

In and out: float32 numpy arrays of one part of a batch, gates in order i, f, g, o; see `retrieval.towers.peephole.layer`,
whose equations these loops spell out. Importing this module needs numba; `retrieval.towers.peephole.layer` does without it
where it is not installed. The loops hold no lock, so that parts run side by side, and are compiled once a
machine (numba keeps the result on disk).

Each loop reads and writes few arrays, for only then does the compiler see that they are apart and use vector
instructions.
"""

from __future__ import annotations

import numpy as np
from numba import njit

# Texts that advance together in `sweep`: a row of weights is used for all of them once it is loaded.
_ROWS = 16


@njit(inline="always", fastmath=True, error_model="numpy")
def _tanh(x):
    """The hyperbolic tangent by a rational function, 1 beyond +-7.9; within 3e-7 (checked in the tests)."""
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
def _advance(gates, old_cell, peepholes, cell, squashed, output):
    """One text, one step. In short loops over few arrays: those the compiler turns into vector instructions."""
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
def _retreat(d, carried, z, cell, squashed, old_cell, peepholes, dz, grad_peepholes):
    """One text, one step back: from dy and what the step after left in `carried`, dz and the new `carried`."""
    size = len(cell)
    one = np.float32(1)
    i, f, g, o = z[:size], z[size : 2 * size], z[2 * size : 3 * size], z[3 * size :]
    di, df, dg, do = dz[:size], dz[size : 2 * size], dz[2 * size : 3 * size], dz[3 * size :]
    for j in range(size):
        do[j] = d[j] * squashed[j] * o[j] * (one - o[j])
    for j in range(size):
        carried[j] += d[j] * o[j] * (one - squashed[j] * squashed[j]) + peepholes[2, j] * do[j]
    for j in range(size):
        di[j] = carried[j] * g[j] * i[j] * (one - i[j])
    for j in range(size):
        df[j] = carried[j] * old_cell[j] * f[j] * (one - f[j])
    for j in range(size):
        dg[j] = carried[j] * i[j] * (one - g[j] * g[j])
    for j in range(size):
        carried[j] = carried[j] * f[j] + peepholes[0, j] * di[j] + peepholes[1, j] * df[j]
    for j in range(size):
        grad_peepholes[0, j] += di[j] * old_cell[j]
    for j in range(size):
        grad_peepholes[1, j] += df[j] * old_cell[j]
    for j in range(size):
        grad_peepholes[2, j] += do[j] * cell[j]


@njit(inline="always", fastmath=True, error_model="numpy")
def _add_product(z, y, weights):
    """Add y (rows, m) @ weights (m, n) to z (rows, n); m a multiple of four.

    Four rows of weights at a time, so that z is loaded and stored once for four products. Several rows of z at
    a time would save loads too, but then the compiler no longer sees that they are apart.
    """
    for k in range(0, y.shape[1], 4):
        w0, w1, w2, w3 = weights[k], weights[k + 1], weights[k + 2], weights[k + 3]
        for row in range(len(z)):
            y0, y1, y2, y3 = y[row, k], y[row, k + 1], y[row, k + 2], y[row, k + 3]
            out = z[row]
            for j in range(len(out)):
                out[j] += y0 * w0[j] + y1 * w1[j] + y2 * w2[j] + y3 * w3[j]


@njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
def advance(gates, cells, squashed, outputs, peepholes, start, stop, before):
    """Turn the gate inputs of the packed rows start..stop, which stand in `gates`, into gates, c, tanh(c), y.

    before: where the rows of the step before begin, or -1 at the first step.
    """
    nothing = np.zeros(cells.shape[1], np.float32)
    for row in range(start, stop):
        old_cell = nothing if before < 0 else cells[before + row - start]
        _advance(gates[row], old_cell, peepholes, cells[row], squashed[row], outputs[row])


@njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
def retreat(dy, dc, gates, cells, squashed, peepholes, grad_x, grad_peepholes, start, stop, before):
    """From dy (rows, H), and dc (rows, H) as the step after left it, fill rows start..stop of grad_x and leave
    dc for the step before; grad_peepholes (3, H) is added to. before as in `advance`.
    """
    nothing = np.zeros(cells.shape[1], np.float32)
    for row in range(start, stop):
        old_cell = nothing if before < 0 else cells[before + row - start]
        place = row - start
        _retreat(
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
def sweep(x, transposed, gates, cells, squashed, outputs, peepholes, counts):
    """All steps forward from the gate inputs x (words, 4H), matrix products included; transposed (H, 4H)."""
    nothing = np.zeros(cells.shape[1], np.float32)
    start, before = 0, 0
    for step in range(len(counts)):
        count = counts[step]
        for first in range(0, count, _ROWS):
            stop = min(first + _ROWS, count)
            gates[start + first : start + stop] = x[start + first : start + stop]
            if step:
                _add_product(
                    gates[start + first : start + stop], outputs[before + first : before + stop], transposed
                )
            for place in range(first, stop):
                row = start + place
                old_cell = cells[before + place] if step else nothing
                _advance(gates[row], old_cell, peepholes, cells[row], squashed[row], outputs[row])
        before = start
        start += count


@njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
def sweep_back(
    dy, dc, gates, cells, squashed, peepholes, grad_x, grad_peepholes, grad_outputs, recurrent, counts
):
    """All steps back, matrix products included; dy and dc (texts, H), dc zero; recurrent (4H, H)."""
    nothing = np.zeros(cells.shape[1], np.float32)
    start = len(grad_x)
    after, later = start, 0
    for step in range(len(counts) - 1, -1, -1):
        count = counts[step]
        start -= count
        before = start - counts[step - 1] if step else 0
        for first in range(0, count, _ROWS):
            stop = min(first + _ROWS, count)
            dy[first:stop] = grad_outputs[start + first : start + stop]
            heard = min(stop, later)
            if heard > first:
                _add_product(dy[first:heard], grad_x[after + first : after + heard], recurrent)
            for place in range(first, stop):
                row = start + place
                old_cell = cells[before + place] if step else nothing
                _retreat(
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
        after, later = start, count
