"""The peephole LSTM layer over a ragged batch, forward and hand-written backward.

In: gate inputs W l(t) + b of every word of a batch, in packed order. Out: the output y(t) at every word, in
the same order. Knows nothing of strings, pooling or towers.

The cell is that of Gers et al. 2002 with diagonal peepholes, as in Palangi et al. 2014 (arXiv 1412.6629,
eq. 2). x is the gate inputs, R the recurrent weights, p the peepholes, and * the element-wise product:

    i(t) = sigm(x_i + R_i y(t-1) + p_i * c(t-1))
    f(t) = sigm(x_f + R_f y(t-1) + p_f * c(t-1))
    g(t) = tanh(x_g + R_g y(t-1))
    c(t) = f(t) * c(t-1) + i(t) * g(t)
    o(t) = sigm(x_o + R_o y(t-1) + p_o * c(t))
    y(t) = o(t) * tanh(c(t))

Packed order: the texts are sorted by length, longest first; then come the first words of all texts, then all
second words, and so on. Step t has only the `counts[t]` texts that still have a word, so there is no padding
and each step is one slice.
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

from index.errors import NO_COMPILED_LOOPS
from retrieval.towers.peephole import plain
from retrieval.towers.peephole.plain import States

T = TypeVar("T")

# Texts in the smallest part of a batch: with fewer, calls cost more than arithmetic.
_MIN_PART_TEXTS = 32


@dataclass(frozen=True)
class Packing:
    """The packed order of a batch: one part after the other, each in packed order."""

    counts: tuple[tuple[int, ...], ...]  # for each part, the number of texts at each of its steps
    gather: Tensor  # int64 (total words,), for each packed position, the place in the concatenated texts


def pack(lengths: Tensor) -> Packing:
    """Pack texts that are concatenated in their own order.

    There are as many parts as torch has threads, if there are enough texts. Long and short texts are spread
    evenly over the parts.

    lengths: int64 (texts,), words of each text, at least 1.
    """
    order = torch.argsort(lengths, descending=True, stable=True)
    first = torch.cumsum(lengths, 0) - lengths
    parts = max(1, min(torch.get_num_threads(), len(lengths) // _MIN_PART_TEXTS))
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
        ctx: Any,
        x: Tensor,
        recurrent: Tensor,
        peepholes: Tensor,
        counts: Sequence[Sequence[int]],
        places: Tensor | None,
    ) -> Tensor:
        words, size = sum(map(sum, counts)), recurrent.shape[1]
        steps = _steps(x)
        states = States(x.new_empty(words, 4 * size), *(x.new_empty(words, size) for _ in range(3)))

        def run(part: int, rows: slice) -> None:
            steps.forward(*_inputs(x, places, rows), recurrent, peepholes, counts[part], states.part(rows))

        _each_part(counts, run)
        ctx.save_for_backward(
            recurrent, peepholes, states.gates, states.cells, states.squashed, states.outputs
        )
        ctx.counts, ctx.places, ctx.rows = counts, places, len(x)
        return states.outputs

    @staticmethod
    def backward(ctx: Any, grad_outputs: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        recurrent, peepholes, *saved = ctx.saved_tensors
        states = States(*saved)
        steps = _steps(states.gates)
        places = torch.arange(len(states.gates)) if ctx.places is None else ctx.places
        grad_gates = torch.empty_like(states.gates)
        # Each part adds to a gradient of its own: two threads must not add to one row.
        shape = (0 if ctx.places is None else ctx.rows, grad_gates.shape[1])

        def run(part: int, rows: slice) -> Any:
            grad_x, gradients = grad_gates.new_zeros(shape), grad_gates[rows]
            weights, counts = (recurrent, peepholes), ctx.counts[part]
            grad_y, own = grad_outputs[rows], states.part(rows)
            return grad_x, *steps.backward(grad_y, places[rows], *weights, counts, own, gradients, grad_x)

        grads = zip(*_each_part(ctx.counts, run), strict=True)
        grad_x, grad_recurrent, grad_peepholes = (
            parts[0] if len(parts) == 1 else torch.stack(parts).sum(0) for parts in grads
        )
        return grad_gates if ctx.places is None else grad_x, grad_recurrent, grad_peepholes, None, None


def _outputs(
    x: Tensor, recurrent: Tensor, peepholes: Tensor, counts: Sequence[Sequence[int]], places: Tensor | None
) -> Tensor:
    """As `peephole_lstm`, where nothing is kept for a backward pass."""
    words = sum(map(sum, counts))
    steps, y = _steps(x), x.new_empty(words, recurrent.shape[1])

    def run(part: int, rows: slice) -> None:
        steps.outputs(*_inputs(x, places, rows), recurrent, peepholes, counts[part], y[rows])

    _each_part(counts, run)
    return y


def _inputs(x: Tensor, places: Tensor | None, rows: slice) -> tuple[Tensor, Tensor | None]:
    """The gate inputs of one part, and the row of each word in them, if it is not that of the word."""
    return (x[rows], None) if places is None else (x, places[rows])


def _each_part(counts: Sequence[Sequence[int]], run: Callable[[int, slice], T]) -> list[T]:
    """Run every part in a thread of its own, in which torch uses no further threads.

    The operations of a step are short. Splitting each of them over threads costs more waiting time than it
    saves; parts of a batch never wait for each other.
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
    # Setting the number in a thread also changes it for threads that start later. So start all, then restore.
    barrier = threading.Barrier(count)
    list(pool.map(lambda _: barrier.wait(), range(count)))
    torch.set_num_threads(before)
    return pool


