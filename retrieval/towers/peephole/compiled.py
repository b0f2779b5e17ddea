"""The peephole recurrence over one part of a batch, forward and backward, in compiled loops.

In and out: as in `retrieval.towers.peephole.plain`, for float32. Importing this module needs numba.

In a wide layer torch computes the matrix product of each step. In a narrow layer a step is so short that a
call of torch costs more than its faster product saves, so one compiled call runs all steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from torch import Tensor

from retrieval.towers.peephole import kernels
from retrieval.towers.peephole.plain import States, previous_states
from retrieval.towers.peephole.product import COLUMNS, panels

# Cells of the widest layer that counts as narrow; measured, see benchmarks/NOTES.md.
_WIDEST_NARROW = 96


def _is_narrow(size: int) -> bool:
    return bool(COLUMNS / 4 <= size <= _WIDEST_NARROW)


@torch.no_grad()  # set here because each thread has this setting for itself
def forward(
    x: Tensor,
    places: Tensor | None,
    recurrent: Tensor,
    peepholes: Tensor,
    counts: Sequence[int],
    states: States,
) -> None:
    """As `retrieval.towers.peephole.plain.forward`, for float32, but the gate g is stored as tanh."""
    _forward(x, places, recurrent, peepholes, counts, states, kept=True)


@torch.no_grad()
def outputs(
    x: Tensor, places: Tensor | None, recurrent: Tensor, peepholes: Tensor, counts: Sequence[int], y: Tensor
) -> None:
    """Fill the outputs y (words, H) of one part, and keep nothing else; parameters as for `forward`."""
    narrow = _is_narrow(y.shape[1])
    gates = x.new_empty(kernels.ROWS if narrow else len(y), x.shape[1])
    rows = 2 * counts[0] if narrow else len(y)
    cells, squashed = (x.new_empty(rows, y.shape[1]) for _ in range(2))
    states = States(gates, cells, squashed, y)
    _forward(x, places, recurrent, peepholes, counts, states, kept=not narrow)


def _forward(
    x: Tensor,
    places: Tensor | None,
    recurrent: Tensor,
    peepholes: Tensor,
    counts: Sequence[int],
    states: States,
    kept: bool,
) -> None:
    transposed = recurrent.t()
    if not _is_narrow(len(transposed)):
        _step_forward(x, places, transposed, peepholes, counts, states)
        return
    where = torch.arange(len(x)) if places is None else places
    inputs = _arrays(x, where, panels(transposed))
    saved = _arrays(states.gates, states.cells, states.squashed, states.outputs, peepholes)
    kernels.forward(*inputs, *saved, np.array(counts), kept)


def _step_forward(
    x: Tensor,
    places: Tensor | None,
    transposed: Tensor,
    peepholes: Tensor,
    counts: Sequence[int],
    states: States,
) -> None:
    """As `forward`, with one product of torch a step; transposed: (H, 4H), recurrent weights."""
    gates = states.gates
    arrays = _arrays(gates, states.cells, states.squashed, states.outputs, peepholes)
    start, old_start = 0, -1
    for count in counts:
        stop = start + count
        inputs = x[start:stop] if places is None else x[places[start:stop]]
        if old_start < 0:
            gates[:stop] = inputs
        else:
            old_y = states.outputs[old_start : old_start + count]
            torch.addmm(inputs, old_y, transposed, out=gates[start:stop])
        kernels.forward_step(*arrays, start, stop, old_start)
        start, old_start = stop, start


@torch.no_grad()
def backward(
    grad_outputs: Tensor,
    places: Tensor,
    recurrent: Tensor,
    peepholes: Tensor,
    counts: Sequence[int],
    states: States,
    grad_gates: Tensor,
    grad_x: Tensor,
) -> tuple[Tensor, Tensor]:
    """As `retrieval.towers.peephole.plain.backward`, for float32 and states of `forward` here."""
    grad_peepholes = torch.zeros_like(peepholes)
    starts = [0, *accumulate(counts)]
    if _is_narrow(recurrent.shape[1]):
        saved = (states.gates, states.cells, states.squashed, peepholes, grad_gates, grad_peepholes)
        tensors = (grad_outputs.contiguous(), panels(recurrent), *saved, grad_x, places)
        kernels.backward(*_arrays(*tensors), np.array(counts))
    else:
        _step_back(grad_outputs, recurrent, peepholes, starts, states, grad_gates, grad_peepholes)
        if len(grad_x):
            grad_x.index_add_(0, places, grad_gates)
    old_y = previous_states(states.outputs, starts, range(1, len(counts)))
    return grad_gates[counts[0] :].t() @ old_y, grad_peepholes


def _step_back(
    grad_outputs: Tensor,
    recurrent: Tensor,
    peepholes: Tensor,
    starts: Sequence[int],
    states: States,
    grad_gates: Tensor,
    grad_peepholes: Tensor,
) -> None:
    """Fill `grad_gates` and `grad_peepholes` with one product of torch a step; starts: first row of each."""
    dy = grad_outputs.new_empty(starts[1], recurrent.shape[1])
    dc = torch.zeros_like(dy)
    saved = (states.gates, states.cells, states.squashed, peepholes)
    arrays = _arrays(dy, dc, *saved, grad_gates, grad_peepholes)
    later_dz = grad_gates[:0]
    for step in reversed(range(len(starts) - 1)):
        start, stop, later = starts[step], starts[step + 1], len(later_dz)
        grad_y = grad_outputs[start:stop]
        # Texts that end at this step get no gradient from a later step.
        torch.addmm(grad_y[:later], later_dz, recurrent, out=dy[:later])
        dy[later : stop - start] = grad_y[later:]
        kernels.backward_step(*arrays, start, stop, starts[step - 1] if step else -1)
        later_dz = grad_gates[start:stop]


def _arrays(*tensors: Tensor) -> list[Any]:
    return [tensor.numpy() for tensor in tensors]
