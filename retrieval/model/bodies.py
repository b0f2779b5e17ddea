"""The bodies of the towers at inference, in numpy: a bag of trigrams, DSSM and CNN-DSSM.

In: a config and the weights of a body, by their names within `retrieval.towers.tower.Tower.body`. Out: how it
encodes. `retrieval.model.lstm` has the body of LSTM-DSSM.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np

from retrieval.model.config import ModelConfig
from retrieval.model.sums import sums_of_rows
from retrieval.text.vocabulary import Ragged

if TYPE_CHECKING:
    from numpy.typing import NDArray

Float32Array: TypeAlias = "NDArray[np.float32]"
# Word rows (n, row width) to projections (n, any width).
Project: TypeAlias = Callable[[Float32Array], Float32Array]
# Projections of all words, and the word ids of each text, to embeddings (texts, dimension), not normalised.
Compose: TypeAlias = Callable[[Float32Array, Ragged], Float32Array]
# Projections of all words, and the word ids of one text, int64 (n,), to its embedding of unit length.
ComposeOne: TypeAlias = "Callable[[Float32Array, NDArray[np.int64]], Float32Array]"

HALF = np.float32(0.5)


class Body(NamedTuple):
    """How a tower encodes.

    compile_one: compiles what does it for one text.
    compile_many: compiles what does it for many; its projections are others.
    Both give None without numba, and the second for an LSTM that is not narrow.
    """

    project: Project
    compose: Compose
    compile_one: Callable[[], ComposeOne | None] | None = None
    compile_many: Callable[[], Body | None] | None = None


def bag(config: ModelConfig, weights: Mapping[str, Float32Array]) -> Body:
    """The mean of the word rows."""
    return Body(lambda rows: rows, _means)


def dnn(config: ModelConfig, weights: Mapping[str, Float32Array]) -> Body:
    """DSSM."""

    def compose(projected: Float32Array, texts: Ragged) -> Float32Array:
        first = np.tanh(_sums(projected, texts) + weights["first_bias"])
        second = np.tanh(first @ weights["second"].T + weights["second_bias"])
        third: Float32Array = np.tanh(second @ weights["third"].T + weights["third_bias"])
        return third

    return Body(lambda rows: rows, compose)


def cnn(config: ModelConfig, weights: Mapping[str, Float32Array]) -> Body:
    """CNN-DSSM."""
    size = config.hidden

    def project(rows: Float32Array) -> Float32Array:
        windows = rows @ weights["window"].T if "window" in weights else rows
        return np.concatenate((windows, rows), 1) if config.pooling == "attention" else windows

    def compose(projected: Float32Array, texts: Ragged) -> Float32Array:
        words = projected[texts.values]
        starts = texts.offsets[:-1]
        features: Float32Array = words[:, size : 2 * size] + weights["window_bias"]
        before, after = words[:-1, :size].copy(), words[1:, 2 * size : 3 * size].copy()
        before[starts[1:] - 1] = 0
        after[starts[1:] - 1] = 0
        features[1:] += before
        features[:-1] += after
        np.tanh(features, out=features)
        if config.pooling == "attention":
            return weighted_sums(projected[:, 3 * size :], np.dot(features, weights["attention"]), texts)
        pooled: Float32Array = np.tanh(np.maximum.reduceat(features, starts) @ weights["output"].T)
        return pooled

    return Body(project, compose)


def _sums(rows: Float32Array, texts: Ragged) -> Float32Array:
    """Sums (texts, width) of the rows of the words of each text. rows: (words, width), by word id."""
    return sums_of_rows(lambda places: rows[texts.values[places]], texts.offsets, rows.shape[1])


def _means(rows: Float32Array, texts: Ragged) -> Float32Array:
    """`_sums` over the number of words."""
    means: Float32Array = np.divide(_sums(rows, texts), texts.lengths()[:, None], dtype=np.float32)
    return means


def weighted_sums(rows: Float32Array, logits: Float32Array, texts: Ragged) -> Float32Array:
    """`_sums`, each row weighted by the logistic function of the logit of its place, (total words,)."""
    shares = _sigm(logits)[:, None]

    def fetch(places: NDArray[np.int64]) -> Float32Array:
        weighted = rows[texts.values[places]]
        weighted *= shares[places]
        return weighted

    return sums_of_rows(fetch, texts.offsets, rows.shape[1])


def _sigm(x: Float32Array) -> Float32Array:
    """The logistic function."""
    return sigm_of_double(x * HALF)


def sigm_of_double(x: Float32Array) -> Float32Array:
    """The logistic function of 2x, in place, by tanh, which numpy computes with vector instructions."""
    np.tanh(x, out=x)
    x *= HALF
    x += HALF
    return x
