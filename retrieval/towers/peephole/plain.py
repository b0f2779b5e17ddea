"""The peephole recurrence over one part of a batch, forward and backward, in plain torch.

In: gate inputs, weights and the number of texts at each step. Out: states and gradients. The equations and
the packed order are those of `retrieval.towers.peephole.layer`. Knows nothing of parts or threads;
`retrieval.towers.peephole.compiled` does the same faster, and needs numba.

Backward: the factors that do not depend on the incoming gradients are computed for a block of steps at once,
as many as fit the processor's cache. All products are element-wise:

    A   = tanh(c(t)) o (1 - o)
    K   = o (1 - tanh(c(t))^2) + p_o A
    B_i = g i (1 - i)
    B_f = c(t-1) f (1 - f)
    B_g = i (1 - g^2)
    L   = f + p_i B_i + p_f B_f

Each step then needs one matrix product, with the recurrent weights R, and four element-wise operations. dy is
the gradient of y(t), e the gradient of c that is carried from step to step, and dz = [di, df, dg, do] the
gradient of the gate inputs:

    dy(t) = grad_outputs(t) + R^T dz(t+1)
    do(t) = A dy(t)
    dc(t) = K dy(t) + e(t+1)
    di(t) = B_i dc(t)
    df(t) = B_f dc(t)
    dg(t) = B_g dc(t)
    e(t)  = L dc(t)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

# States in a block of the backward pass: enough that calls cost little, few enough that the factors stay in
# the processor's cache.
_BLOCK_ELEMENTS = 1 << 17


@dataclass(frozen=True)
class States:
    """What one part keeps of its forward pass, one row for each word in packed order."""

    gates: Tensor  # (words, 4H), i, f, g, o after their activation; here g is stored as s = (g + 1) / 2
    cells: Tensor  # (words, H), c(t)
    squashed: Tensor  # (words, H), tanh(c(t))
    outputs: Tensor  # (words, H), y(t)

    def part(self, rows: slice) -> States:
        """The states of the given rows."""
        return States(self.gates[rows], self.cells[rows], self.squashed[rows], self.outputs[rows])


@torch.no_grad()  # set here because each thread has this setting for itself
def forward(
    x: Tensor,
    places: Tensor | None,
    recurrent: Tensor,
    peepholes: Tensor,
    counts: Sequence[int],
    states: States,
) -> None:
    """Fill the states of one part from its gate inputs.

    tanh(a) is computed as 2 sigm(2a) - 1, because torch's tanh is nine times slower than its sigmoid.

    x: (rows, 4H), gate inputs W l(t) + b, in gate order i, f, g, o.
    places: int64 (words,), the row of x of each word; None if x has one row a word.
    recurrent: (4H, H), recurrent weights in the same gate order.
    peepholes: (3, H), peephole weights of the gates i, f, o.
    counts: the number of texts at each step.
    states: filled.
    """
    size = recurrent.shape[1]
    x, transposed = x if places is None else x[places], recurrent.t()
    minus_one = x.new_full((), -1)
    start, old_start = 0, 0
    for step, count in enumerate(counts):
        here = states.part(slice(start, start + count))
        z, c, squashed = here.gates, here.cells, here.squashed
        i, f, s, o = torch.split(z, size, 1)
        if step == 0:
            z.copy_(x[:count])
        else:
            previous = slice(old_start, old_start + count)
            old_c = states.cells[previous]
            torch.addmm(x[start : start + count], states.outputs[previous], transposed, out=z)
            z.view(count, 4, size)[:, :2].addcmul_(old_c[:, None], peepholes[:2])
        s.mul_(2)
        z[:, : 3 * size].sigmoid_()
        # c = f c(t-1) + i g with g = 2 s - 1.
        if step == 0:
            torch.neg(i, out=c)
        else:
            torch.mul(f, old_c, out=c).sub_(i)
        c.addcmul_(i, s, value=2)
        o.addcmul_(c, peepholes[2]).sigmoid_()
        torch.mul(c, 2, out=squashed).sigmoid_()
        torch.add(minus_one, squashed, alpha=2, out=squashed)
        torch.mul(o, squashed, out=here.outputs)
        start, old_start = start + count, start


@torch.no_grad()
def outputs(
    x: Tensor, places: Tensor | None, recurrent: Tensor, peepholes: Tensor, counts: Sequence[int], y: Tensor
) -> None:
    """Fill the outputs y (words, H) of one part; other parameters as for `forward`."""
    gates = x.new_empty(len(y), x.shape[1])
    states = States(gates, torch.empty_like(y), torch.empty_like(y), y)
    forward(x, places, recurrent, peepholes, counts, states)


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

    grad_outputs: (words, H), gradient of the outputs y(t).
    places: int64 (words,), the row of x of each word.
    recurrent: (4H, H), recurrent weights.
    peepholes: (3, H), peephole weights.
    counts: the number of texts at each step.
    states: as `forward` filled them.
    grad_gates: (words, 4H), filled with the gradient of the gate inputs of each word.
    grad_x: (rows, 4H), gradient of x, added to; with no rows it is left out.

    Returns the gradients of the recurrent weights and of the peepholes.
    """
    size = recurrent.shape[1]
    starts = [0, *accumulate(counts)]
    grad_peepholes = torch.zeros_like(peepholes)
    later_dz = grad_gates[:0]
    dc = grad_outputs.new_empty(counts[0], size)
    dy = grad_outputs.new_empty(counts[0], size)
    for block in _blocks(starts, size):
        first = starts[block.start]
        rows = slice(first, starts[block.stop])
        old_c = previous_states(states.cells, starts, block)
        factors = _factors(states.part(rows), old_c, peepholes)
        for step in reversed(block):
            start, stop, later = starts[step], starts[step + 1], len(later_dz)
            here = slice(start - first, stop - first)
            grad_y = grad_outputs[start:stop]
            dy_t, dc_t = dy[: stop - start], dc[: stop - start]
            # Texts that end at this step get no gradient from a later step.
            torch.addmm(grad_y[:later], later_dz, recurrent, out=dy_t[:later])
            dy_t[later:] = grad_y[later:]
            dc_t[later:] = 0
            dc_t.addcmul_(dy_t, factors.cell[here])
            dz = grad_gates[start:stop]
            torch.mul(dc_t[:, None], factors.inner[here], out=dz.view(stop - start, 4, size)[:, :3])
            torch.mul(dy_t, factors.output[here], out=dz[:, 3 * size :])
            dc_t.mul_(factors.carry[here])
            later_dz = dz
        block_dz = grad_gates[rows].view(len(old_c), 4, size)
        grad_peepholes[:2] += (block_dz[:, :2] * old_c[:, None]).sum(0)
        grad_peepholes[2] += (block_dz[:, 3] * states.cells[rows]).sum(0)
    if len(grad_x):
        grad_x.index_add_(0, places, grad_gates)
    old_y = previous_states(states.outputs, starts, range(1, len(counts)))
    return grad_gates[counts[0] :].t() @ old_y, grad_peepholes


