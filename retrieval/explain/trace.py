"""Everything that one tower computes for one text: gates, cell states and the contribution of each word.

In: a trained model and a text. Out: a `Trace`.

Runs in float64 without torch, one text and one word at a time, after the equations in
`retrieval.towers.bodies`. `retrieval.model.encoder` computes the same embeddings fast.
Knows nothing of pairs of query and document.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from retrieval.model.config import ModelConfig, Side
from retrieval.model.folder import TrainedModel
from retrieval.text.words import words

Float64Array: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class CellStates:
    """Gates and states of a peephole LSTM at each word, in the order of the text.

    Each is float64 (words, cells).
    """

    input: Float64Array  # input gate i(t)
    forget: Float64Array  # forget gate f(t)
    output_gate: Float64Array  # o(t)
    state: Float64Array  # c(t)
    output: Float64Array  # y(t)

    def reversed(self) -> CellStates:
        """The same states with the words in reverse order."""
        return CellStates(*(getattr(self, field.name)[::-1] for field in fields(self)))


@dataclass(frozen=True)
class Composition:
    """How a tower composed the embedding of a text from its words."""

    embedding: Float64Array  # (dimension,), not normalised
    contributions: Float64Array | None = None  # (words, dimension), sum to embedding; None if it is no sum
    weights: Float64Array | None = None  # (words,), attention weights, 0 to 1; None without attention
    winners: NDArray[np.int64] | None = None  # (features,), place that won each max-pooled feature
    pooled: Float64Array | None = None  # (features,), the winning values


@dataclass(frozen=True)
class Trace:
    """What one tower computed for one text.

    The model reads from left to right. For `right_to_left` it was given the words in reverse order.
    """

    words: list[str]
    rows: Float64Array  # (words, row width), the sum of the feature rows of each word
    composition: Composition
    left_to_right: CellStates | None = None  # None for a tower without an LSTM
    right_to_left: CellStates | None = None  # in the order of the text; None for a tower without an LSTM


class Tracer:
    """One tower of a trained model, ready to trace texts.

    Raises CorruptError if the arrays of the tower are not those of its config.
    """

    def __init__(self, model: TrainedModel, side: Side) -> None:
        model.encoder(side)  # raises if the arrays do not fit
        self.config = model.config
        self.vocabulary = model.vocabulary
        self._word_limit = model.config.word_limit(side)
        self._table = model.table(side)
        self._body = {name: np.asarray(array, np.float64) for name, array in model.body(side).items()}

    def trace(self, text: str) -> Trace:
        """Run the tower over one text."""
        text_words = words(text, self._word_limit)
        features = self.vocabulary.features_of(text_words)
        rows = np.add.reduceat(self._table.rows(features.values).astype(np.float64), features.offsets[:-1])
        composition = self.compose(rows)
        if self.config.tower != "lstm":
            return Trace(text_words, rows, composition)
        cells = _lstm_cells(self._body, rows)
        mirrored = _lstm_cells(self._body, rows[::-1])
        return Trace(text_words, rows, composition, cells, mirrored.reversed())

    def compose(self, rows: Float64Array) -> Composition:
        """The embedding of a text of these word rows, float64 (words, row width), at least one word."""
        return _BODIES[self.config.tower](self.config, self._body, rows)


def peephole_cells(x: Float64Array, recurrent: Float64Array, peepholes: Float64Array) -> CellStates:
    """Run the peephole LSTM of Palangi et al. 2014 (arXiv 1412.6629, eq. 2) over one text.

    The peepholes are diagonal: input and forget gate see c(t-1), the output gate sees c(t).

    x: float64 (T, 4H), gate inputs W l(t) + b, in gate order i, f, g, o.
    recurrent: float64 (4H, H), recurrent weights in the same gate order.
    peepholes: float64 (3, H), peephole weights of the gates i, f, o.
    """
    size = recurrent.shape[1]
    y = c = np.zeros(size)
    steps = []
    for inputs in x:
        z = (inputs + recurrent @ y).reshape(-1, size)
        i = _sigm(z[0] + peepholes[0] * c)
        f = _sigm(z[1] + peepholes[1] * c)
        c = f * c + i * np.tanh(z[2])
        o = _sigm(z[3] + peepholes[2] * c)
        y = o * np.tanh(c)
        steps.append((i, f, o, c, y))
    return CellStates(*(np.stack(values) for values in zip(*steps, strict=True)))


def _sigm(x: Float64Array) -> Float64Array:
    sigmoid: Float64Array = 0.5 + 0.5 * np.tanh(0.5 * x)
    return sigmoid


def _lstm_cells(body: Mapping[str, Float64Array], rows: Float64Array) -> CellStates:
    recurrent, peepholes, bias = (body[f"layers.0.{name}"] for name in ("recurrent", "peepholes", "bias"))
    matrix = body.get("layers.0.input")
    inputs = rows if matrix is None else rows @ matrix.T
    return peephole_cells(inputs + bias, recurrent, peepholes)


def _lstm(config: ModelConfig, body: Mapping[str, Float64Array], rows: Float64Array) -> Composition:
    states = _lstm_cells(body, rows).output
    if config.pooling == "attention":
        return _attend(states, body["attention"], rows)
    return Composition(states[-1])


def _attend(states: Float64Array, attention: Float64Array, rows: Float64Array) -> Composition:
    weights = _sigm(states @ attention)
    contributions = weights[:, None] * rows
    return Composition(contributions.sum(0), contributions, weights)


def _cnn(config: ModelConfig, body: Mapping[str, Float64Array], rows: Float64Array) -> Composition:
    placed = rows @ body["window"].T if "window" in body else rows
    left, middle, right = np.split(placed, 3, axis=1)
    features = middle + body["window_bias"]
    features[1:] += left[:-1]
    features[:-1] += right[1:]
    features = np.tanh(features)
    if config.pooling == "attention":
        return _attend(features, body["attention"], rows)
    winners, pooled = features.argmax(0), features.max(0)
    return Composition(np.tanh(body["output"] @ pooled), winners=winners, pooled=pooled)


def _dnn(config: ModelConfig, body: Mapping[str, Float64Array], rows: Float64Array) -> Composition:
    first = np.tanh(rows.sum(0) + body["first_bias"])
    second = np.tanh(body["second"] @ first + body["second_bias"])
    return Composition(np.tanh(body["third"] @ second + body["third_bias"]))


def _bag(config: ModelConfig, body: Mapping[str, Float64Array], rows: Float64Array) -> Composition:
    contributions = rows / len(rows)
    return Composition(contributions.sum(0), contributions)


_BODIES: dict[str, Callable[[ModelConfig, Mapping[str, Float64Array], Float64Array], Composition]] = {
    "bag": _bag,
    "dnn": _dnn,
    "cnn": _cnn,
    "lstm": _lstm,
}
