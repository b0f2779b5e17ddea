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

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn

Forget = Literal["learned", "one"]
T = TypeVar("T")

# Elements of a block in the backward sweep: large enough that calls cost little, small enough that a block's
# factors stay in cache.
_BLOCK_ELEMENTS = 1 << 17
# A part with fewer texts than this would spend its time on calls, not on arithmetic.
_FEWEST_TEXTS = 32


@dataclass(frozen=True)
class Packing:
    """How a batch of texts is laid out: in parts, each step by step.

    counts: for each part, the texts active at each of its steps.
    gather: int64 (total words,), for each packed position where its word stands in the concatenated texts.
    """

    counts: tuple[tuple[int, ...], ...]
    gather: Tensor


def pack(lengths: Tensor) -> Packing:
    """Packing of texts of the given lengths, int64 (n,), each at least 1, concatenated in their own order.

    As many parts as torch has threads, if there are texts enough; they share the lengths out evenly.
    """
    order = torch.argsort(lengths, descending=True, stable=True)
    first = torch.cumsum(lengths, 0) - lengths
    parts = max(1, min(torch.get_num_threads(), len(lengths) // _FEWEST_TEXTS))
    counts, gather = [], []
    for part in range(parts):
        rows = order[part::parts]
        falling = lengths[rows]
        steps = torch.arange(int(falling[0]))
        active = steps[:, None] < falling
        counts.append(tuple(active.sum(1).tolist()))
        gather.append((first[rows] + steps[:, None])[active])
    return Packing(tuple(counts), torch.cat(gather))


@dataclass(frozen=True)
class _States:
    """What one part keeps of its forward pass, each (words, width): gates, c, tanh(c), y.

    The gates are sigmoids, the place of g holding sigm(2 x), of which g is twice less one.
    """

    gates: Tensor
    cells: Tensor
    squashed: Tensor
    outputs: Tensor

    def part(self, rows: slice) -> _States:
        return _States(self.gates[rows], self.cells[rows], self.squashed[rows], self.outputs[rows])


class _Cell(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, recurrent: Tensor, peepholes: Tensor, counts: Sequence[Sequence[int]]
    ) -> Tensor:
        size = recurrent.shape[1]
        states = _States(torch.empty_like(x), *(x.new_empty(len(x), size) for _ in range(3)))

        def run(part: int, rows: slice) -> None:
            _forward(x[rows], recurrent, peepholes, counts[part], states.part(rows))

        _each_part(counts, run)
        ctx.save_for_backward(
            recurrent, peepholes, states.gates, states.cells, states.squashed, states.outputs
        )
        ctx.counts = counts
        return states.outputs

    @staticmethod
    def backward(ctx: Any, grad_outputs: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        recurrent, peepholes, *saved = ctx.saved_tensors
        states = _States(*saved)
        grad_x = torch.empty_like(states.gates)

        def run(part: int, rows: slice) -> tuple[Tensor, Tensor]:
            given = grad_outputs[rows]
            return _backward(given, recurrent, peepholes, ctx.counts[part], states.part(rows), grad_x[rows])

        weights = _each_part(ctx.counts, run)
        recurrent_grads, peephole_grads = (torch.stack(grads).sum(0) for grads in zip(*weights, strict=True))
        return grad_x, recurrent_grads, peephole_grads, None


def _each_part(counts: Sequence[Sequence[int]], run: Callable[[int, slice], T]) -> list[T]:
    """Run every part, each in a thread of its own, whose torch operations use that thread alone.

    A step's operations are short: sharing each of them out among threads costs more in waiting than it saves,
    while parts of the batch never wait for each other.
    """
    stops = list(accumulate(sum(part) for part in counts))
    rows = [slice(stop - sum(part), stop) for stop, part in zip(stops, counts, strict=True)]
    if len(rows) == 1:
        return [run(0, rows[0])]
    return list(_threads(len(rows)).map(run, range(len(rows)), rows))


@lru_cache(maxsize=1)
def _threads(count: int) -> ThreadPoolExecutor:
    """Threads in which torch uses no further ones."""
    pool = ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,))
    before = torch.get_num_threads()
    # The setting is a thread's own once it has it, but also what later threads start from: start all, then
    # restore.
    together = threading.Barrier(count)
    list(pool.map(lambda _: together.wait(), range(count)))
    torch.set_num_threads(before)
    return pool


@torch.no_grad()  # a thread's own setting, which a new thread has not inherited
def _forward(x: Tensor, recurrent: Tensor, peepholes: Tensor, counts: Sequence[int], states: _States) -> None:
    """Fill `states` step by step from the gate inputs x (words, 4H or 3H) of one part.

    tanh(a) is taken as 2 sigm(2a) - 1: torch's tanh is nine times slower than its sigmoid.
    """
    size = recurrent.shape[1]
    learned = x.shape[1] == 4 * size
    inner = 2 if learned else 1  # gates that see the old cell
    transposed = recurrent.t()
    minus_one = x.new_full((), -1)
    start, before = 0, 0
    for step, count in enumerate(counts):
        here = states.part(slice(start, start + count))
        z, c, squashed = here.gates, here.cells, here.squashed
        i, s, o = z[:, :size], z[:, inner * size : (inner + 1) * size], z[:, (inner + 1) * size :]
        if step == 0:
            z.copy_(x[:count])
        else:
            old_c = states.cells[before : before + count]
            torch.addmm(x[start : start + count], states.outputs[before : before + count], transposed, out=z)
            z.view(count, -1, size)[:, :inner].addcmul_(old_c[:, None], peepholes[:inner])
        s.mul_(2)
        z[:, : (inner + 1) * size].sigmoid_()
        # c = f c(t-1) + i g with g = 2 s - 1.
        if step == 0:
            torch.neg(i, out=c)
        elif learned:
            torch.mul(z[:, size : 2 * size], old_c, out=c).sub_(i)
        else:
            torch.sub(old_c, i, out=c)
        c.addcmul_(i, s, value=2)
        o.addcmul_(c, peepholes[inner]).sigmoid_()
        torch.mul(c, 2, out=squashed).sigmoid_()
        torch.add(minus_one, squashed, alpha=2, out=squashed)
        torch.mul(o, squashed, out=here.outputs)
        start, before = start + count, start


@torch.no_grad()
def _backward(
    grad_outputs: Tensor,
    recurrent: Tensor,
    peepholes: Tensor,
    counts: Sequence[int],
    states: _States,
    grad_x: Tensor,
) -> tuple[Tensor, Tensor]:
    """Fill `grad_x` (words, 4H or 3H) of one part; its gradients of recurrent weights and peepholes."""
    size = recurrent.shape[1]
    starts = [0, *accumulate(counts)]
    grad_peepholes = torch.zeros_like(peepholes)
    later_dz = grad_x[:0]
    dc = grad_outputs.new_empty(counts[0], size)
    dy = grad_outputs.new_empty(counts[0], size)
    for block in _blocks(starts, size):
        first = starts[block.start]
        rows = slice(first, starts[block.stop])
        old_c = _previous(states.cells, starts, block)
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
            torch.mul(dc_t[:, None], factors.inner[here], out=dz.view(stop - start, -1, size)[:, :-1])
            torch.mul(dy_t, factors.output[here], out=dz[:, -size:])
            dc_t.mul_(factors.carry[here])
            later_dz = dz
        block_dz = grad_x[rows].view(len(old_c), -1, size)
        grad_peepholes[:-1] += (block_dz[:, :-2] * old_c[:, None]).sum(0)
        grad_peepholes[-1] += (block_dz[:, -1] * states.cells[rows]).sum(0)
    old_y = _previous(states.outputs, starts, range(1, len(counts)))
    return grad_x[counts[0] :].t() @ old_y, grad_peepholes


@dataclass(frozen=True)
class _Factors:
    output: Tensor  # A, (rows, H)
    cell: Tensor  # K, (rows, H)
    inner: Tensor  # B, (rows, gates - 1, H)
    carry: Tensor  # L, (rows, H)


def _factors(states: _States, old_c: Tensor, peepholes: Tensor) -> _Factors:
    gates, squashed = states.gates, states.squashed
    rows, size = states.cells.shape
    learned = gates.shape[1] == 4 * size
    each = gates.view(rows, -1, size)
    i, g, o = each[:, 0], 2 * each[:, -2] - 1, each[:, -1]
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


def peephole_lstm(x: Tensor, recurrent: Tensor, peepholes: Tensor, counts: Sequence[Sequence[int]]) -> Tensor:
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

    def forward(self, x: Tensor, counts: Sequence[Sequence[int]]) -> Tensor:
        """Outputs (words, H) of gate inputs (words, gates * H)."""
        return peephole_lstm(x, self.recurrent, self.peepholes, counts)
