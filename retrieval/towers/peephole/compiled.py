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

# Cells of the widest layer that counts as narrow; measured, see benchmarks/NOTES.md.
_WIDEST_NARROW = 96


def _is_narrow(size: int) -> bool:
    return size <= _WIDEST_NARROW and size % 4 == 0


@torch.no_grad()  # set here because each thread has this setting for itself
def forward(x: Tensor, recurrent: Tensor, peepholes: Tensor, counts: Sequence[int], states: States) -> None:
    """Fill the states of one part from its gate inputs.

    x: float32 (words, 4H), gate inputs W l(t) + b, in gate order i, f, g, o.
    recurrent: float32 (4H, H), recurrent weights in the same gate order.
    peepholes: float32 (3, H), peephole weights of the gates i, f, o.
    counts: the number of texts at each step.
    states: filled; the gate g is stored as tanh.
    """
    gates, outputs, transposed = states.gates, states.outputs, recurrent.t()
    arrays = [tensor.numpy() for tensor in (gates, states.cells, states.squashed, outputs, peepholes)]
    if _is_narrow(len(transposed)):
        kernels.forward_all(x.numpy(), transposed.contiguous().numpy(), *arrays, np.array(counts))
        return
    start, old_start = 0, -1
    for count in counts:
        stop = start + count
        if old_start < 0:
            gates[:stop] = x[:stop]
        else:
            old_y = outputs[old_start : old_start + count]
            torch.addmm(x[start:stop], old_y, transposed, out=gates[start:stop])
        kernels.forward_step(*arrays, start, stop, old_start)
        start, old_start = stop, start


@torch.no_grad()
def backward(
    grad_outputs: Tensor,
    recurrent: Tensor,
    peepholes: Tensor,
    counts: Sequence[int],
    states: States,
    grad_x: Tensor,
) -> tuple[Tensor, Tensor]:
    """Compute the gradients of one part.

    grad_outputs: float32 (words, H), gradient of the outputs y(t).
    recurrent: float32 (4H, H), recurrent weights.
    peepholes: float32 (3, H), peephole weights.
    counts: the number of texts at each step.
    states: as `forward` filled them.
    grad_x: float32 (words, 4H), filled with the gradient of the gate inputs.

    Returns the gradients of the recurrent weights and of the peepholes.
    """
    starts = [0, *accumulate(counts)]
    grad_peepholes = torch.zeros_like(peepholes)
    dy = grad_outputs.new_empty(counts[0], recurrent.shape[1])
    dc = torch.zeros_like(dy)
    saved = (states.gates, states.cells, states.squashed, peepholes, grad_x, grad_peepholes)
    arrays = [tensor.numpy() for tensor in (dy, dc, *saved)]
    if _is_narrow(recurrent.shape[1]):
        kernels.backward_all(*arrays, grad_outputs.contiguous().numpy(), recurrent.numpy(), np.array(counts))
    else:
        _step_back(grad_outputs, recurrent, starts, dy, grad_x, arrays)
    old_y = previous_states(states.outputs, starts, range(1, len(counts)))
    return grad_x[counts[0] :].t() @ old_y, grad_peepholes


def _step_back(
    grad_outputs: Tensor,
    recurrent: Tensor,
    starts: Sequence[int],
    dy: Tensor,
    grad_x: Tensor,
    arrays: Sequence[Any],
) -> None:
    """Fill `grad_x` step by step; `arrays` are the first arguments of `kernels.backward_step`."""
    later_dz = grad_x[:0]
    for step in reversed(range(len(starts) - 1)):
        start, stop, later = starts[step], starts[step + 1], len(later_dz)
        grad_y = grad_outputs[start:stop]
        # Texts that end at this step get no gradient from a later step.
        torch.addmm(grad_y[:later], later_dz, recurrent, out=dy[:later])
        dy[later : stop - start] = grad_y[later:]
        kernels.backward_step(*arrays, start, stop, starts[step - 1] if step else -1)
        later_dz = grad_x[start:stop]
