"""One part of a batch through the peephole recurrence in compiled loops.

In and out as in `retrieval.towers.peephole.plain`, for float32. Importing this module needs
numba. Wide layers leave the matrix products to torch, step by step; in narrow ones a step is so short that
calling torch costs more than its better product saves, and one call runs all steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from torch import Tensor

from retrieval.towers.peephole import kernels
from retrieval.towers.peephole.plain import States, previous

# Measured, see benchmarks/NOTES.md.
_WIDEST_NARROW = 96


def _is_narrow(size: int) -> bool:
    return size <= _WIDEST_NARROW and size % 4 == 0


@torch.no_grad()  # a thread's own setting, which a new thread has not inherited
def forward(x: Tensor, recurrent: Tensor, peepholes: Tensor, counts: Sequence[int], states: States) -> None:
    """Fill `states` step by step from the gate inputs x (words, 4H) of one part."""
    gates, outputs, transposed = states.gates, states.outputs, recurrent.t()
    arrays = [tensor.numpy() for tensor in (gates, states.cells, states.squashed, outputs, peepholes)]
    if _is_narrow(len(transposed)):
        kernels.sweep(x.numpy(), transposed.contiguous().numpy(), *arrays, np.array(counts))
        return
    start, before = 0, -1
    for count in counts:
        stop = start + count
        if before < 0:
            gates[:stop] = x[:stop]
        else:
            torch.addmm(x[start:stop], outputs[before : before + count], transposed, out=gates[start:stop])
        kernels.advance(*arrays, start, stop, before)
        start, before = stop, start


@torch.no_grad()
def backward(
    grad_outputs: Tensor,
    recurrent: Tensor,
    peepholes: Tensor,
    counts: Sequence[int],
    states: States,
    grad_x: Tensor,
) -> tuple[Tensor, Tensor]:
    """Fill `grad_x` (words, 4H) of one part; its gradients of recurrent weights and peepholes."""
    starts = [0, *accumulate(counts)]
    grad_peepholes = torch.zeros_like(peepholes)
    dy = grad_outputs.new_empty(counts[0], recurrent.shape[1])
    dc = torch.zeros_like(dy)
    saved = (states.gates, states.cells, states.squashed, peepholes, grad_x, grad_peepholes)
    arrays = [tensor.numpy() for tensor in (dy, dc, *saved)]
    if _is_narrow(recurrent.shape[1]):
        kernels.sweep_back(*arrays, grad_outputs.contiguous().numpy(), recurrent.numpy(), np.array(counts))
    else:
        _step_back(grad_outputs, recurrent, starts, dy, grad_x, arrays)
    old_y = previous(states.outputs, starts, range(1, len(counts)))
    return grad_x[counts[0] :].t() @ old_y, grad_peepholes


def _step_back(
    grad_outputs: Tensor,
    recurrent: Tensor,
    starts: Sequence[int],
    dy: Tensor,
    grad_x: Tensor,
    arrays: Sequence[Any],
) -> None:
    later_dz = grad_x[:0]
    for step in reversed(range(len(starts) - 1)):
        start, stop, later = starts[step], starts[step + 1], len(later_dz)
        given = grad_outputs[start:stop]
        # Texts that end here have no later step to hear from.
        torch.addmm(given[:later], later_dz, recurrent, out=dy[:later])
        dy[later : stop - start] = given[later:]
        kernels.retreat(*arrays, start, stop, starts[step - 1] if step else -1)
        later_dz = grad_x[start:stop]
