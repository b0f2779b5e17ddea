"""The towers at inference, in numpy without torch.

In: texts and the stored weights of a tower. Out: unit embeddings float32 (n, dimension), equal to those of
`retrieval.towers` up to rounding. Knows nothing of files or of the other tower.

Works in the two stages of `retrieval.towers.bodies`. `project` runs once for each distinct word, and its
result is cached; `compose` runs once for each text, over the projections of its words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from index.errors import NO_COMPILED_LOOPS
from index.phases import phase
from retrieval.model.config import ModelConfig
from retrieval.model.sums import sums_of_rows
from retrieval.model.word_rows import WordRows
from retrieval.text.vocabulary import Lexicon, Ragged, ragged

if TYPE_CHECKING:
    from numpy.typing import NDArray

Float32Array: TypeAlias = "NDArray[np.float32]"
# Word rows (n, row width) to projections (n, any width).
Project: TypeAlias = Callable[[Float32Array], Float32Array]
# Projections of all words, and the word ids of each text, to embeddings (texts, dimension), not normalised.
Compose: TypeAlias = Callable[[Float32Array, Ragged], Float32Array]
# Projections of all words, and the word ids of one text, int64 (n,), to its embedding of unit length.
ComposeOne: TypeAlias = "Callable[[Float32Array, NDArray[np.int64]], Float32Array]"

# Size of the cache of word projections. When it is larger, it is emptied: a corpus can have more distinct
# words than memory should hold.
_CACHE_BYTES = 96 << 20
# Words encoded together: enough for efficient matrix products, few enough for the processor's cache.
_BATCH_WORDS = 8192
_HALF = np.float32(0.5)


class Encoder:
    """One tower, ready to encode. It caches words, so two threads must not use it at the same time.

    config: the settings of the model.
    rows: of the words.
    weights: the arrays of the body, by their names within `retrieval.towers.tower.Tower.body`.
    word_limit: how many words of a text are read.
    compiled: encode single texts in a compiled loop, if the tower has one and numba is there.
    """

    def __init__(
        self,
        config: ModelConfig,
        rows: WordRows,
        weights: Mapping[str, Any],
        word_limit: int,
        compiled: bool = False,
    ) -> None:
        self.dimension = config.dimension
        self._rows = rows
        self._word_limit = word_limit
        body = {name: np.asarray(array, np.float32) for name, array in weights.items()}
        self._project, self._compose, compile_one = _BODIES[config.tower](config, body)
        self._compose_one = compile_one() if compiled and compile_one is not None else None
        self._clear_words()

    def encode(self, texts: Sequence[str]) -> Float32Array:
        """Unit embeddings float32 (n, dimension) of n texts."""
        if len(self._lexicon) and self._projected.nbytes > _CACHE_BYTES:
            self._clear_words()
        with phase("tokenise"):
            word_ids = [self._lexicon.word_ids(text, self._word_limit) for text in texts]
        with phase("encode"):
            self._project_new_words()
            if len(texts) == 1:
                return self._embedding(word_ids[0])
            embeddings = np.empty((len(texts), self.dimension), np.float32)
            for rows in _batches(word_ids):
                embeddings[rows] = self._embeddings([word_ids[row] for row in rows])
        return embeddings

    def _embedding(self, word_ids: Sequence[int]) -> Float32Array:
        """Of one text, (1, dimension)."""
        if self._compose_one is None:
            return self._embeddings([word_ids])
        return self._compose_one(self._projected, np.array(word_ids, np.int64))[None]

    def _embeddings(self, word_ids: Sequence[Sequence[int]]) -> Float32Array:
        """Of a few texts, given by their words, which are projected."""
        embeddings = self._compose(self._projected, ragged(word_ids))
        embeddings /= np.maximum(np.sqrt(np.einsum("ij,ij->i", embeddings, embeddings)), 1e-12)[:, None]
        return embeddings

    def _clear_words(self) -> None:
        self._lexicon = Lexicon(self._rows.vocabulary)
        self._projected: Float32Array = np.empty((0, 0), np.float32)
        self._projected_count = 0

    def _project_new_words(self) -> None:
        done, total = self._projected_count, len(self._lexicon)
        if done == total:
            return
        projected = self._project(self._rows.of(self._lexicon.words_from(done)))
        if total > len(self._projected):
            grown = np.empty((max(total, 2 * done, 256), projected.shape[1]), np.float32)
            if done:
                grown[:done] = self._projected[:done]
            self._projected = grown
        self._projected[done:total] = projected
        self._projected_count = total


def _batches(word_ids: Sequence[Sequence[int]]) -> Iterator[list[int]]:
    """Row numbers of texts of similar length, about `_BATCH_WORDS` words in a batch."""
    batch: list[int] = []
    size = 0
    for row in sorted(range(len(word_ids)), key=lambda row: len(word_ids[row])):
        batch.append(row)
        size += len(word_ids[row])
        if size >= _BATCH_WORDS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _sums(rows: Float32Array, texts: Ragged) -> Float32Array:
    """Sums (texts, width) of the rows of the words of each text. rows: (words, width), by word id."""
    return sums_of_rows(lambda places: rows[texts.values[places]], texts.offsets, rows.shape[1])


def _means(rows: Float32Array, texts: Ragged) -> Float32Array:
    """`_sums` over the number of words."""
    means: Float32Array = np.divide(_sums(rows, texts), texts.lengths()[:, None], dtype=np.float32)
    return means


def _weighted_sums(rows: Float32Array, logits: Float32Array, texts: Ragged) -> Float32Array:
    """`_sums`, each row weighted by the logistic function of the logit of its place, (total words,)."""
    shares = _sigm(logits)[:, None]

    def fetch(places: NDArray[np.int64]) -> Float32Array:
        weighted = rows[texts.values[places]]
        weighted *= shares[places]
        return weighted

    return sums_of_rows(fetch, texts.offsets, rows.shape[1])


class _Body(NamedTuple):
    """How a tower encodes; `compile_one` compiles what does it for one text, None without numba."""

    project: Project
    compose: Compose
    compile_one: Callable[[], ComposeOne | None] | None = None


def _bag(config: ModelConfig, weights: Mapping[str, Float32Array]) -> _Body:
    return _Body(lambda rows: rows, _means)


def _dnn(config: ModelConfig, weights: Mapping[str, Float32Array]) -> _Body:
    def compose(projected: Float32Array, texts: Ragged) -> Float32Array:
        first = np.tanh(_sums(projected, texts) + weights["first_bias"])
        second = np.tanh(first @ weights["second"].T + weights["second_bias"])
        third: Float32Array = np.tanh(second @ weights["third"].T + weights["third_bias"])
        return third

    return _Body(lambda rows: rows, compose)


def _cnn(config: ModelConfig, weights: Mapping[str, Float32Array]) -> _Body:
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
            return _weighted_sums(projected[:, 3 * size :], np.dot(features, weights["attention"]), texts)
        pooled: Float32Array = np.tanh(np.maximum.reduceat(features, starts) @ weights["output"].T)
        return pooled

    return _Body(project, compose)


def _lstm(config: ModelConfig, weights: Mapping[str, Float32Array]) -> _Body:
    _check_shapes(config, weights)
    gates = 4 * config.hidden
    # The gates i, f and o at half their size, which `peephole_outputs` expects; halving loses no digit.
    scale = np.repeat(np.array([0.5, 0.5, 1, 0.5], np.float32), gates // 4)
    matrix = weights["layers.0.input"].T * scale if "layers.0.input" in weights else None
    bias = weights["layers.0.bias"] * scale
    recurrent = np.ascontiguousarray(weights["layers.0.recurrent"].T * scale)
    peepholes = weights["layers.0.peepholes"] * _HALF

    def project(rows: Float32Array) -> Float32Array:
        if config.pooling == "attention" and rows.shape[1] != config.dimension:
            raise ValueError(f"word rows have {rows.shape[1]} numbers, not {config.dimension}")
        inputs = (rows * scale if matrix is None else rows @ matrix) + bias
        return np.concatenate((inputs, rows), 1) if config.pooling == "attention" else inputs

    def outputs(projected: Float32Array, texts: Ragged) -> Float32Array:
        if len(texts) == 1:
            return outputs_of_one(projected[texts.values, :gates], recurrent, peepholes)
        gather, counts = pack(texts.lengths())
        y = peephole_outputs(projected[texts.values[gather], :gates], recurrent, peepholes, counts)
        states = np.empty_like(y)
        states[gather] = y
        return states

    def compose(projected: Float32Array, texts: Ragged) -> Float32Array:
        states = outputs(projected, texts)
        if config.pooling == "attention":
            return _weighted_sums(projected[:, gates:], states @ weights["attention"], texts)
        last: Float32Array = states[texts.offsets[1:] - 1]
        return last

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

    return _Body(project, compose, compile_one)


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


_BODIES = {"bag": _bag, "dnn": _dnn, "cnn": _cnn, "lstm": _lstm}


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


def _sigm(x: Float32Array) -> Float32Array:
    """The logistic function."""
    return _sigm_of_double(x * _HALF)


def _sigm_of_double(x: Float32Array) -> Float32Array:
    """The logistic function of 2x, in place, by tanh, which numpy computes with vector instructions."""
    np.tanh(x, out=x)
    x *= _HALF
    x += _HALF
    return x


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
        sigmoids *= _HALF
        sigmoids += _HALF
        fresh = z[:, 2] * z[:, 0]
        if step:
            fresh += c * z[:, 1]
        c = fresh
        y = outputs[now]
        np.tanh(c, out=y)
        y *= _sigm_of_double(z[:, 3] + c * peepholes[2])
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
        sigmoids *= _HALF
        sigmoids += _HALF
        f *= c
        g *= i
        g += f
        c, y = g, out
        np.multiply(c, peepholes, from_cell)
        o += to_output_gate
        np.tanh(c, y)
        y *= _sigm_of_double(o)
    return outputs
