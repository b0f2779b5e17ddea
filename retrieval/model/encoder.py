"""The towers at inference, in numpy without torch.

In: texts and the stored weights of a tower. Out: unit embeddings float32 (n, dimension), equal to those of
`retrieval.towers` up to rounding. Knows nothing of files or of the other tower.

Works in the two stages of `retrieval.towers.bodies`. `project` runs once for each distinct word, and its
result is cached; `compose` runs once for each text, over the projections of its words.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from index.phases import phase
from retrieval.model.bodies import Float32Array, bag, cnn, dnn
from retrieval.model.config import ModelConfig
from retrieval.model.lstm import lstm
from retrieval.model.word_rows import WordRows
from retrieval.text.vocabulary import Lexicon, ragged

_BODIES = {"bag": bag, "dnn": dnn, "cnn": cnn, "lstm": lstm}

# Size of the cache of word projections. When it is larger, it is emptied: a corpus can have more distinct
# words than memory should hold.
_CACHE_BYTES = 32 << 20
# After so many words, which take numpy a second or two, many texts are encoded in compiled loops. To load the
# loops takes a second, to compile them five, once on a machine.
_WORDS_BEFORE_COMPILING = 500_000
# Words encoded together: enough for efficient matrix products, few enough for the processor's cache.
_BATCH_WORDS = 8192


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
        self._body = _BODIES[config.tower](config, body)
        self._compose_one = self._body.compile_one() if compiled and self._body.compile_one else None
        self._words_to_go: float = math.inf  # until the loops for many texts are compiled
        self._projected: Float32Array = np.empty((0, 0), np.float32)
        self._clear_words()

    def expect_many(self) -> None:
        """Compile loops for many texts once it pays, if numba is there.

        The call that compiles them takes seconds longer. Vectors are the same up to rounding.
        """
        self._rows.expect_many()
        if self._body.compile_many is not None:
            self._words_to_go = _WORDS_BEFORE_COMPILING

    def encode(self, texts: Sequence[str]) -> Float32Array:
        """Unit embeddings float32 (n, dimension) of n texts."""
        if self._projected_count * self._projected.itemsize * self._projected.shape[1] > _CACHE_BYTES:
            self._clear_words()
        with phase("tokenise"):
            word_ids = [self._lexicon.word_ids(text, self._word_limit) for text in texts]
        with phase("encode"):
            self._words_to_go -= sum(map(len, word_ids))
            if self._words_to_go < 0:
                self._compile_many()
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
        embeddings = self._body.compose(self._projected, ragged(word_ids))
        embeddings /= np.maximum(np.sqrt(np.einsum("ij,ij->i", embeddings, embeddings)), 1e-12)[:, None]
        return embeddings

    def _compile_many(self) -> None:
        self._words_to_go = math.inf
        compiled = self._body.compile_many() if self._body.compile_many is not None else None
        if compiled is not None:
            self._body = compiled
            self._projected_count, self._compose_one = 0, None  # both belong to other projections

    def _clear_words(self) -> None:
        self._lexicon = Lexicon(self._rows.vocabulary)
        self._projected_count = 0

    def _project_new_words(self) -> None:
        done, total = self._projected_count, len(self._lexicon)
        if done == total:
            return
        projected = self._body.project(self._rows.of(self._lexicon.words_from(done)))
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
