"""Candidates of hybrid search, the features of their words and their order in compiled loops.

In and out: numpy arrays, see `retrieval.search.features`, `retrieval.search.merging` and
`retrieval.search.ordering`, which make eighty calls of numpy. Importing this module needs numba, and takes
half a second: it is for processes that search many times.

numba keeps the compiled loops on disk until this file changes. Whoever changes `retrieval.model.compiled`
changes this too.

The loops keep the interpreter's lock. They take so little time that two threads would lose more by giving it
away and waiting for it again.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from index.interaction.matches import Matches
from index.lexical.bm25 import WordMatch
from index.ranking import Ranking
from index.values import Rows
from retrieval.model.calibration import ModeCalibration
from retrieval.model.compiled import compiled_scores
from retrieval.model.rescoring import Rescorer
from retrieval.search.evidence import LEAST_COSINE, MOST_COSINE
from retrieval.search.features import (
    FIELDS,
    NAMES,
    NO_MATCH,
    OF_WORDS,
    THRESHOLDS,
    UNRANKED,
    Candidates,
    Float32Array,
)
from retrieval.search.found import Known
from retrieval.search.merging import Merged
from retrieval.search.ordering import Compared

# Sums may be taken in any order; "fast" would also allow to assume that nothing is NaN.
_FLAGS = {"reassoc", "contract"}
_LN2 = math.log(2)

_LIMITS = np.array(THRESHOLDS, np.float32)
_NO_MATCH = np.float32(NO_MATCH)
_FIELDS, _THRESHOLDS = len(FIELDS), len(THRESHOLDS)
# Where the features of each kind begin, in the order of `retrieval.search.features`.
_ABOVE = _FIELDS
_SOFT = _ABOVE + _FIELDS * _THRESHOLDS
_NEAR = _SOFT + _FIELDS
_SAME = _NEAR + _FIELDS
_WORDS = _SAME + _FIELDS
_LEAST = _WORDS + 2


def compile_all(rescorer: Rescorer) -> None:
    """Compile, or read what was compiled, before the first search."""
    one = np.ones((1, len(FIELDS), 4), np.float32).transpose(2, 0, 1)  # laid out as `compiled_matches` does
    rows, scores = np.zeros(1, np.int64), np.ones(1, np.float32)
    lengths = np.ones((1, len(FIELDS)), np.int64)
    compiled_word_features(Matches(one[:1], one[:1], one[:3], lengths), scores)
    ranking = Ranking(scores[None], rows[None])
    compiled_merged(ranking, ranking, 1, 0.5)
    candidates = Candidates(scores, WordMatch(scores, scores, 1.0, 1), rows, rows, 1)
    table = np.zeros((1, len(NAMES)), np.float32)
    compiled_order(rescorer.transposed(), Compared(rows, candidates, 1, table), rows.copy(), scores.copy())
    known = Known(rows, scores, candidates.matches)
    compiled_probabilities(ModeCalibration((0.0,) * 7, (0.0,) * 9), known, rows)


def compiled_merged(dense: Ranking, lexical: Ranking, most: int, dense_share: float) -> Merged:
    """Does the same as `retrieval.search.merging.merged`."""
    size = dense.rows.shape[1] + lexical.rows.shape[1]
    rows, ranks = np.empty(size, np.int64), np.empty((2, size), np.int64)
    cosines, others = np.empty(size, np.float32), np.empty(size, bool)
    found = _merge(
        *(dense.rows[0], dense.scores[0], lexical.rows[0], lexical.scores[0]),
        *(most, dense_share, rows, cosines, others, ranks),
    )
    return Merged(rows[:found], cosines[:found], others[:found], ranks[0, :found], ranks[1, :found])


def compiled_word_features(matches: Matches, shares: Float32Array) -> Float32Array:
    """Does the same as `retrieval.search.features.word_features`."""
    table = np.zeros((len(matches.lengths), OF_WORDS), np.float32)
    _fill(*matches, shares, table)
    return table


def compiled_order(rescorer: Rescorer, compared: Compared, rows: Rows, scores: Float32Array) -> None:
    """Does the same as `retrieval.search.ordering.order`. rescorer: transposed."""
    cosines, matches, dense_ranks, lexical_ranks, depth = compared.candidates
    _order(
        cosines,
        matches.scores,
        matches.shares,
        dense_ranks,
        lexical_ranks,
        depth,
        compared.words,
        compared.table,
        *(rescorer.hidden, rescorer.hidden_bias, rescorer.output, rescorer.linear),
        compared.rows,
        rows,
        scores,
    )


def compiled_probabilities(fitted: ModeCalibration, known: Known, rows: Rows) -> Float32Array | None:
    """Does the same as `retrieval.search.evidence.probabilities_of_known`."""
    matches = known.matches
    likely = np.empty(len(rows), np.float32)
    are_known = _weigh(
        *(known.rows, known.cosines, matches.scores, matches.shares, matches.weight, matches.words),
        *(rows, fitted.first, fitted.further, likely),
    )
    return likely if are_known else None


@njit(error_model="numpy", cache=True)
def _weigh(
    known: Any,
    cosines: Any,
    scores: Any,
    shares: Any,
    weight: float,
    words: int,
    rows: Any,
    first: Any,
    further: Any,
    likely: Any,
) -> bool:
    """Fill in the probabilities of hits, and return whether all of them are known."""
    best_cosine = best_bm25 = 0.0
    of_words = math.log(max(1, words))
    for rank in range(len(rows)):
        at = np.searchsorted(known, rows[rank])
        if at == len(known) or known[at] != rows[rank]:
            return False
        cosine, bm25 = float(cosines[at]), scores[at] / weight
        between = min(max(cosine, LEAST_COSINE), MOST_COSINE)
        weights = first if rank == 0 else further[:7]
        odds = weights[0] + weights[1] * cosine + weights[2] * bm25 + weights[3] * shares[at]
        odds += weights[4] * of_words + weights[5] * math.log(between / (1 - between))
        odds += weights[6] if shares[at] > 0 else 0.0
        if rank == 0:
            best_cosine, best_bm25 = cosine, bm25
        else:
            odds += further[7] * (cosine - best_cosine) + further[8] * (bm25 - best_bm25)
        likely[rank] = math.tanh(odds / 2) / 2 + 0.5
    return True


@njit(error_model="numpy", cache=True)
def _order(
    cosines: Any,
    bm25: Any,
    shares: Any,
    dense_ranks: Any,
    lexical_ranks: Any,
    depth: int,
    words: int,
    table: Any,
    hidden: Any,
    hidden_bias: Any,
    output: Any,
    linear: Any,
    candidates: Any,
    rows: Any,
    scores: Any,
) -> None:
    """Fill in the rest of the table, then the rows of the candidates, best first, and their scores."""
    best_cosine, best_score, best_share = cosines.max(), bm25.max(), shares.max()
    of_score, of_words = math.log1p(best_score), math.log1p(words)
    for at in range(len(table)):
        row = table[at]
        row[0] = cosines[at]
        row[1] = cosines[at] - best_cosine
        row[2] = bm25[at]
        row[3] = bm25[at] / max(best_score, np.float32(1e-6))
        row[4] = math.log1p(dense_ranks[at] if dense_ranks[at] < depth else UNRANKED * depth)
        row[5] = math.log1p(lexical_ranks[at] if lexical_ranks[at] < depth else UNRANKED * depth)
        row[6] = shares[at]
        row[7] = best_cosine
        row[8] = of_score
        row[9] = best_share
        row[10] = of_words
    found = np.empty(len(table), np.float32)
    compiled_scores(table, hidden, hidden_bias, output, linear, found)
    best = np.argsort(-found, kind="mergesort")  # stable
    highest, lowest = found[best[0]], found[best[-1]]
    for place in range(len(best)):
        at = best[place]
        rows[place] = candidates[at]
        scores[place] = (found[at] - lowest) / (highest - lowest) if highest > lowest else np.float32(1)


@njit(error_model="numpy", cache=True)
def _fill(best: Any, soft: Any, counts: Any, lengths: Any, shares: Any, table: Any) -> None:
    """Add the features of n documents to a table of zeros.

    best, soft, counts, lengths: of `Matches`.
    """
    logs = np.empty(len(table) * len(shares) * _FIELDS, np.float32)
    at = 0
    for document in range(len(table)):
        for word in range(len(shares)):
            title, text, known = soft[word, document, 0], soft[word, document, 1], soft[word, document, 2]
            logs[at] = title + text + (known if lengths[document, 2] > 0 else np.float32(0)) + _NO_MATCH
            logs[at + 1], logs[at + 2] = title + _NO_MATCH, known + _NO_MATCH
            at += _FIELDS
    _log(logs)
    values = np.empty(_FIELDS, np.float32)
    at = 0
    for document in range(len(table)):
        row = table[document]
        asked = lengths[document, 2] > 0
        least = np.float32(np.inf)
        for word in range(len(shares)):
            share = shares[word]
            title, text, known = best[word, document, 0], best[word, document, 1], best[word, document, 2]
            values[0], values[1], values[2] = max(title, text), title, known
            if asked:
                values[0] = max(values[0], known)
            least = min(least, values[0])
            for field in range(_FIELDS):
                row[field] += share * values[field]
                row[_SOFT + field] += share * logs[at]
                at += 1
                for limit in range(_THRESHOLDS):
                    if values[field] > _LIMITS[limit]:
                        row[_ABOVE + field * _THRESHOLDS + limit] += share
        for field in range(_FIELDS):
            first = 2 if field == 2 else 0
            last = 2 if field == 0 else first + 1
            weight = near = same = np.float32(0)
            for one in range(first, last):
                weight += counts[0, document, one]
                near += counts[1, document, one]
                same += counts[2, document, one]
            weight = max(weight, np.float32(1e-6))
            row[_NEAR + field] = near / weight
            row[_SAME + field] = same / weight
        row[_WORDS] = math.log1p(lengths[document, 0] + lengths[document, 1])
        row[_WORDS + 1] = math.log1p(lengths[document, 0])
        row[_LEAST] = least


@njit(error_model="numpy", fastmath=_FLAGS, cache=True)
def _log(values: Any) -> None:
    """Replace positive float32 numbers by their natural logarithms, exact to 1e-8 before they are rounded.

    The logarithm of a number 2^e x, with x from 1 to 2, is e ln 2 + 2 artanh((x - 1) / (x + 1)), by seven
    terms of the series of artanh.
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


