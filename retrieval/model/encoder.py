"""The towers at inference, in numpy, from saved weights: no torch.

In: texts. Out: unit embeddings float32 (n, dimension), equal to those of `retrieval.towers.bodies` to rounding.
    Follows its two
strides: a word's projection is computed when the word is first met and kept; a text joins the projections of
    its words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.model.config import ModelConfig
from retrieval.model.weights import Table
from retrieval.text.vocabulary import Lexicon, Ragged, Vocabulary, ragged

Array = NDArray[np.float32]
# What a body does with new words' rows, and with the projections of all words and the texts' word ids.
Project = Callable[[Array], Array]
Compose = Callable[[Array, Ragged], Array]

# Words whose projections are kept; past it, all are forgotten and met anew (a corpus has more words than
# memory should hold).
_KEPT_BYTES = 96 << 20
# Texts encoded together: enough to fill matrix products, few enough to stay in cache.
_BATCH_WORDS = 8192


class Encoder:
    """One tower, ready to encode. Not safe for use by two threads at once: it learns words as it meets them.

    weights: the tower's arrays by their names in `retrieval.towers.bodies.Tower`; `table` as a `Table`. limit: words
        of a text that count.
    """

    def __init__(
        self,
        config: ModelConfig,
        vocabulary: Vocabulary,
        table: Table,
        weights: Mapping[str, Any],
        limit: int,
    ) -> None:
        self.dimension = config.dimension
        self._vocabulary = vocabulary
        self._table = table
        self._limit = limit
        body = {name: np.asarray(array, np.float32) for name, array in weights.items()}
        self._project, self._compose = _BODIES[config.tower](config, body)
        self._forget_words()

    def encode(self, texts: Sequence[str]) -> Array:
        """Unit embeddings float32 (n, dimension) of n texts."""
        embeddings = np.empty((len(texts), self.dimension), np.float32)
        if self._lexicon.words and self._projected.nbytes > _KEPT_BYTES:
            self._forget_words()
        numbered = [self._lexicon.word_ids(text, self._limit) for text in texts]
        self._learn_words()
        for rows in _batches(numbered):
            places = ragged([numbered[row] for row in rows])
            joined = self._compose(self._projected, places)
            joined /= np.maximum(np.sqrt(np.einsum("ij,ij->i", joined, joined)), 1e-12)[:, None]
            embeddings[rows] = joined
        return embeddings

    def _forget_words(self) -> None:
        self._lexicon = Lexicon(self._vocabulary)
        self._projected: Array = np.empty((0, 0), np.float32)
        self._known = 0

    def _learn_words(self) -> None:
        known, total = self._known, len(self._lexicon)
        if known == total:
            return
        features = self._lexicon.features(known)
        projected = self._project(np.add.reduceat(self._table.rows(features.values), features.offsets[:-1]))
        if total > len(self._projected):
            grown = np.empty((max(total, 2 * known, 256), projected.shape[1]), np.float32)
            if known:
                grown[:known] = self._projected[:known]
            self._projected = grown
        self._projected[known:total] = projected
        self._known = total


def _batches(numbered: Sequence[Sequence[int]]) -> Iterator[list[int]]:
    """Texts of similar length together, about `_BATCH_WORDS` words at a time."""
    batch: list[int] = []
    size = 0
    for row in sorted(range(len(numbered)), key=lambda row: len(numbered[row])):
        batch.append(row)
        size += len(numbered[row])
        if size >= _BATCH_WORDS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _sums(rows: Array, texts: Ragged) -> Array:
    """Sum of the rows (total words, width) of each text, (texts, width)."""
    return np.add.reduceat(rows, texts.offsets[:-1], axis=0)


def _means(rows: Array, texts: Ragged) -> Array:
    means: Array = np.divide(_sums(rows, texts), texts.lengths()[:, None], dtype=np.float32)
    return means


def _weighted(rows: Array, logits: Array, texts: Ragged) -> Array:
    """Sum of the rows of each text, each weighed by the logistic function of its logit, (total words,)."""
    return _sums(rows * _sigm(logits)[:, None], texts)


def _bag(config: ModelConfig, weights: Mapping[str, Array]) -> tuple[Project, Compose]:
    return lambda rows: rows, lambda projected, texts: _means(projected[texts.values], texts)


def _dnn(config: ModelConfig, weights: Mapping[str, Array]) -> tuple[Project, Compose]:
    def compose(projected: Array, texts: Ragged) -> Array:
        first = np.tanh(_sums(projected[texts.values], texts) + weights["first_bias"])
        second = np.tanh(first @ weights["second"].T + weights["second_bias"])
        third: Array = np.tanh(second @ weights["third"].T + weights["third_bias"])
        return third

    return lambda rows: rows, compose


def _cnn(config: ModelConfig, weights: Mapping[str, Array]) -> tuple[Project, Compose]:
    size = config.hidden

    def project(rows: Array) -> Array:
        placed = rows @ weights["window"].T if "window" in weights else rows
        return np.concatenate((placed, rows), 1) if config.pooling == "attention" else placed

    def compose(projected: Array, texts: Ragged) -> Array:
        places = projected[texts.values]
        starts = texts.offsets[:-1]
        features: Array = places[:, size : 2 * size] + weights["window_bias"]
        before, after = places[:-1, :size].copy(), places[1:, 2 * size : 3 * size].copy()
        before[starts[1:] - 1] = 0
        after[starts[1:] - 1] = 0
        features[1:] += before
        features[:-1] += after
        np.tanh(features, out=features)
        if config.pooling == "attention":
            return _weighted(places[:, 3 * size :], np.dot(features, weights["attention"]), texts)
        pooled: Array = np.tanh(np.maximum.reduceat(features, starts) @ weights["output"].T)
        return pooled

    return project, compose


def _lstm(config: ModelConfig, weights: Mapping[str, Array]) -> tuple[Project, Compose]:
    recurrent, peepholes, bias = (weights[f"layers.0.{name}"] for name in ("recurrent", "peepholes", "bias"))
    matrix = weights.get("layers.0.input")
    gates = len(recurrent)

    def project(rows: Array) -> Array:
        inputs = (rows if matrix is None else rows @ matrix.T) + bias
        return np.concatenate((inputs, rows), 1) if config.pooling == "attention" else inputs

    def compose(projected: Array, texts: Ragged) -> Array:
        gather, counts = pack(texts.lengths())
        y = peephole_outputs(projected[texts.values[gather], :gates], recurrent, peepholes, counts)
        states = np.empty_like(y)
        states[gather] = y
        if config.pooling == "attention":
            return _weighted(projected[texts.values, gates:], states @ weights["attention"], texts)
        last: Array = states[texts.offsets[1:] - 1]
        return last

    return project, compose


_BODIES = {"bag": _bag, "dnn": _dnn, "cnn": _cnn, "lstm": _lstm}


def pack(lengths: NDArray[np.int64]) -> tuple[NDArray[np.int64], list[int]]:
    """Places of the texts' words step by step, longest text first, and the texts active at each step (see
    `retrieval.towers.peephole.layer`).
    """
    order = np.argsort(-lengths, kind="stable")
    falling = lengths[order]
    first = (np.cumsum(lengths) - lengths)[order]
    steps = np.arange(falling[0])
    active = steps[:, None] < falling
    return (first + steps[:, None])[active], active.sum(1).tolist()


def _sigm(x: Array, out: Array | None = None) -> Array:
    """The logistic function, through tanh, which numpy computes in vector registers."""
    out = np.multiply(x, np.float32(0.5), out=out)
    np.tanh(out, out=out)
    out *= np.float32(0.5)
    out += np.float32(0.5)
    return out


def peephole_outputs(x: Array, recurrent: Array, peepholes: Array, counts: Sequence[int]) -> Array:
    """Outputs y(t) float32 (words, H) of packed gate inputs (words, 4H); `x` is overwritten. See
    `retrieval.towers.peephole.layer`.
    """
    size = recurrent.shape[1]
    transposed = recurrent.T
    outputs = np.empty((len(x), size), np.float32)
    y = c = outputs[:0]
    start = 0
    for step, count in enumerate(counts):
        z = x[start : start + count]
        if step:
            c = c[:count]
            z += y[:count] @ transposed
            z.reshape(count, 4, size)[:, :2] += c[:, None] * peepholes[:2]
        sigmoids = _sigm(z[:, : 2 * size], out=z[:, : 2 * size])
        fresh = np.tanh(z[:, 2 * size : 3 * size])
        fresh *= sigmoids[:, :size]
        if step:
            fresh += c * sigmoids[:, size:]
        c = fresh
        y = outputs[start : start + count]
        np.tanh(c, out=y)
        y *= _sigm(z[:, 3 * size :] + c * peepholes[2])
        start += count
    return outputs
