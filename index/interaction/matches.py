"""What the words of documents have in common with the words of a query: maxima and sums over each field.

In: the cosines of words of documents with words of a query. Out: `Matches`. Each word of the query has a best
match in a field, the word with the highest cosine (MaxSim; ColBERT, Khattab and Zaharia 2020). Sums of powers
of all cosines count soft matches, as the kernels of K-NRM do (Xiong et al. 2017), at less cost. Knows nothing
of files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Float32Array: TypeAlias = "NDArray[np.float32]"

# Fields of a document: its title, its text and the queries that it is known to answer.
FIELDS = 3
# Hardly any two different words have so high a cosine.
SAME = 0.95


class Comparison(NamedTuple):
    """The words of n documents compared with m words of a query.

    cosines: float32 (v, m), of distinct words of the documents.
    weights: float32 (v,), how much each of these counts.
    places: int (total,), the words of each document, field by field, as rows of `cosines`.
    lengths: int64 (n, FIELDS), how many words each field has.
    """

    cosines: Float32Array
    weights: Float32Array
    places: NDArray[np.integer[Any]]
    lengths: NDArray[np.int64]


class Matches(NamedTuple):
    """How well m words of a query match the words of each field of n documents; 0 for a field without words.

    best: float32 (m, n, FIELDS), the largest cosine of each query word.
    soft: float32 (m, n, FIELDS), the sum of the fourth powers of the positive cosines of each query word.
    counts: float32 (3, n, FIELDS), sums over the words of a field: of their weights, of weight times largest
        cosine with a query word, and of the weights of those whose largest cosine is above `SAME`.
    lengths: int64 (n, FIELDS), how many words a field has.
    """

    best: Float32Array
    soft: Float32Array
    counts: Float32Array
    lengths: NDArray[np.int64]


def matches_of(comparison: Comparison) -> Matches:
    """The matches of compared words.

    Arrays have one line for each word of the query, so that numpy works along long lines.
    """
    cosines, weighed = _of_each_word(comparison)
    powers = np.maximum(cosines, 0)
    powers *= powers
    powers *= powers
    lengths = comparison.lengths
    flat = lengths.ravel()
    filled = np.flatnonzero(flat)
    starts = (np.cumsum(flat) - flat)[filled]

    def reduced(function: np.ufunc, values: Float32Array) -> Float32Array:
        runs = np.zeros((len(values), len(flat)), np.float32)
        if len(filled):
            runs[:, filled] = function.reduceat(values, starts, axis=1)
        return runs.reshape(len(values), *lengths.shape)

    return Matches(reduced(np.maximum, cosines), reduced(np.add, powers), reduced(np.add, weighed), lengths)


def _of_each_word(comparison: Comparison) -> tuple[Float32Array, Float32Array]:
    """For each word of the documents its cosines, (m, total), and what it adds to `counts`, (3, total)."""
    of_query = np.ascontiguousarray(comparison.cosines.T)
    nearest = of_query.max(axis=0)
    weights = comparison.weights
    values = np.concatenate((of_query, (weights, weights * nearest, weights * (nearest > SAME))))
    if not np.array_equal(comparison.places, np.arange(len(nearest))):
        # Words are compared once that several documents have, in the order of their numbers.
        # Three times as fast as `take` along lines.
        values = np.ascontiguousarray(values.T.copy().take(comparison.places, axis=0).T)
    return values[:-3], values[-3:]