@njit(error_model="numpy", cache=True)
def _merge(
    near: Any,
    near_scores: Any,
    matching: Any,
    matching_scores: Any,
    most: int,
    dense_share: float,
    rows: Any,
    cosines: Any,
    others: Any,
    ranks: Any,
) -> int:
    """Fill in the fields of `Merged`, and return how many documents there are."""
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
    fused = np.zeros(found, np.float64)
    for which, listed in enumerate((near, matching)):
        scores = near_scores if which == 0 else matching_scores
        share = dense_share if which == 0 else 1 - dense_share
        last = spread = np.float32(0)
        for rank in range(len(listed)):
            if listed[rank] >= 0:
                last = scores[rank]
                spread = scores[0] - last
        for rank in range(len(listed)):
            if listed[rank] >= 0:
                at = np.searchsorted(rows[:found], listed[rank])
                ranks[which, at] = rank
                fused[at] += share * ((scores[rank] - last) / spread if spread > 0 else np.float32(1))
                if which == 0:
                    cosines[at] = scores[rank]
                    others[at] = False
    if found <= most:
        return found
    likeliest = np.argsort(-fused.astype(np.float32), kind="mergesort")[:most]  # stable
    likeliest.sort()
    for place in range(most):
        at = likeliest[place]  # never before its new place
        rows[place], cosines[place], others[place] = rows[at], cosines[at], others[at]
        ranks[0, place], ranks[1, place] = ranks[0, at], ranks[1, at]
    return most
