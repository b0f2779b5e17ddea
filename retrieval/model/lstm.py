"""The body of LSTM-DSSM at inference, in numpy and in compiled loops.

In: a config and the weights of the body. Out: how it encodes, see `retrieval.model.bodies`. The equations are
those of `retrieval.towers.peephole.layer`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from index.errors import NO_COMPILED_LOOPS
from retrieval.model.bodies import (
    HALF,
    Body,
    Compose,
    ComposeOne,
    Float32Array,
    Project,
    sigm_of_double,
    weighted_sums,
)
from retrieval.model.config import ModelConfig
from retrieval.text.vocabulary import Ragged

if TYPE_CHECKING:
    from numpy.typing import NDArray


def lstm(config: ModelConfig, weights: Mapping[str, Float32Array]) -> Body:
    """LSTM-DSSM. Raises ValueError for weights of another shape."""
    _check_shapes(config, weights)
    gates = 4 * config.hidden
    # The gates i, f and o at half their size, which `peephole_outputs` expects; halving loses no digit.
    scale = np.repeat(np.array([0.5, 0.5, 1, 0.5], np.float32), gates // 4)
    recurrent = np.ascontiguousarray(weights["layers.0.recurrent"].T * scale)
    peepholes = weights["layers.0.peepholes"] * HALF

    def outputs(projected: Float32Array, texts: Ragged) -> Float32Array:
        if len(texts) == 1:
            return outputs_of_one(projected[texts.values, :gates], recurrent, peepholes)
        gather, counts = pack(texts.lengths())
        y = peephole_outputs(projected[texts.values[gather], :gates], recurrent, peepholes, counts)
        return _unpacked(y, gather)

    def compile_one() -> ComposeOne | None:
        try:
            from retrieval.model.compiled import compiled_embedding
        except NO_COMPILED_LOOPS:
            return None
        attention = np.array(weights["attention"] if config.pooling == "attention" else (), np.float32)

        def compose_one(projected: Float32Array, words: NDArray[np.int64]) -> Float32Array:
            embedding = np.empty(config.dimension, np.float32)
            compiled_embedding(projected, words, recurrent, peepholes, attention, embedding)
            return embedding

        return compose_one

    return Body(
        _gate_inputs(config, weights, scale),
        _pooled(config, weights, outputs),
        compile_one,
        partial(_compiled_lstm, config, weights),
    )


def _compiled_lstm(config: ModelConfig, weights: Mapping[str, Float32Array]) -> Body | None:
    """The LSTM tower in compiled loops for many texts, if it is narrow and numba is there."""
    try:
        from retrieval.model.compiled import compiled_weighted_sums
        from retrieval.recurrence.outputs import fill_outputs, is_narrow
        from retrieval.recurrence.product import panels
    except NO_COMPILED_LOOPS:
        return None
    if not is_narrow(config.hidden):
        return None
    gates = 4 * config.hidden
    recurrent = panels(weights["layers.0.recurrent"].T)
    peepholes = np.array(weights["layers.0.peepholes"])  # not of the mapped file, where it may be unaligned

    def outputs(projected: Float32Array, texts: Ragged) -> Float32Array:
        gather, counts = pack(texts.lengths())
        y = np.empty((len(gather), config.hidden), np.float32)
        fill_outputs(projected, texts.values[gather].astype(np.int64), recurrent, peepholes, counts, y)
        return _unpacked(y, gather)

    def compose(projected: Float32Array, texts: Ragged) -> Float32Array:
        states = outputs(projected, texts)
        sums = np.empty((len(texts), config.dimension), np.float32)
        logits = states @ weights["attention"]
        compiled_weighted_sums(projected, gates, texts.values, texts.offsets, logits, sums)
        return sums

    attends = config.pooling == "attention"
    return Body(
        _gate_inputs(config, weights, np.ones(gates, np.float32)),
        compose if attends else _pooled(config, weights, outputs),
    )


def _gate_inputs(config: ModelConfig, weights: Mapping[str, Float32Array], scale: Float32Array) -> Project:
    """The projection of an LSTM tower: gate inputs, times factors (4H,), and the rows if they are pooled."""
    matrix = weights["layers.0.input"].T * scale if "layers.0.input" in weights else None
    bias = weights["layers.0.bias"] * scale

    def project(rows: Float32Array) -> Float32Array:
        if config.pooling == "attention" and rows.shape[1] != config.dimension:
            raise ValueError(f"word rows have {rows.shape[1]} numbers, not {config.dimension}")
        inputs = (rows * scale if matrix is None else rows @ matrix) + bias
        return np.concatenate((inputs, rows), 1) if config.pooling == "attention" else inputs

    return project


def _pooled(
    config: ModelConfig,
    weights: Mapping[str, Float32Array],
    outputs: Callable[[Float32Array, Ragged], Float32Array],
) -> Compose:
    """The pooling of an LSTM tower. outputs: gives y(t), float32 (words, H), in the order of the texts."""

    def compose(projected: Float32Array, texts: Ragged) -> Float32Array:
        states = outputs(projected, texts)
        if config.pooling == "attention":
            return weighted_sums(projected[:, 4 * config.hidden :], states @ weights["attention"], texts)
        last: Float32Array = states[texts.offsets[1:] - 1]
        return last

    return compose


def _unpacked(y: Float32Array, gather: NDArray[np.int64]) -> Float32Array:
    """Outputs in the order of the texts, from outputs in packed order; gather: as `pack` gives it."""
    states = np.empty_like(y)
    states[gather] = y
    return states


def _check_shapes(config: ModelConfig, weights: Mapping[str, Float32Array]) -> None:
    """Raise ValueError for an LSTM of other shapes: compiled loops would read beyond the arrays."""
    size = config.hidden
    shapes = {
        "layers.0.bias": (4 * size,),
        "layers.0.recurrent": (4 * size, size),
        "layers.0.peepholes": (3, size),
    }
    if config.pooling == "attention":
        shapes["attention"] = (size,)
    for name, shape in shapes.items():
        if weights[name].shape != shape:
            raise ValueError(f"{name} has the shape {weights[name].shape}, not {shape}")


def pack(lengths: NDArray[np.int64]) -> tuple[NDArray[np.int64], list[int]]:
    """Pack texts for `peephole_outputs`; see `retrieval.towers.peephole.layer` for the packed order.

    lengths: int64 (texts,), words of each text, at least 1.

    Returns, for each packed position, the place of its word in the concatenated texts, int64 (total words,),
    and the number of texts at each step.
    """
    order = np.argsort(-lengths, kind="stable")
    falling = lengths[order]
    first = (np.cumsum(lengths) - lengths)[order]
    steps = np.arange(falling[0])
    active = steps[:, None] < falling
    return (first + steps[:, None])[active], active.sum(1).tolist()


def peephole_outputs(
    x: Float32Array, recurrent: Float32Array, peepholes: Float32Array, counts: Sequence[int]
) -> Float32Array:
    """Outputs y(t) of the peephole LSTM, see `retrieval.towers.peephole.layer`, float32 (words, H).

    The weights and inputs of the gates i, f and o are half those of the layer, which saves a step: a logistic
    function is a tanh of half its argument.

    x: float32 (words, 4H), packed gate inputs W l(t) + b, in gate order i, f, g, o; overwritten.
    recurrent: float32 (H, 4H), recurrent weights in the same gate order.
    peepholes: float32 (3, H), peephole weights of the gates i, f, o.
    counts: the number of texts at each step, as `pack` returns it.
    """
    size = len(recurrent)
    gates = x.reshape(-1, 4, size)
    outputs = np.empty((len(x), size), np.float32)
    y = c = outputs[:0]
    start = 0
    for step, count in enumerate(counts):
        now = slice(start, start + count)
        z = gates[now]
        if step:
            c = c[:count]
            x[now] += y[:count] @ recurrent
            z[:, :2] += c[:, None] * peepholes[:2]
        np.tanh(z[:, :3], out=z[:, :3])
        sigmoids = z[:, :2]
        sigmoids *= HALF
        sigmoids += HALF
        fresh = z[:, 2] * z[:, 0]
        if step:
            fresh += c * z[:, 1]
        c = fresh
        y = outputs[now]
        np.tanh(c, out=y)
        y *= sigm_of_double(z[:, 3] + c * peepholes[2])
        start += count
    return outputs


def outputs_of_one(x: Float32Array, recurrent: Float32Array, peepholes: Float32Array) -> Float32Array:
    """What `peephole_outputs` gives for one text, in two thirds of the time.

    A step works on so few numbers that its time is that of the calls: there are fewer, and all work in place.
    x, recurrent, peepholes: as for `peephole_outputs`.
    """
    size = len(recurrent)
    outputs = np.empty((len(x), size), np.float32)
    from_output = np.empty(4 * size, np.float32)
    from_cell = np.zeros((3, size), np.float32)
    to_sigmoids, to_output_gate = from_cell[:2].reshape(-1), from_cell[2]
    y = c = np.zeros(size, np.float32)
    for z, (i, f, g, o), out in zip(x, x.reshape(-1, 4, size), outputs, strict=True):
        sigmoids, squashed = z[: 2 * size], z[: 3 * size]
        z += np.dot(y, recurrent, from_output)
        sigmoids += to_sigmoids
        np.tanh(squashed, squashed)
        sigmoids *= HALF
        sigmoids += HALF
        f *= c
        g *= i
        g += f
        c, y = g, out
        np.multiply(c, peepholes, from_cell)
        o += to_output_gate
        np.tanh(c, y)
        y *= sigm_of_double(o)
    return outputs
