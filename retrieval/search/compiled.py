"""Candidates of hybrid search and their features in compiled loops, where numpy makes eighty small calls.

In and out: numpy arrays, see `retrieval.search.features` and `retrieval.search.rescoring`. Importing this
module needs numba, and takes half a second: it is for processes that search many times.

The loops keep the interpreter's lock: they take so little time that giving it away and waiting for it again
would cost two threads more.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numba import njit

from index.interaction.matches import FIELDS, Matches
from index.protocol import WordMatch
from index.ranking import Ranking
from index.values import Mask
from retrieval.search.features import LIMITS, NAMES, SPLIT, UNRANKED, Candidates, Float32Array
from retrieval.search.merging import Merged

# Sums may be taken in any order; "fast" would also allow to assume that nothing is NaN.
_FLAGS = {"reassoc", "contract"}
_LEAST_SOFT = np.float32(0.01)
_LN2 = math.log(2)


def compile_all() -> None:
    """Compile, or read what was compiled, before the first search."""
    one, zero = np.ones((1, 1), np.float32), np.zeros((1, 1), np.int64)
    rows, cosines, _, *ranks = compiled_merged(Ranking(one, zero), Ranking(one, zero))
    fields = np.ones((3, len(rows), FIELDS), np.float32)
    matches = Matches(fields[:1], fields[:1], fields, np.ones((len(rows), FIELDS), np.int64))
    found = WordMatch(one[0], one[0], 1.0, 1)
    compiled_features(Candidates(cosines, found, *ranks, 1), [(slice(None), matches)], one[0])


def compiled_merged(dense: Ranking, lexical: Ranking) -> Merged:
    """What `retrieval.search.merging.merged` gives."""
    size = dense.rows.shape[1] + lexical.rows.shape[1]
    rows, ranks = np.empty(size, np.int64), np.empty((2, size), np.int64)
    cosines, others = np.empty(size, np.float32), np.empty(size, bool)
    found = _merge(dense.rows[0], dense.scores[0], lexical.rows[0], rows, cosines, others, ranks)
    return Merged(rows[:found], cosines[:found], others[:found], ranks[0, :found], ranks[1, :found])


def compiled_features(
    candidates: Candidates,
    matches: Iterable[tuple[Mask | slice, Matches]],
    weights: Float32Array,
) -> Float32Array:
    """What `retrieval.search.features.features` gives, up to rounding."""
    count = len(candidates.cosines)
    table = np.zeros((count, len(NAMES)), np.float32)
    cosines, (scores, of_terms, *_), *ranks, depth = candidates
    _of_candidates(cosines, scores, of_terms, *ranks, depth, len(weights), table)
    shares = weights / max(float(weights.sum()), 1e-12)
    every = np.arange(count)
    for inside, (best, soft, counts, lengths) in matches:
        _of_words(best, soft, counts, lengths, shares, every[inside], table)
    return table


@njit(error_model="numpy", cache=True)
def _merge(
    near: Any,
    scores: Any,
    matching: Any,
    rows: Any,
    cosines: Any,
    others: Any,
    ranks: Any,
) -> int:
    """Fill in the fields of `Merged`; how many documents there are."""
    filled = 0
    for listed in (near, matching):
        for row in listed:
            if row >= 0:
                rows[filled] = row
                filled += 1
    rows[:filled].sort()
    found = 0
    for at in range(filled):
        if at == 0 or rows[at] != rows[at - 1]:
            rows[found] = rows[at]
            found += 1
    others[:found] = True
    ranks[0, :found] = len(near)
    ranks[1, :found] = len(matching)
    for which, listed in enumerate((near, matching)):
        for rank in range(len(listed)):
            if listed[rank] >= 0:
                at = np.searchsorted(rows[:found], listed[rank])
                ranks[which, at] = rank
                if which == 0:
                    cosines[at] = scores[rank]
                    others[at] = False
    return found


@njit(error_model="numpy", cache=True)
def _of_candidates(
    cosines: Any,
    scores: Any,
    shares: Any,
    dense_ranks: Any,
    lexical_ranks: Any,
    depth: int,
    words: int,
    table: Any,
) -> None:
    """Fill in the features of the candidates themselves, in the order of their names."""
    best_cosine, best_score, best_share = cosines.max(), scores.max(), shares.max()
    of_ranks = np.empty(depth + 1, np.float32)
    for rank in range(depth):
        of_ranks[rank] = math.log1p(rank)
    of_ranks[depth] = math.log1p(UNRANKED * depth)
    for at in range(len(cosines)):
        row = table[at]
        row[0] = cosines[at]
        row[1] = cosines[at] - best_cosine
        row[2] = scores[at]
        row[3] = scores[at] / max(best_score, np.float32(1e-6))
        row[4] = of_ranks[min(dense_ranks[at], depth)]
        row[5] = of_ranks[min(lexical_ranks[at], depth)]
        row[6] = shares[at]
        row[7] = best_cosine
        row[8] = math.log1p(best_score)
        row[9] = best_share
        row[10] = math.log1p(words)


@njit(error_model="numpy", fastmath=_FLAGS, cache=True)
def _of_words(
    best: Any,
    soft: Any,
    counts: Any,
    lengths: Any,
    shares: Any,
    places: Any,
    table: Any,
) -> None:
    """Fill in the features of the words of some candidates, in the order of their names.

    best, soft, counts, lengths: of the matches of n documents.
    shares: float32 (m,), the weights of the query's words over their sum.
    places: int64 (n,), the rows of these documents in the table.
    """
    words, documents = best.shape[:2]
    limits = LIMITS.size
    logs = np.empty(documents * words * 3, np.float32)
    at = 0
    for document in range(documents):
        asked = lengths[document, 2] > 0
        for word in range(words):
            title, text, queries = soft[word, document, 0], soft[word, document, 1], soft[word, document, 2]
            logs[at] = title + text + (queries if asked else np.float32(0)) + _LEAST_SOFT
            logs[at + 1] = title + _LEAST_SOFT
            logs[at + 2] = queries + _LEAST_SOFT
            at += 3
    _log(logs)
    values = np.empty(3, np.float32)
    at = 0
    for document in range(documents):
        row = table[places[document], SPLIT:]
        of_limits, of_soft, of_counts = row[3:], row[3 + 3 * limits :], row[6 + 3 * limits :]
        asked = lengths[document, 2] > 0
        least = np.float32(np.inf)
        for word in range(words):
            title, text, queries = best[word, document, 0], best[word, document, 1], best[word, document, 2]
            values[0] = max(title, text)
            if asked:
                values[0] = max(values[0], queries)
            values[1], values[2] = title, queries
            least = min(least, values[0])
            share = shares[word]
            for field in range(3):
                row[field] += share * values[field]
                of_soft[field] += share * logs[at]
                at += 1
                for limit in range(limits):
                    if values[field] > LIMITS[limit, 0]:
                        of_limits[field * limits + limit] += share
        for kind in range(1, 3):
            for field in range(3):
                weight, count = counts[0, document, field], counts[kind, document, field]
                if field == 0:
                    weight, count = _of_two(counts[0, document]), _of_two(counts[kind, document])
                elif field == 1:
                    weight, count = counts[0, document, 0], counts[kind, document, 0]
                of_counts[(kind - 1) * 3 + field] = count / max(weight, np.float32(1e-6))
        of_counts[6] = math.log1p(lengths[document, 0] + lengths[document, 1])
        of_counts[7] = math.log1p(lengths[document, 0])
        of_counts[8] = least


@njit(error_model="numpy", cache=True)
def _of_two(fields: Any) -> Any:
    """What title and text have together."""
    return fields[0] + fields[1]


@njit(error_model="numpy", fastmath=_FLAGS, cache=True)
def _log(values: Any) -> None:
    """The natural logarithm of positive float32 numbers, in place, to 1e-8 before it is rounded.

    Of a number 2^e x, with x from 1 to 2, it is e ln 2 + 2 artanh((x - 1) / (x + 1)), by seven terms of the
    series of artanh.
    """
    bits = values.view(np.int32)
    exponents = np.empty(len(values), np.int32)
    for at in range(len(values)):
        exponents[at] = (bits[at] >> np.int32(23)) - np.int32(127)
        bits[at] = (bits[at] & np.int32(0x7FFFFF)) | np.int32(0x3F800000)
    for at in range(len(values)):
        x = np.float64(values[at])
        t = (x - 1) / (x + 1)
        u = t * t
        series = 1 + u * (1 / 3 + u * (1 / 5 + u * (1 / 7 + u * (1 / 9 + u * (1 / 11 + u / 13)))))
        values[at] = np.float32(exponents[at] * _LN2 + 2 * t * series)