@dataclass(frozen=True)
class _Factors:
    output: Tensor  # A, (rows, H)
    cell: Tensor  # K, (rows, H)
    inner: Tensor  # B_i, B_f, B_g, (rows, 3, H)
    carry: Tensor  # L, (rows, H)


def _factors(states: States, old_c: Tensor, peepholes: Tensor) -> _Factors:
    gates, squashed = states.gates, states.squashed
    rows, size = states.cells.shape
    each = gates.view(rows, 4, size)
    i, f, g, o = each[:, 0], each[:, 1], 2 * each[:, 2] - 1, each[:, 3]
    output = squashed * torch.addcmul(o, o, o, value=-1)
    cell = torch.addcmul(o, o * squashed, squashed, value=-1).addcmul_(peepholes[2], output)
    inner = torch.empty_like(each[:, :3], memory_format=torch.contiguous_format)
    torch.mul(g, torch.addcmul(i, i, i, value=-1), out=inner[:, 0])
    torch.mul(old_c, torch.addcmul(f, f, f, value=-1), out=inner[:, 1])
    torch.addcmul(i, i * g, g, value=-1, out=inner[:, 2])
    carry = torch.addcmul(f, inner[:, 0], peepholes[0]).addcmul_(inner[:, 1], peepholes[1])
    return _Factors(output, cell, inner, carry)


def _blocks(starts: Sequence[int], size: int) -> list[range]:
    """Blocks of consecutive steps, the last block first, of about `_BLOCK_ELEMENTS` states each."""
    blocks = []
    stop = len(starts) - 1
    while stop:
        start = stop - 1
        while start and (starts[stop] - starts[start - 1]) * size <= _BLOCK_ELEMENTS:
            start -= 1
        blocks.append(range(start, stop))
        stop = start
    return blocks


def previous_states(states: Tensor, starts: Sequence[int], steps: range) -> Tensor:
    """The states one step before each packed row of the given steps; zeros before the first step.

    states: (words, H), states in packed order.
    starts: the first row of each step, and the number of rows at the end.
    steps: the steps to look at.
    """
    parts = []
    for step in steps:
        count = starts[step + 1] - starts[step]
        if step == 0:
            parts.append(states.new_zeros(count, states.shape[1]))
        else:
            parts.append(states[starts[step - 1] : starts[step - 1] + count])
    return torch.cat(parts) if parts else states[:0]
