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
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from index.interaction.matches import SAME, Matches
from index.lexical.bm25 import WordMatch
from index.values import Mask

if TYPE_CHECKING:
    from numpy.typing import NDArray

Float32Array: TypeAlias = "NDArray[np.float32]"

# Matches above each of these cosines are counted. Hardly any two different words reach the highest.
THRESHOLDS = (0.3, 0.5, 0.7, SAME)
_LIMITS = np.array(THRESHOLDS, np.float32)[:, None]
# What is added to a soft count before its logarithm is taken.
NO_MATCH = 0.01
# A candidate that is in only one of the two rankings gets this rank in the other one, as a multiple of the
# depth.
UNRANKED = 1.2

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
# How much of the query is in a document: there the document is its title, text and known queries. How much of
# a document is in the query: there it is its title and text.
_QUERIES = "known queries"
FIELDS = ("document", "title", _QUERIES)
_WORDS = (
    *(f"query in {field}" for field in FIELDS),
    *(f"query above {threshold} in {field}" for field in FIELDS for threshold in THRESHOLDS),
    *(f"soft count in {field}" for field in FIELDS),
    *(f"{field} in query" for field in FIELDS),
    *(f"{field} same in query" for field in FIELDS),
    # Not of the known queries: how many a document has depends on how the data were split.
    *(f"{field} words" for field in ("document", "title")),
    "least matched in document",
)
NAMES = _CANDIDATE + _WORDS
# How many of the features candidates have, and how many their words.
OF_CANDIDATES, OF_WORDS = len(_CANDIDATE), len(_WORDS)
# The features of a model that reads no known queries, bool (len(NAMES),).
OF_TITLE_AND_TEXT: Mask = np.array([_QUERIES not in name for name in NAMES])


# A function with the parameters and the result of `word_features`.
OfWords: TypeAlias = "Callable[[Matches, Float32Array], Float32Array]"


class Candidates(NamedTuple):
    """The n candidates of a query.

    cosines: float32 (n,), of the embeddings.
    matches: which of the query's words are in the candidates, by BM25.
    dense_ranks, lexical_ranks: int64 (n,), from 0; `depth` or more for a candidate that the ranking lacks.
    depth: of the two rankings.
    """

    cosines: Float32Array
    matches: WordMatch
    dense_ranks: NDArray[np.int64]
    lexical_ranks: NDArray[np.int64]
    depth: int


def features_of_words(
    count: int,
    matches: Iterable[tuple[Mask | slice, Matches]],
    weights: Float32Array,
    of_words: OfWords,
) -> Float32Array:
    """The features of n candidates of a query that follow from their words, float32 (n, len(NAMES)).

    The others are 0, see `add_candidate_features`.

    count: n.
    matches: which of the candidates, and their words matched with the m distinct words of the query.
    weights: float32 (m,), of the query's words.
    of_words: `word_features`, or a function that does the same faster.
    """
    table = np.zeros((count, len(NAMES)), np.float32)
    shares = shares_of(weights)
    for inside, matched in matches:
        table[inside, OF_CANDIDATES:] = of_words(matched, shares)
    return table


def shares_of(weights: Float32Array) -> Float32Array:
    """The share of each of m words in the weight of all, float32 (m,); 0 if no word weighs anything."""
    return weights / max(float(weights.sum()), 1e-12)


def add_candidate_features(table: Float32Array, candidates: Candidates, words: int) -> None:
    """Fill in the features that do not follow from words. words: how many distinct ones the query has."""
    cosines, scores = candidates.cosines, candidates.matches.scores
    best_cosine, best_score = float(cosines.max()), float(scores.max())
    columns = np.empty((OF_CANDIDATES, len(cosines)), np.float32)
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
    table[:, :OF_CANDIDATES] = columns.T


def _log_rank(ranks: NDArray[np.int64], depth: int) -> NDArray[np.float64]:
    return np.log1p(np.where(ranks < depth, ranks, UNRANKED * depth))


def word_features(matches: Matches, shares: Float32Array) -> Float32Array:
    """The features of n documents that follow from their words, float32 (n, features of words).

    matches: the words of the documents matched with the m words of the query.
    shares: float32 (m,), the share of each word of the query in the weight of all.
    """
    words, count = matches.best.shape[:2]
    asked = matches.lengths[:, -1] > 0
    best = _of_fields(np.maximum, matches.best, asked)
    soft = _of_fields(np.add, matches.soft, asked)
    weight, near, same = _of_fields(np.add, matches.counts)
    lengths = _of_fields(np.add, matches.lengths[None])[:, :-1]
    above = best[:, :, None] > _LIMITS  # (m, fields, thresholds, n)
    total = np.maximum(weight, 1e-6)
    table = np.concatenate(
        (
            shares @ best.reshape(words, -1),
            shares @ above.reshape(words, -1).astype(np.float32),
            shares @ np.log(soft.reshape(words, -1) + np.float32(NO_MATCH)),
            (near / total).ravel(),
            (same / total).ravel(),
            np.log1p(lengths, dtype=np.float32).ravel(),
            best[:, 0].min(axis=0),
        )
    )
    return table.reshape(-1, count).T


def _of_fields(function: np.ufunc, fields: NDArray[Any], asked: Mask | None = None) -> NDArray[Any]:
    """Values of whole documents, of their titles and of their known queries, (c, len(FIELDS), n).

    function: makes one value of those of two fields, such as their sum.
    fields: (c, n, FIELDS), values of title, text and known queries.
    asked: which documents have known queries, bool (n,). It is given where known queries are part of the
        document.
    """
    title, text, queries = fields.transpose(2, 0, 1)
    document = function(title, text)
    if asked is not None and asked.any():
        function(document, queries, out=document, where=asked)
    return np.stack((document, title, queries), axis=1)
