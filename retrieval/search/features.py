"""The features by which the candidates of hybrid search are re-scored.

In: candidates with their cosines, BM25 scores and ranks, and the comparison of their words with those of the
query. Out: one row of features for each candidate. Knows nothing of indexes, or of how features are weighed.

The comparison is late interaction. Each word of the query has a best match in a document, the word with the
highest cosine (MaxSim; ColBERT, Khattab and Zaharia 2020); the features are means of these cosines, and of
whether they pass thresholds, over the words of the query by weight. That is a histogram of the matches, as in
DRMM (Guo et al. 2016). The same is computed from the words of the document. Sums of powers of all cosines
count soft matches, as the kernels of K-NRM do (Xiong et al. 2017), at less cost.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from index.interaction.words import Comparison
from index.protocol import WordMatch
from index.values import Mask

Float32Array = NDArray[np.float32]

# Matches of so high a cosine are counted; the highest is reached by hardly any two different words.
_THRESHOLDS = (0.3, 0.5, 0.7, 0.95)
_SAME = _THRESHOLDS[-1]
_LIMITS = np.array(_THRESHOLDS, np.float32)[:, None, None]
# The rank of a candidate that a ranking does not have, as a multiple of the ranking's depth.
_UNRANKED = 1.2

_CANDIDATE = (
    "cosine",
    "cosine below best",
    "BM25",
    "BM25 share of best",
    "dense rank",
    "lexical rank",
    "share of query terms",
    "best cosine",
    "best BM25",
    "best share of query terms",
    "query words",
)
_FIELDS = ("document", "title")
_WORDS = (
    *(f"query in {field}" for field in _FIELDS),
    *(f"query above {threshold} in {field}" for field in _FIELDS for threshold in _THRESHOLDS),
    *(f"soft count in {field}" for field in _FIELDS),
    *(f"{field} in query" for field in _FIELDS),
    *(f"{field} same in query" for field in _FIELDS),
    *(f"{field} words" for field in _FIELDS),
    "least matched in document",
)
NAMES = _CANDIDATE + _WORDS


class Candidates(NamedTuple):
    """The n candidates of a query.

    cosines: float32 (n,), of the embeddings.
    matches: what the candidates have of the query's words.
    dense_ranks, lexical_ranks: int64 (n,), from 0; `depth` or more for a candidate that the ranking lacks.
    depth: of the two rankings.
    """

    cosines: Float32Array
    matches: WordMatch
    dense_ranks: NDArray[np.int64]
    lexical_ranks: NDArray[np.int64]
    depth: int


def features(
    candidates: Candidates,
    comparisons: Iterable[tuple[Mask | slice, Comparison]],
    weights: Float32Array,
) -> Float32Array:
    """The features of n candidates of a query, float32 (n, len(NAMES)).

    candidates: the candidates.
    comparisons: which of them, and their words compared with the m distinct words of the query.
    weights: float32 (m,), of the query's words.
    """
    table = np.zeros((len(candidates.cosines), len(NAMES)), np.float32)
    split = len(_CANDIDATE)
    table[:, :split] = _candidate_features(candidates, len(weights))
    shares = weights / max(float(weights.sum()), 1e-12)
    for inside, comparison in comparisons:
        table[inside, split:] = _word_features(comparison, shares)
    return table


def _candidate_features(candidates: Candidates, words: int) -> Float32Array:
    cosines, scores = candidates.cosines, candidates.matches.scores
    best_cosine, best_score = float(cosines.max()), float(scores.max())
    columns = np.empty((len(_CANDIDATE), len(cosines)), np.float32)
    columns[0] = cosines
    columns[1] = cosines - best_cosine
    columns[2] = scores
    columns[3] = scores / max(best_score, 1e-6)
    columns[4] = _log_rank(candidates.dense_ranks, candidates.depth)
    columns[5] = _log_rank(candidates.lexical_ranks, candidates.depth)
    columns[6] = candidates.matches.shares
    columns[7] = best_cosine
    columns[8] = math.log1p(best_score)
    columns[9] = candidates.matches.shares.max()
    columns[10] = math.log1p(words)
    return columns.T


def _log_rank(ranks: NDArray[np.int64], depth: int) -> NDArray[np.float64]:
    return np.log1p(np.where(ranks < depth, ranks, _UNRANKED * depth))


def _word_features(comparison: Comparison, shares: Float32Array) -> Float32Array:
    """The features of the documents of a comparison, float32 (n, len(_WORDS))."""
    cosines, weights, places, lengths = comparison
    fields = _Fields(places, lengths)
    count, words = len(lengths), len(shares)
    matches = fields.largest(cosines)  # (n, 2, m): title, text
    best = np.stack((np.maximum(matches[:, 0], matches[:, 1]), matches[:, 0]))  # (2, n, m): document, title
    nearest = np.ascontiguousarray(cosines.T).max(axis=0)  # ten times as fast as along short rows
    summed = np.empty((len(cosines), words + 3), np.float32)
    powers = np.maximum(cosines, 0)
    powers *= powers
    np.multiply(powers, powers, out=summed[:, :words])
    summed[:, words] = weights
    np.multiply(weights, nearest, out=summed[:, words + 1])
    np.multiply(weights, nearest > _SAME, out=summed[:, words + 2])
    sums = fields.sums(summed)
    sums[:, 1] += sums[:, 0]
    of_both = sums[:, ::-1].transpose(1, 0, 2)  # (2, n, m + 3): document, title
    above = (best[:, None] > _LIMITS).astype(np.float32)  # (2, thresholds, n, m)
    total = np.maximum(of_both[:, :, words], 1e-6)
    return np.concatenate(
        (
            best @ shares,
            (above @ shares).reshape(-1, count),
            np.log(of_both[:, :, :words] + np.float32(0.01)) @ shares,
            of_both[:, :, words + 1] / total,
            of_both[:, :, words + 2] / total,
            np.log1p(np.stack((lengths.sum(axis=1), lengths[:, 0]))),
            best[:1].min(axis=2),
        ),
        dtype=np.float32,
        casting="same_kind",
    ).T


class _Fields:
    """The fields of n documents as runs of words; an empty field has maximum and sum 0."""

    def __init__(self, places: NDArray[np.integer], lengths: NDArray[np.int64]) -> None:
        self._places = places
        self._count = len(lengths)
        flat = lengths.ravel()
        self._filled = np.flatnonzero(flat)
        self._starts = (np.cumsum(flat) - flat)[self._filled]

    def largest(self, values: Float32Array) -> Float32Array:
        """The maximum over the words of each field, (n, 2, c). values: (v, c), of distinct words."""
        return self._reduced(np.maximum, values)

    def sums(self, values: Float32Array) -> Float32Array:
        """The sum over the words of each field, (n, 2, c). values: (v, c), of distinct words."""
        return self._reduced(np.add, values)

    def _reduced(self, function: np.ufunc, values: Float32Array) -> Float32Array:
        reduced = np.zeros((2 * self._count, values.shape[1]), np.float32)
        if len(self._filled):
            reduced[self._filled] = function.reduceat(values.take(self._places, axis=0), self._starts, axis=0)
        return reduced.reshape(self._count, 2, -1)
