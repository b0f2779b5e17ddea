"""One part of a batch through the peephole recurrence, forward and backward, in plain torch.

In: gate inputs, weights, how many texts each step has. Out: states, gradients. `retrieval.towers.peephole.layer` gives the
equations and the layout; `retrieval.towers.peephole.compiled` does the same faster where numba is installed.

Going back, everything that does not depend on the incoming gradients is folded into five factors for a block
of steps at a time, while they fit the cache:

    do = dy * A     with A = tanh(c) o (1 - o)             dc = dy * K + dc(t+1)    with K = o (1 - tanh(c)^2)
    + p_o A d[i, f, g] = dc * B  with B = [g i (1 - i), c(t-1) f (1 - f), i (1 - g^2)]      dc(t) = dc * L
    with L = f + p_i B_i + p_f B_f

which leaves one matrix product and four element-wise operations a step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

# Elements of a block in the backward sweep: large enough that calls cost little, small enough that a block's
# factors stay in cache.
_BLOCK_ELEMENTS = 1 << 17


@dataclass(frozen=True)
class States:
    """What one part keeps of its forward pass, each (words, width): gates, c, tanh(c), y.

    The gates are sigmoids, the place of g holding sigm(2 x), of which g is twice less one.
    """

    gates: Tensor
    cells: Tensor
    squashed: Tensor
    outputs: Tensor

    def part(self, rows: slice) -> States:
        """The states of some of the rows."""
        return States(self.gates[rows], self.cells[rows], self.squashed[rows], self.outputs[rows])


@torch.no_grad()  # a thread's own setting, which a new thread has not inherited
def forward(x: Tensor, recurrent: Tensor, peepholes: Tensor, counts: Sequence[int], states: States) -> None:
    """Fill `states` step by step from the gate inputs x (words, 4H) of one part.

    tanh(a) is taken as 2 sigm(2a) - 1: torch's tanh is nine times slower than its sigmoid.
    """
    size = recurrent.shape[1]
    transposed = recurrent.t()
    minus_one = x.new_full((), -1)
    start, before = 0, 0
    for step, count in enumerate(counts):
        here = states.part(slice(start, start + count))
        z, c, squashed = here.gates, here.cells, here.squashed
        i, f, s, o = torch.split(z, size, 1)
        if step == 0:
            z.copy_(x[:count])
        else:
            old_c = states.cells[before : before + count]
            torch.addmm(x[start : start + count], states.outputs[before : before + count], transposed, out=z)
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
        start, before = start + count, start


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
    size = recurrent.shape[1]
    starts = [0, *accumulate(counts)]
    grad_peepholes = torch.zeros_like(peepholes)
    later_dz = grad_x[:0]
    dc = grad_outputs.new_empty(counts[0], size)
    dy = grad_outputs.new_empty(counts[0], size)
    for block in _blocks(starts, size):
        first = starts[block.start]
        rows = slice(first, starts[block.stop])
        old_c = previous(states.cells, starts, block)
        factors = _factors(states.part(rows), old_c, peepholes)
        for step in reversed(block):
            start, stop, later = starts[step], starts[step + 1], len(later_dz)
            here = slice(start - first, stop - first)
            given = grad_outputs[start:stop]
            dy_t, dc_t = dy[: stop - start], dc[: stop - start]
            # Texts that end here have no later step to hear from.
            torch.addmm(given[:later], later_dz, recurrent, out=dy_t[:later])
            dy_t[later:] = given[later:]
            dc_t[later:] = 0
            dc_t.addcmul_(dy_t, factors.cell[here])
            dz = grad_x[start:stop]
            torch.mul(dc_t[:, None], factors.inner[here], out=dz.view(stop - start, 4, size)[:, :3])
            torch.mul(dy_t, factors.output[here], out=dz[:, 3 * size :])
            dc_t.mul_(factors.carry[here])
            later_dz = dz
        block_dz = grad_x[rows].view(len(old_c), 4, size)
        grad_peepholes[:2] += (block_dz[:, :2] * old_c[:, None]).sum(0)
        grad_peepholes[2] += (block_dz[:, 3] * states.cells[rows]).sum(0)
    old_y = previous(states.outputs, starts, range(1, len(counts)))
    return grad_x[counts[0] :].t() @ old_y, grad_peepholes


@dataclass(frozen=True)
class _Factors:
    output: Tensor  # A, (rows, H)
    cell: Tensor  # K, (rows, H)
    inner: Tensor  # B, (rows, 3, H)
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
    """Runs of steps, last first, of about `_BLOCK_ELEMENTS` states each."""
    blocks = []
    stop = len(starts) - 1
    while stop:
        start = stop - 1
        while start and (starts[stop] - starts[start - 1]) * size <= _BLOCK_ELEMENTS:
            start -= 1
        blocks.append(range(start, stop))
        stop = start
    return blocks


def previous(states: Tensor, starts: Sequence[int], steps: range) -> Tensor:
    """State before each packed row of the given steps: the matching rows of the step before, zeros before
    the first.
    """
    parts = []
    for step in steps:
        count = starts[step + 1] - starts[step]
        if step == 0:
            parts.append(states.new_zeros(count, states.shape[1]))
        else:
            parts.append(states[starts[step - 1] : starts[step - 1] + count])
    return torch.cat(parts) if parts else states[:0]
