"""What re-scoring has learned: how a word becomes a short vector, and features of a document become a score.

In: arrays, or the file `rescoring.safetensors` of a model folder. Out: a `Rescorer`, and the vectors of
words. Knows nothing of candidates or indexes; needs no torch.

The row of a word is the sum of its feature rows, as in the towers. For re-scoring it has

    direction    the unit vector of P^T u, where u is the row at unit length
    weight       the length of the row times sigm(g . u + b)

A document's features x (`retrieval.search.features`) score v . tanh(W x + c) + w . x.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TypeAlias

import numpy as np

from index.errors import CorruptError
from index.values import Texts
from retrieval.model.weights import read_weights, write_weights
from retrieval.model.word_rows import WordRows
from retrieval.text.words import words

if TYPE_CHECKING:
    from numpy.typing import NDArray

Float32Array: TypeAlias = "NDArray[np.float32]"

# Increased when the features or the formulas change; a file of another version is not used. In version 1 a
# document has no features of the queries that it is known to answer.
VERSIONS = (1, 2)
# Words of a document's text that are compared, and of the queries that it is known to answer.
TEXT_WORDS = 512
KNOWN_QUERY_WORDS = 512
# Words whose vectors are remembered; when there are more, all are forgotten.
_KNOWN_WORDS = 1 << 14


class Rescorer(NamedTuple):
    """The arrays of re-scoring; all float32. F features, H hidden units."""

    projection: Float32Array  # P, (row width, width)
    gate: Float32Array  # g, (row width,)
    gate_bias: Float32Array  # b, (1,)
    hidden: Float32Array  # W, (H, F)
    hidden_bias: Float32Array  # c, (H,)
    output: Float32Array  # v, (H,)
    linear: Float32Array  # w, (F,)
    reads_queries: bool = False  # whether features compare the queries that a document is known to answer

    @property
    def width(self) -> int:
        """The width of a word's vector."""
        return int(self.projection.shape[1])

    @property
    def is_linear(self) -> bool:
        """Whether documents are scored by w . x alone."""
        return not self.hidden.any()

    def among(self, features: NDArray[np.bool_]) -> Self:
        """The same rescorer for more features.

        features: bool (n,), which of the n features are those of this rescorer. The others weigh 0.
        """
        hidden = np.zeros((len(self.hidden), len(features)), np.float32)
        linear = np.zeros(len(features), np.float32)
        hidden[:, features], linear[features] = self.hidden, self.linear
        return self._replace(hidden=hidden, linear=linear)

    def scores(self, features: Float32Array) -> Float32Array:
        """The scores of n documents, float32 (n,). features: float32 (n, F)."""
        scores: Float32Array = np.tanh(features @ self.hidden.T + self.hidden_bias) @ self.output
        scores += features @ self.linear
        return scores

    def transposed(self) -> Self:
        """The same rescorer with W transposed, (F, H), as compiled loops read it."""
        return self._replace(hidden=np.ascontiguousarray(self.hidden.T))

    def save(self, path: Path) -> None:
        """Write the file. Raises StorageError."""
        arrays = self._asdict()
        version = VERSIONS[arrays.pop("reads_queries")]
        write_weights(path, {"version": np.array([version], np.float32), **arrays})

    @classmethod
    def load(cls, path: Path, row_width: int) -> Self | None:
        """Read what `save` wrote; None if it is of another version.

        row_width: of the model's word rows.
        Raises CorruptError for anything else, StorageError.
        """
        arrays = read_weights(path)
        version = arrays.pop("version", np.empty(0, np.float32))
        if version.shape == (1,) and version[0] not in VERSIONS:
            return None
        problem = _problem(arrays, row_width) if version.shape == (1,) else "no version"
        if problem:
            raise CorruptError(f"{path}: damaged ({problem}); restore the model folder")
        reads_queries = VERSIONS.index(int(version[0])) > 0
        return cls(**{name: np.array(array) for name, array in arrays.items()}, reads_queries=reads_queries)


def _problem(arrays: Mapping[str, NDArray[Any]], row_width: int) -> str | None:
    names = set(Rescorer._fields) - {"reads_queries"}
    if arrays.keys() != names:
        return f"{', '.join(sorted(arrays.keys() ^ names))[:80]} missing or unknown"
    width, hidden, features = (arrays[name].shape[-1:] for name in ("projection", "output", "linear"))
    shapes = {
        "projection": (row_width, *width),
        "gate": (row_width,),
        "gate_bias": (1,),
        "hidden": (*hidden, *features),
        "hidden_bias": hidden,
        "output": hidden,
        "linear": features,
    }
    for name, shape in shapes.items():
        array = arrays[name]
        if array.dtype != np.float32 or array.shape != shape or not array.size:
            return f"{name} has the wrong shape"
        if not np.isfinite(array).all():
            return f"{name} is not finite"
    return None


class WordVectors:
    """Words as vectors for re-scoring; safe for use by several threads.

    rows: of the words, from feature rows that both towers share.
    rescorer: how rows become vectors.
    It is a `WordEncoder` of `index.interaction.writing`.
    """

    def __init__(self, rows: WordRows, rescorer: Rescorer) -> None:
        self.width = rescorer.width
        self.reads_queries = rescorer.reads_queries
        self._rows = rows
        self._rescorer = rescorer
        self._known: dict[str, tuple[Float32Array, float]] = {}

    def distinct_words(self, texts: Texts) -> tuple[list[str], list[str], list[str]]:
        """The distinct words of each field. Of the text and of known queries only the first words are read.

        If known queries are not read, they have none.
        """
        queries = _distinct(texts.queries, KNOWN_QUERY_WORDS) if self.reads_queries else []
        return _distinct(texts.title, None), _distinct(texts.text, TEXT_WORDS), queries

    def encode_words(self, words: Sequence[str]) -> tuple[Float32Array, Float32Array]:
        """The directions of n words, float32 (n, width), unit length, and their weights, float32 (n,)."""
        rows = self._rows.of(words)
        lengths = np.linalg.norm(rows, axis=1)
        units = rows / np.maximum(lengths, 1e-12)[:, None]
        directions = units @ self._rescorer.projection
        directions /= np.maximum(np.linalg.norm(directions, axis=1), 1e-12)[:, None]
        gates = 1 / (1 + np.exp(-(units @ self._rescorer.gate + self._rescorer.gate_bias)))
        return directions, lengths * gates

    def encode_query(self, text: str, limit: int) -> tuple[Float32Array, Float32Array]:
        """The vectors of the distinct words of a query, as `encode_words` gives them. They are cached.

        text: the query.
        limit: how many of its words are read.
        """
        if len(self._known) > _KNOWN_WORDS:
            self._known = {}
        known = self._known  # another thread may forget it meanwhile; this one stays whole
        found = list(dict.fromkeys(words(text, limit)))
        fresh = [word for word in found if word not in known]
        if fresh:
            directions, weights = self.encode_words(fresh)
            known.update(zip(fresh, zip(directions, weights.tolist(), strict=True), strict=True))
        vectors, counts = zip(*(known[word] for word in found), strict=True)
        return np.concatenate(vectors).reshape(len(found), -1), np.array(counts, np.float32)


def _distinct(text: str, limit: int | None) -> list[str]:
    return list(dict.fromkeys(words(text, limit))) if text.strip() else []