def _steps(x: Tensor) -> ModuleType:
    """The module that runs the steps: the compiled one for float32 if it can be imported."""
    compiled = _compiled()
    return compiled if compiled is not None and x.dtype == torch.float32 else plain


@lru_cache(maxsize=1)
def _compiled() -> ModuleType | None:
    try:
        from retrieval.towers.peephole import compiled
    except NO_COMPILED_LOOPS:
        return None
    return compiled


def peephole_lstm(
    x: Tensor,
    recurrent: Tensor,
    peepholes: Tensor,
    counts: Sequence[Sequence[int]],
    places: Tensor | None = None,
) -> Tensor:
    """Outputs y(t) of the peephole cell at every packed position, started from zero states.

    Differentiable in the first three tensors, which are all float32 or all float64.

    x: (rows, 4H), gate inputs W l(t) + b, in gate order i, f, g, o.
    recurrent: (4H, H), recurrent weights in the same gate order.
    peepholes: (3, H), peephole weights of the gates i, f, o.
    counts: for each part, the number of texts at each step, never increasing; all sum to the words.
    places: int64 (words,), the row of x of each packed position; None if x has them in packed order.

    Returns (words, H), of the dtype of x.
    """
    x = x.contiguous()
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (x, recurrent, peepholes)):
        y: Tensor = _Cell.apply(x, recurrent, peepholes, counts, places)  # type: ignore[no-untyped-call]
        return y
    return _outputs(x.detach(), recurrent.detach(), peepholes.detach(), counts, places)


class PeepholeLSTM(nn.Module):
    """A peephole LSTM layer over packed gate inputs, see `peephole_lstm`.

    input_size: width of a word vector l(t); None if word vectors are gate inputs already, as in the papers,
        where the trigrams feed the gates directly.
    size: number of cells H.
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
                bound = (6 / (size + weight.shape[1])) ** 0.5
                nn.init.uniform_(weight, -bound, bound)
        # A forget gate that starts open lets the gradient reach the first words of a text (Gers et al. 2000).
        nn.init.ones_(self.bias[size : 2 * size])

    def gate_inputs(self, words: Tensor) -> Tensor:
        """Gate inputs W l + b (words, 4H) of the vectors of distinct words (words, input_size)."""
        return words + self.bias if self.input is None else torch.addmm(self.bias, words, self.input.t())

    def forward(self, x: Tensor, counts: Sequence[Sequence[int]], places: Tensor | None = None) -> Tensor:
        """Outputs (words, H) of gate inputs x (rows, 4H); counts and places as in `peephole_lstm`."""
        return peephole_lstm(x, self.recurrent, self.peepholes, counts, places)
