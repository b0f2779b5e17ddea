"""The peephole LSTM layer: forward and hand-written backward over a ragged batch.

In: gate inputs W l(t) + b of every word of a batch, packed. Out: the output y(t) at every word, packed the
same way. Knows nothing of words, pooling or towers.

The cell is that of Gers et al. 2002 as Palangi et al. 2014 use it (arXiv 1412.6629, eq. 2), peepholes
diagonal:

    i(t) = sigm(x_i + R_i y(t-1) + p_i * c(t-1))        f(t) = sigm(x_f + R_f y(t-1) + p_f * c(t-1))
    g(t) = tanh(x_g + R_g y(t-1))                       c(t) = f(t) * c(t-1) + i(t) * g(t)
    o(t) = sigm(x_o + R_o y(t-1) + p_o * c(t))          y(t) = o(t) * tanh(c(t))

Packed means: texts sorted by falling length, then all their first words, all their second words, and so on;
step t holds only the `counts[t]` texts that still have a word there, so no work is spent on padding, and each
step is one slice.

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
from typing import Any, Literal

import torch
from torch import Tensor, nn

Forget = Literal["learned", "one"]

# Rows of a block in the backward sweep: large enough that calls cost little, small enough that a block's
# factors stay in cache.
_BLOCK_ELEMENTS = 1 << 17


@dataclass(frozen=True)
class Packing:
    """How a batch of texts is laid out step by step.

    order: int64 (n,), the texts by falling length (row r of step 0 is text order[r]). counts: texts active at
        each step.
    gather: int64 (total words,), for each packed position where its word stands in the concatenated texts.
    """

    order: Tensor
    counts: tuple[int, ...]
    gather: Tensor

    @property
    def starts(self) -> list[int]:
        """First packed row of each step."""
        starts = [0]
        for count in self.counts[:-1]:
            starts.append(starts[-1] + count)
        return starts


def pack(lengths: Tensor) -> Packing:
    """Packing of texts of the given lengths, int64 (n,), each at least 1, concatenated in their own order."""
    order = torch.argsort(lengths, descending=True, stable=True)
    falling = lengths[order]
    first = (torch.cumsum(lengths, 0) - lengths)[order]
    steps = torch.arange(int(falling[0]))
    active = steps[:, None] < falling[None, :]
    counts = tuple(active.sum(1).tolist())
    gather = (first[None, :] + steps[:, None])[active]
    return Packing(order, counts, gather)


class _Cell(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, recurrent: Tensor, peepholes: Tensor, counts: Sequence[int]) -> Tensor:
        size = recurrent.shape[1]
        learned = x.shape[1] == 4 * size
        gates = torch.empty_like(x)
        cells, squashed, outputs = (x.new_empty(x.shape[0], size) for _ in range(3))
        transposed = recurrent.t()
        inner = 2 if learned else 1  # gates that see the old cell
        start, before = 0, 0
        for step, count in enumerate(counts):
            z, c = gates[start : start + count], cells[start : start + count]
            if step == 0:
                z.copy_(x[:count])
            else:
                old_c = cells[before : before + count]
                torch.addmm(x[start : start + count], outputs[before : before + count], transposed, out=z)
                z.view(count, -1, size)[:, :inner].addcmul_(old_c[:, None], peepholes[:inner])
            z[:, : inner * size].sigmoid_()
            g, o = z[:, inner * size : (inner + 1) * size].tanh_(), z[:, (inner + 1) * size :]
            torch.mul(z[:, :size], g, out=c)
            if step:
                if learned:
                    c.addcmul_(z[:, size : 2 * size], old_c)
                else:
                    c.add_(old_c)
            o.addcmul_(c, peepholes[inner]).sigmoid_()
            torch.mul(
                o, torch.tanh(c, out=squashed[start : start + count]), out=outputs[start : start + count]
            )
            start, before = start + count, start
        ctx.save_for_backward(recurrent, peepholes, gates, cells, squashed, outputs)
        ctx.counts = counts
        return outputs

    @staticmethod
    def backward(ctx: Any, grad_outputs: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        recurrent, peepholes, gates, cells, squashed, outputs = ctx.saved_tensors
        counts: Sequence[int] = ctx.counts
        size = recurrent.shape[1]
        starts = [0]
        for count in counts:
            starts.append(starts[-1] + count)
        grad_x = torch.empty_like(gates)
        grad_peepholes = torch.zeros_like(peepholes)
        carried_y = grad_outputs.new_zeros(0, size)
        carried_c = grad_outputs.new_zeros(0, size)
        for block in _blocks(starts, size):
            first = starts[block.start]
            rows = slice(first, starts[block.stop])
            old_c = _previous(cells, starts, block)
            factors = _factors(gates[rows], cells[rows], squashed[rows], old_c, peepholes)
            for step in reversed(block):
                here = slice(starts[step] - first, starts[step + 1] - first)
                dz = grad_x[starts[step] : starts[step + 1]]
                dy = grad_outputs[starts[step] : starts[step + 1]].clone()
                dy[: len(carried_y)] += carried_y
                dc = dy * factors.cell[here]
                dc[: len(carried_c)] += carried_c
                torch.mul(dc[:, None], factors.inner[here], out=dz.view(len(dz), -1, size)[:, :-1])
                torch.mul(dy, factors.output[here], out=dz[:, -size:])
                if step:
                    carried_c = dc.mul_(factors.carry[here])
                    carried_y = torch.mm(dz, recurrent)
            block_dz = grad_x[rows].view(len(old_c), -1, size)
            for gate in range(len(peepholes) - 1):
                grad_peepholes[gate] += (block_dz[:, gate] * old_c).sum(0)
            grad_peepholes[-1] += (block_dz[:, -1] * cells[rows]).sum(0)
        later = slice(counts[0], None)
        old_y = _previous(outputs, starts, range(1, len(counts)))
        return grad_x, grad_x[later].t() @ old_y, grad_peepholes, None


@dataclass(frozen=True)
class _Factors:
    output: Tensor  # A, (rows, H)
    cell: Tensor  # K, (rows, H)
    inner: Tensor  # B, (rows, gates - 1, H)
    carry: Tensor  # L, (rows, H)


def _factors(gates: Tensor, cells: Tensor, squashed: Tensor, old_c: Tensor, peepholes: Tensor) -> _Factors:
    rows, size = cells.shape
    learned = gates.shape[1] == 4 * size
    each = gates.view(rows, -1, size)
    i, g, o = each[:, 0], each[:, -2], each[:, -1]
    output = squashed * torch.addcmul(o, o, o, value=-1)
    cell = torch.addcmul(o, o * squashed, squashed, value=-1).addcmul_(peepholes[-1], output)
    inner = torch.empty_like(each[:, :-1], memory_format=torch.contiguous_format)
    torch.mul(g, torch.addcmul(i, i, i, value=-1), out=inner[:, 0])
    torch.addcmul(i, i * g, g, value=-1, out=inner[:, -1])
    if learned:
        f = each[:, 1]
        torch.mul(old_c, torch.addcmul(f, f, f, value=-1), out=inner[:, 1])
        carry = torch.addcmul(f, inner[:, 0], peepholes[0]).addcmul_(inner[:, 1], peepholes[1])
    else:
        carry = 1 + inner[:, 0] * peepholes[0]
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


def _previous(states: Tensor, starts: Sequence[int], steps: range) -> Tensor:
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


def peephole_lstm(x: Tensor, recurrent: Tensor, peepholes: Tensor, counts: Sequence[int]) -> Tensor:
    """Outputs y(t) of the peephole cell at every packed position, (words, H), started from zero states.

    x: gate inputs W l(t) + b, (words, 4H) in gate order i, f, g, o, or (words, 3H) in order i, g, o, which
        fixes the forget gate at 1.
    recurrent: (4H or 3H, H), same order. peepholes: (3, H) rows i, f, o, or (2, H) rows i, o. counts: texts
    at each step, never rising, summing to `words`. Differentiable in the three tensors; float32 or float64.
    """
    return _Cell.apply(x, recurrent, peepholes, counts)  # type: ignore[no-any-return,no-untyped-call]


class PeepholeLSTM(nn.Module):
    """A peephole LSTM layer over packed gate inputs, see `peephole_lstm`.

    input_size: width of l(t); None when the caller's word vectors are gate inputs already (word hashing
    straight into the gates, as in the papers). forget: "learned", or "one" for the fixed gate that the 2016
    experiments of Palangi et al. suggest.
    """

    def __init__(self, input_size: int | None, size: int, forget: Forget = "learned") -> None:
        super().__init__()
        self.size = size
        self.forget = forget
        gates = 4 if forget == "learned" else 3
        self.recurrent = nn.Parameter(torch.empty(gates * size, size))
        self.peepholes = nn.Parameter(torch.zeros(gates - 1, size))
        self.bias = nn.Parameter(torch.zeros(gates * size))
        self.input = None if input_size is None else nn.Parameter(torch.empty(gates * size, input_size))
        for weight in (self.recurrent, self.input):
            if weight is not None:
                nn.init.uniform_(
                    weight, -((6 / (size + weight.shape[1])) ** 0.5), (6 / (size + weight.shape[1])) ** 0.5
                )
        if forget == "learned":
            # An open forget gate at the start lets the error reach the first words of a text (Gers et al.
            # 2000).
            nn.init.ones_(self.bias[size : 2 * size])

    def gate_inputs(self, words: Tensor) -> Tensor:
        """W l + b for word vectors (words, input_size): once a distinct word, whatever the number of its
        places.
        """
        return words + self.bias if self.input is None else torch.addmm(self.bias, words, self.input.t())

    def forward(self, x: Tensor, counts: Sequence[int]) -> Tensor:
        """Outputs (words, H) of gate inputs (words, gates * H)."""
        return peephole_lstm(x, self.recurrent, self.peepholes, counts)
