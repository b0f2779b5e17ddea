"""One text through one tower with everything kept that an explanation needs: gates, states, each word's part.

In: a saved model and a text. Out: a `Reading`. Slow and plain where `retrieval.model.encoder` is fast: one text,
word by word, in float64, after the equations in `retrieval.towers.bodies`; it imports no torch. Knows nothing of
queries meeting documents.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from retrieval.model.config import ModelConfig, Side
from retrieval.model.folder import TrainedModel
from retrieval.text.vocabulary import ragged
from retrieval.text.words import words

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Cells:
    """What a peephole LSTM's cells did at each word, in the text's order; each float64 (words, cells).

    state is c(t), output is y(t).
    """

    input: Array
    forget: Array
    output_gate: Array
    state: Array
    output: Array

    def reversed(self) -> Cells:
        """The same, in reverse order."""
        return Cells(*(getattr(self, field.name)[::-1] for field in fields(self)))


@dataclass(frozen=True)
class Joined:
    """A text's embedding and where it came from.

    embedding: float64 (dimension,), not of unit length. parts: float64 (words, dimension), what each word
    gives to it, so that they sum to it; None where the tower is not such a sum. weights: float64 (words,),
    what attention multiplies each word row by. winners: int64 (features,), the word that won each max-pooled
    feature, and pooled: float64 (features,), the value it won with.
    """

    embedding: Array
    parts: Array | None = None
    weights: Array | None = None
    winners: NDArray[np.int64] | None = None
    pooled: Array | None = None


@dataclass(frozen=True)
class Reading:
    """A text as one tower read it. rows: the words' rows, float64 (words, row width).

    left_to_right, right_to_left: the LSTM's cells in both directions, None for other towers. The model reads
    from the left; for the second it is given the words in reverse.
    """

    words: list[str]
    rows: Array
    joined: Joined
    left_to_right: Cells | None = None
    right_to_left: Cells | None = None


class Reader:
    """One tower of a saved model, ready to read. Raises CorruptError if its arrays are not those of its
    config.
    """

    def __init__(self, model: TrainedModel, side: Side) -> None:
        model.encoder(side)  # refuses what does not fit
        self.config = model.config
        self.vocabulary = model.vocabulary
        self._limit = model.config.word_limit(side)
        self._table = model.table(side)
        self._body = {name: np.asarray(array, np.float64) for name, array in model.body(side).items()}

    def read(self, text: str) -> Reading:
        """Read one text."""
        found = words(text, self._limit)
        features = ragged([self.vocabulary.features(word) for word in found])
        rows = np.add.reduceat(self._table.rows(features.values).astype(np.float64), features.offsets[:-1])
        joined = self.join(rows)
        if self.config.tower != "lstm":
            return Reading(found, rows, joined)
        cells = _lstm_cells(self._body, rows)
        mirrored = _lstm_cells(self._body, rows[::-1])
        return Reading(found, rows, joined, cells, mirrored.reversed())

    def join(self, rows: Array) -> Joined:
        """The embedding of word rows float64 (words, row width), at least one."""
        return _BODIES[self.config.tower](self.config, self._body, rows)


def peephole_cells(x: Array, recurrent: Array, peepholes: Array) -> Cells:
    """Run the cell over gate inputs float64 (T, 4H), order i f g o.

    Palangi et al. 2014, eq. 2, with diagonal peepholes: input and forget gate see the old cell, the output
    gate the new one.
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
    return Cells(*(np.stack(kept) for kept in zip(*steps, strict=True)))


def _sigm(x: Array) -> Array:
    found: Array = 0.5 + 0.5 * np.tanh(0.5 * x)
    return found


def _lstm_cells(body: Mapping[str, Array], rows: Array) -> Cells:
    recurrent, peepholes, bias = (body[f"layers.0.{name}"] for name in ("recurrent", "peepholes", "bias"))
    matrix = body.get("layers.0.input")
    inputs = rows if matrix is None else rows @ matrix.T
    return peephole_cells(inputs + bias, recurrent, peepholes)


def _lstm(config: ModelConfig, body: Mapping[str, Array], rows: Array) -> Joined:
    states = _lstm_cells(body, rows).output
    return _attend(states, body["attention"], rows) if config.pooling == "attention" else Joined(states[-1])


def _attend(states: Array, attention: Array, rows: Array) -> Joined:
    weights = _sigm(states @ attention)
    parts = weights[:, None] * rows
    return Joined(parts.sum(0), parts, weights)


def _cnn(config: ModelConfig, body: Mapping[str, Array], rows: Array) -> Joined:
    placed = rows @ body["window"].T if "window" in body else rows
    left, middle, right = np.split(placed, 3, axis=1)
    features = middle + body["window_bias"]
    features[1:] += left[:-1]
    features[:-1] += right[1:]
    features = np.tanh(features)
    if config.pooling == "attention":
        return _attend(features, body["attention"], rows)
    winners, pooled = features.argmax(0), features.max(0)
    return Joined(np.tanh(body["output"] @ pooled), None, None, winners, pooled)


def _dnn(config: ModelConfig, body: Mapping[str, Array], rows: Array) -> Joined:
    first = np.tanh(rows.sum(0) + body["first_bias"])
    second = np.tanh(body["second"] @ first + body["second_bias"])
    return Joined(np.tanh(body["third"] @ second + body["third_bias"]))


def _bag(config: ModelConfig, body: Mapping[str, Array], rows: Array) -> Joined:
    parts = rows / len(rows)
    return Joined(parts.sum(0), parts)


_BODIES: dict[str, Callable[[ModelConfig, Mapping[str, Array], Array], Joined]] = {
    "bag": _bag,
    "dnn": _dnn,
    "cnn": _cnn,
    "lstm": _lstm,
}
