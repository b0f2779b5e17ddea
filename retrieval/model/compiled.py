"""The LSTM tower, sums of rows and the network of re-scoring in compiled loops.

In and out: numpy arrays, see `retrieval.model.lstm` and `retrieval.model.rescoring`. Importing this module
needs numba, and takes half a second: it is for processes that search many times.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

# Sums may be taken in any order; "fast" would also allow to assume that nothing is NaN.
_FLAGS = {"reassoc", "contract"}
# Beyond this the float32 nearest to a tanh is 1.
_LARGEST = 9.02
# The loops for one query keep the interpreter's lock: they take so little time that giving it away and
# waiting for it again would cost two threads more.


@njit(error_model="numpy", fastmath=_FLAGS, cache=True)
def compiled_embedding(
    projected: Any,
    words: Any,
    recurrent: Any,
    peepholes: Any,
    attention: Any,
    embedding: Any,
) -> None:
    """The embedding of one text, of unit length.

    projected: float32 (any, 4H + row width), the projections of words, as the LSTM tower has them.
    words: int64 (n,), the rows of the text's words, at least one; all within `projected`.
    recurrent, peepholes: as for `retrieval.model.lstm.peephole_outputs`.
    attention: float32 (H,), the weights of attention pooling; (0,) for the last output as the embedding.
    embedding: float32 (row width or H,), where the result goes.
    """
    size = len(recurrent)
    gates = np.empty(4 * size, np.float32)
    state, output = np.zeros(size, np.float32), np.zeros(size, np.float32)
    squashed = np.empty(size, np.float32)
    embedding[:] = 0
    for step in range(len(words)):
        row = projected[words[step]]
        gates[:] = row[: 4 * size]
        if step:
            for cell in range(size):
                from_cell, weights = output[cell], recurrent[cell]
                for gate in range(4 * size):
                    gates[gate] += from_cell * weights[gate]
        for cell in range(size):
            gates[cell] += state[cell] * peepholes[0, cell]
            gates[size + cell] += state[cell] * peepholes[1, cell]
        _tanh(gates[: 3 * size], gates[: 3 * size])
        for cell in range(size):
            fresh = gates[2 * size + cell] * _of_tanh(gates[cell])
            state[cell] = fresh + state[cell] * _of_tanh(gates[size + cell])
            gates[3 * size + cell] += state[cell] * peepholes[2, cell]
        _tanh(gates[3 * size :], gates[3 * size :])
        _tanh(state, squashed)
        for cell in range(size):
            output[cell] = squashed[cell] * _of_tanh(gates[3 * size + cell])
        if len(attention):
            logit = np.float32(0)
            for cell in range(size):
                logit += output[cell] * attention[cell]
            squashed[0] = logit * np.float32(0.5)
            _tanh(squashed[:1], squashed[:1])
            share = _of_tanh(squashed[0])
            values = row[4 * size :]
            for place in range(len(embedding)):
                embedding[place] += share * values[place]
    if not len(attention):
        embedding[:] = output
    squares = np.float32(0)
    for place in range(len(embedding)):
        squares += embedding[place] * embedding[place]
    length = np.sqrt(squares)
    if length < np.float32(1e-12):
        length = np.float32(1e-12)
    for place in range(len(embedding)):
        embedding[place] /= length


@njit(error_model="numpy", fastmath=_FLAGS, cache=True, nogil=True)
def compiled_weighted_sums(
    projected: Any,
    first: Any,
    words: Any,
    offsets: Any,
    logits: Any,
    sums: Any,
) -> None:
    """The sums of the rows of the words of each text, each weighted by the logistic function of its logit.

    projected: float32 (any, first + W), the rows of the words behind other columns.
    first: where the rows begin.
    words: int32 (n,), the row of `projected` of each place in the concatenated texts.
    offsets: int64 (texts + 1,), where each text begins and ends.
    logits: float32 (n,), of each place; overwritten.
    sums: float32 (texts, W), where the result goes.
    """
    logits *= np.float32(0.5)
    _tanh(logits, logits)
    for text in range(len(sums)):
        total = sums[text]
        total[:] = 0
        for place in range(offsets[text], offsets[text + 1]):
            share, row = _of_tanh(logits[place]), projected[words[place]][first:]
            for column in range(len(total)):
                total[column] += share * row[column]


@njit(error_model="numpy", cache=True, nogil=True)
def compiled_feature_sums(
    values: Any,
    scales: Any,
    features: Any,
    offsets: Any,
    sums: Any,
) -> None:
    """The sum of the rows of each list of features, in the order in which `retrieval.model.sums` adds them.

    values: int8 (any, W), the table.
    scales: float32 (any, 1), of its rows.
    features: int32 (n,), rows of the table, all lists one after the other.
    offsets: int64 (lists + 1,), where each list begins and ends; from 1 to 129 rows.
    sums: float32 (lists, W), where the result goes.
    """
    lanes = np.empty((8, sums.shape[1]), np.float32)
    for word in range(len(sums)):
        start, stop = offsets[word], offsets[word + 1]
        total = sums[word]
        total[:] = 0
        first, rest = start + 1, stop
        if stop - first >= 8:
            rest = stop - (stop - first) % 8
            lanes[:] = 0
            for place in range(first, rest):
                _add_row(values, scales, features[place], lanes[(place - first) % 8])
            for column in range(len(total)):
                upper = (lanes[0, column] + lanes[1, column]) + (lanes[2, column] + lanes[3, column])
                lower = (lanes[4, column] + lanes[5, column]) + (lanes[6, column] + lanes[7, column])
                total[column] = upper + lower
        else:
            rest = first
        for place in range(rest, stop):
            _add_row(values, scales, features[place], total)
        _add_row(values, scales, features[start], total)


@njit(error_model="numpy", cache=True, nogil=True)
def _add_row(values: Any, scales: Any, number: Any, total: Any) -> None:
    row, scale = values[number], scales[number, 0]
    for column in range(len(total)):
        total[column] += np.float32(row[column]) * scale


@njit(error_model="numpy", fastmath=_FLAGS, cache=True)
def compiled_scores(
    features: Any,
    hidden: Any,
    hidden_bias: Any,
    output: Any,
    linear: Any,
    scores: Any,
) -> None:
    """The scores of `retrieval.model.rescoring.Rescorer.scores`.

    features: float32 (n, F).
    hidden: float32 (F, H), the transpose of the rescorer's.
    hidden_bias, output, linear: of the rescorer.
    scores: float32 (n,), where the result goes.
    """
    units = np.empty(len(output), np.float32)
    for at in range(len(features)):
        units[:] = hidden_bias
        score = np.float32(0)
        for feature in range(len(linear)):
            value, weights = features[at, feature], hidden[feature]
            for unit in range(len(units)):
                units[unit] += value * weights[unit]
            score += value * linear[feature]
        _tanh(units, units)
        for unit in range(len(units)):
            score += units[unit] * output[unit]
        scores[at] = score


@njit(error_model="numpy", fastmath=_FLAGS, cache=True)
def _of_tanh(tanh: Any) -> Any:
    """The logistic function of 2x from the tanh of x."""
    return tanh * np.float32(0.5) + np.float32(0.5)


@njit(error_model="numpy", fastmath=_FLAGS, cache=True)
def _tanh(source: Any, target: Any) -> None:
    """The hyperbolic tangent of float32 numbers, to 2e-8 before it is rounded; NaN stays NaN.

    By Lambert's continued fraction (1761) for half the argument, cut after seven terms, and the double angle.
    """
    for place in range(len(source)):
        x = np.float64(source[place])
        x = _LARGEST if x > _LARGEST else x
        x = -_LARGEST if x < -_LARGEST else x
        half = x * 0.5
        square = half * half
        above = half * (135135.0 + square * (17325.0 + square * (378.0 + square)))
        below = 135135.0 + square * (62370.0 + square * (3150.0 + square * 28.0))
        target[place] = np.float32(2 * above * below / (below * below + above * above))
