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

from retrieval.recurrence import kernels
from retrieval.recurrence.outputs import fill_outputs, is_narrow
from retrieval.recurrence.product import panels
from retrieval.towers.peephole.plain import States, previous_states


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
    if not is_narrow(recurrent.shape[1]):
        _step_forward(x, places, recurrent, peepholes, counts, states)
        return
    saved = _arrays(states.gates, states.cells, states.squashed, states.outputs, peepholes)
    kernels.forward(*_inputs(x, places, recurrent), *saved, np.array(counts), True)


@torch.no_grad()
def outputs(
    x: Tensor, places: Tensor | None, recurrent: Tensor, peepholes: Tensor, counts: Sequence[int], y: Tensor
) -> None:
    """Fill the outputs y (words, H) of one part, and keep nothing else; parameters as for `forward`."""
    if is_narrow(y.shape[1]):
        fill_outputs(*_inputs(x, places, recurrent), peepholes.numpy(), counts, y.numpy())
        return
    gates = x.new_empty(len(y), x.shape[1])
    cells, squashed = (torch.empty_like(y) for _ in range(2))
    _step_forward(x, places, recurrent, peepholes, counts, States(gates, cells, squashed, y))


def _inputs(x: Tensor, places: Tensor | None, recurrent: Tensor) -> tuple[Any, Any, Any]:
    """Gate inputs, the row of each word in them, and the panels of the weights, for `kernels.forward`."""
    where = torch.arange(len(x)) if places is None else places
    return x.numpy(), where.numpy(), panels(recurrent.t().numpy())


def _step_forward(
    x: Tensor,
    places: Tensor | None,
    recurrent: Tensor,
    peepholes: Tensor,
    counts: Sequence[int],
    states: States,
) -> None:
    """As `forward`, with one product of torch a step."""
    gates, transposed = states.gates, recurrent.t()
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
    if is_narrow(recurrent.shape[1]):
        saved = (states.gates, states.cells, states.squashed, peepholes, grad_gates, grad_peepholes)
        inputs = (grad_outputs.contiguous().numpy(), panels(recurrent.numpy()))
        kernels.backward(*inputs, *_arrays(*saved, grad_x, places), np.array(counts))
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
