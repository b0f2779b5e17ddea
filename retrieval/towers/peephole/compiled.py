"""The peephole recurrence over one part of a batch, forward and backward, in compiled loops.

In and out: as in `retrieval.towers.peephole.plain`, for float32 and layers of certain sizes. Importing this
module needs numba.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import numpy as np
import torch
from torch import Tensor

from retrieval.towers.peephole import kernels
from retrieval.towers.peephole.plain import States, previous_states
from retrieval.towers.peephole.product import COLUMNS, panels


def can_run(x: Tensor) -> bool:
    """Whether these steps are for gate inputs (rows, 4H): float32, and H fills the panels of the product."""
    return x.dtype == torch.float32 and x.shape[1] % (4 * COLUMNS) == 0


@torch.no_grad()  # set here because each thread has this setting for itself
def forward(
    x: Tensor, places: Tensor, recurrent: Tensor, peepholes: Tensor, counts: Sequence[int], states: States
) -> None:
    """Fill the states of one part from its gate inputs.

    x: float32 (rows, 4H), gate inputs W l(t) + b, in gate order i, f, g, o.
    places: int64 (words,), the row of x of each word.
    recurrent: float32 (4H, H), recurrent weights in the same gate order.
    peepholes: float32 (3, H), peephole weights of the gates i, f, o.
    counts: the number of texts at each step.
    states: filled; the gate g is stored as tanh.
    """
    _forward(x, places, recurrent, peepholes, counts, states, kept=True)


@torch.no_grad()
def outputs(
    x: Tensor, places: Tensor, recurrent: Tensor, peepholes: Tensor, counts: Sequence[int], y: Tensor
) -> None:
    """Fill the outputs y (words, H) of one part, and keep nothing else; parameters as for `forward`."""
    size = recurrent.shape[1]
    cells, squashed = (x.new_empty(2 * counts[0], size) for _ in range(2))
    scratch = States(x.new_empty(kernels.ROWS, 4 * size), cells, squashed, y)
    _forward(x, places, recurrent, peepholes, counts, scratch, kept=False)


def _forward(
    x: Tensor,
    places: Tensor,
    recurrent: Tensor,
    peepholes: Tensor,
    counts: Sequence[int],
    states: States,
    kept: bool,
) -> None:
    tensors = (states.gates, states.cells, states.squashed, states.outputs, peepholes)
    inputs = (x.numpy(), places.numpy(), panels(recurrent.t()).numpy())
    kernels.forward(*inputs, *(tensor.numpy() for tensor in tensors), np.array(counts), kept)


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
    """Compute the gradients of one part.

    grad_outputs: float32 (words, H), gradient of the outputs y(t).
    places: int64 (words,), the row of x of each word.
    recurrent: float32 (4H, H), recurrent weights.
    peepholes: float32 (3, H), peephole weights.
    counts: the number of texts at each step.
    states: as `forward` filled them.
    grad_gates: float32 (words, 4H), filled with the gradient of the gate inputs of each word.
    grad_x: float32 (rows, 4H), gradient of x, added to; with no rows it is left out.

    Returns the gradients of the recurrent weights and of the peepholes.
    """
    grad_peepholes = torch.zeros_like(peepholes)
    saved = (states.gates, states.cells, states.squashed, peepholes, grad_gates, grad_peepholes)
    tensors = (grad_outputs.contiguous(), panels(recurrent), *saved, grad_x, places)
    kernels.backward(*(tensor.numpy() for tensor in tensors), np.array(counts))
    starts = [0, *accumulate(counts)]
    old_y = previous_states(states.outputs, starts, range(1, len(counts)))
    return grad_gates[counts[0] :].t() @ old_y, grad_peepholes
