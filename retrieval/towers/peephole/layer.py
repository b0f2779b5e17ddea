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
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from types import ModuleType
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from retrieval.towers.peephole import plain as recurrence
from retrieval.towers.peephole.plain import States

T = TypeVar("T")

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


class _Cell(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, recurrent: Tensor, peepholes: Tensor, counts: Sequence[Sequence[int]]
    ) -> Tensor:
        size = recurrent.shape[1]
        steps = _steps(x)
        states = States(torch.empty_like(x), *(x.new_empty(len(x), size) for _ in range(3)))

        def run(part: int, rows: slice) -> None:
            steps.forward(x[rows], recurrent, peepholes, counts[part], states.part(rows))

        _each_part(counts, run)
        ctx.save_for_backward(
            recurrent, peepholes, states.gates, states.cells, states.squashed, states.outputs
        )
        ctx.counts = counts
        return states.outputs

    @staticmethod
    def backward(ctx: Any, grad_outputs: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        recurrent, peepholes, *saved = ctx.saved_tensors
        states = States(*saved)
        steps = _steps(states.gates)
        grad_x = torch.empty_like(states.gates)

        def run(part: int, rows: slice) -> Any:
            given = grad_outputs[rows]
            return steps.backward(
                given, recurrent, peepholes, ctx.counts[part], states.part(rows), grad_x[rows]
            )

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


def _steps(x: Tensor) -> ModuleType:
    """The module that runs the steps: the compiled one if it is there and can."""
    compiled = _compiled()
    return compiled if compiled is not None and x.dtype == torch.float32 else recurrence


@lru_cache(maxsize=1)
def _compiled() -> ModuleType | None:
    try:
        from retrieval.towers.peephole import compiled
    except (ImportError, RuntimeError):  # numba is an extra, and wants a place to keep what it compiles
        return None
    return compiled


def peephole_lstm(x: Tensor, recurrent: Tensor, peepholes: Tensor, counts: Sequence[Sequence[int]]) -> Tensor:
    """Outputs y(t) of the peephole cell at every packed position, (words, H), started from zero states.

    x: gate inputs W l(t) + b, (words, 4H) in gate order i, f, g, o.
    recurrent: (4H, H), same order. peepholes: (3, H), rows i, f, o.
    counts: texts at each step, never rising, summing to `words`.

    Differentiable in the three tensors; float32 or float64.
    """
    return _Cell.apply(x, recurrent, peepholes, counts)  # type: ignore[no-any-return,no-untyped-call]


class PeepholeLSTM(nn.Module):
    """A peephole LSTM layer over packed gate inputs, see `peephole_lstm`.

    input_size: width of l(t); None when the caller's word vectors are gate inputs already (word hashing
    straight into the gates, as in the papers).
    """

    def __init__(self, input_size: int | None, size: int) -> None:
        super().__init__()
        self.size = size
        self.recurrent = nn.Parameter(torch.empty(4 * size, size))
        self.peepholes = nn.Parameter(torch.zeros(3, size))
        self.bias = nn.Parameter(torch.zeros(4 * size))
        self.input = None if input_size is None else nn.Parameter(torch.empty(4 * size, input_size))
        for weight in (self.recurrent, self.input):
            if weight is not None:
                nn.init.uniform_(
                    weight, -((6 / (size + weight.shape[1])) ** 0.5), (6 / (size + weight.shape[1])) ** 0.5
                )
        # An open forget gate at the start lets the error reach the first words of a text (Gers et al. 2000).
        nn.init.ones_(self.bias[size : 2 * size])

    def gate_inputs(self, words: Tensor) -> Tensor:
        """W l + b for word vectors (words, input_size): once a distinct word, whatever the number of its
        places.
        """
        return words + self.bias if self.input is None else torch.addmm(self.bias, words, self.input.t())

    def forward(self, x: Tensor, counts: Sequence[Sequence[int]]) -> Tensor:
        """Outputs (words, H) of gate inputs (words, 4H)."""
        return peephole_lstm(x, self.recurrent, self.peepholes, counts)
