"""Words matched with the words of a query in one compiled loop, where numpy makes forty calls.

In and out: numpy arrays, see `index.interaction.matches`. Importing this module needs numba, and takes half a
second: it is for processes that search many times.

numba keeps the compiled loops on disk until this file changes. Whoever changes `index.prefetch` changes this
too.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from index.interaction.matches import FIELDS, SAME, Float32Array, Matches
from index.prefetch import prefetch

_SAME = np.float32(SAME)
_LEAST = np.float32(-np.inf)
_NONE = -1
_NO_PROBLEM, _BOUNDS, _NUMBER, _NOT_FINITE = range(4)
_PROBLEMS = (
    "",
    "a document with impossible words",
    "a word with an impossible number",
    "a number that is not finite",
)
# The loops take so many numbers together. The words of a query are filled up to whole groups of so many.
_GROUP = 4
# While a word is compared, the one so many places later is fetched: in memory words are far apart.
_AHEAD = 8
# Counts of a word: its weight, its weight times its largest cosine, and its weight if its largest cosine is
# above `SAME`.
_COUNTS = 3


def compiled_matches(
    table: tuple[NDArray[np.int8], Float32Array, Float32Array],
    words: NDArray[np.int32],
    bounds: NDArray[np.int64],
    queries: Float32Array,
) -> Matches:
    """The matches of n documents with m words of a query.

    table: vectors int8 (v, width), scales float32 (v,) and weights float32 (v,) of distinct words.
    words: int32, rows of the table: the words of documents.
    bounds: int64 (n, FIELDS + 1), where the fields of a document begin in `words`, and where the last ends.
    queries: float32 (m, width), contiguous.
    Raises ValueError for impossible bounds and words, and for sums that are not finite.
    """
    m = len(queries)
    lengths = np.empty((len(bounds), FIELDS), np.int64)
    groups = -(-m // _GROUP) * _GROUP
    parts = np.empty((len(bounds), FIELDS, 2 * groups + _GROUP), np.float32)
    problem = _match(*table, words, bounds, queries, lengths, parts)
    if problem != _NO_PROBLEM:
        raise ValueError(_PROBLEMS[problem])
    each = parts.transpose(2, 0, 1)
    return Matches(each[:m], each[groups : groups + m], each[2 * groups : 2 * groups + _COUNTS], lengths)


@njit(error_model="numpy", nogil=True, cache=True)
def _match(
    vectors: Any,
    scales: Any,
    weights: Any,
    words: Any,
    bounds: Any,
    queries: Any,
    lengths: Any,
    parts: Any,
) -> int:
    """Fill in the lengths of the fields and the sums of each field; return a place in `_PROBLEMS`.

    parts: float32 (n, FIELDS, p): largest cosines, sums of powers, sums of counts; each filled up to whole
        groups, with what means nothing.
    """
    total = np.int64(0)
    for document in range(len(bounds)):
        for field in range(FIELDS):
            start, stop = bounds[document, field], bounds[document, field + 1]
            if not 0 <= start <= stop <= len(words):
                return _BOUNDS
            lengths[document, field] = stop - start
            total += stop - start
    if total > len(words):
        return _BOUNDS
    distinct, places = np.empty(total, np.int32), np.empty(total, np.int32)
    count = _number(words, bounds, len(scales), distinct, places)
    if count == _NONE:
        return _NUMBER
    found = np.zeros((count, parts.shape[2]), np.float32)
    _compare(vectors, scales, weights, distinct[:count], queries, found)
    return _NO_PROBLEM if _reduce(found, places, lengths, parts) else _NOT_FINITE


@njit(error_model="numpy", nogil=True, cache=True)
def _number(words: Any, bounds: Any, known: int, distinct: Any, places: Any) -> int:
    """Number the distinct words of the documents, which share many; how many there are.

    known: how many words the table has; for another word the result is -1.
    distinct: filled in: these words.
    places: filled in: the number of each word of each document.
    """
    slots = 16
    while slots < 2 * len(places):
        slots *= 2
    keys, numbers = np.full(slots, _NONE, np.int32), np.empty(slots, np.int32)
    count = done = 0
    for document in range(len(bounds)):
        for at in range(bounds[document, 0], bounds[document, FIELDS]):
            word = words[at]
            if not 0 <= word < known:
                return _NONE
            slot = (word * 0x9E3779B1 >> 7) & (slots - 1)
            while keys[slot] != word and keys[slot] != _NONE:
                slot = (slot + 1) & (slots - 1)
            if keys[slot] == _NONE:
                keys[slot], numbers[slot], distinct[count] = word, count, word
                count += 1
            places[done] = numbers[slot]
            done += 1
    return count


@njit(fastmath=True, error_model="numpy", nogil=True, cache=True)
def _compare(vectors: Any, scales: Any, weights: Any, distinct: Any, queries: Any, found: Any) -> None:
    """Fill in the cosines of distinct words with the words of the query, their fourth powers, and counts.

    found: float32 (distinct words, p), of zeros, laid out as in `_match`.
    """
    m, width = queries.shape
    groups = (found.shape[1] - _GROUP) // 2
    vector = np.empty(width, np.float32)
    for place in range(len(distinct)):
        word = distinct[place]
        if place + _AHEAD < len(distinct):
            next_word = np.int64(distinct[place + _AHEAD])
            prefetch(vectors.ctypes.data + next_word * width)
            prefetch(scales.ctypes.data + next_word * scales.itemsize)
            prefetch(weights.ctypes.data + next_word * weights.itemsize)
        for k in range(width):
            vector[k] = vectors[word, k]
        nearest = _LEAST
        for j in range(m):
            cosine = np.float32(0)
            for k in range(width):
                cosine += vector[k] * queries[j, k]
            cosine *= scales[word]
            nearest = max(nearest, cosine)
            square = max(cosine, np.float32(0)) * cosine
            found[place, j], found[place, groups + j] = cosine, square * square
        counts = found[place, 2 * groups :]
        counts[0], counts[1] = weights[word], weights[word] * nearest
        counts[2] = weights[word] if nearest > _SAME else np.float32(0)


@njit(error_model="numpy", nogil=True, cache=True)
def _reduce(found: Any, places: Any, lengths: Any, parts: Any) -> bool:
    """Fill in the maxima and sums over the words of each field; whether all are finite.

    Four numbers at once stay in registers, where one after the other would wait for the memory.
    found: of distinct words, see `_compare`. places: see `_number`. lengths, parts: see `_match`.
    """
    groups = (found.shape[1] - _GROUP) // 2
    start, finite = np.int64(0), True
    for document in range(len(lengths)):
        for field in range(FIELDS):
            part = parts[document, field]
            if lengths[document, field] == 0:
                part[:] = 0
                continue
            inside = places[start : start + lengths[document, field]]
            start += len(inside)
            for j in range(0, groups, _GROUP):
                a = b = c = d = _LEAST
                for place in inside:
                    a, b = max(a, found[place, j]), max(b, found[place, j + 1])
                    c, d = max(c, found[place, j + 2]), max(d, found[place, j + 3])
                part[j], part[j + 1], part[j + 2], part[j + 3] = a, b, c, d
            for j in range(groups, len(part), _GROUP):
                a = b = c = d = np.float32(0)
                for place in inside:
                    a, b = a + found[place, j], b + found[place, j + 1]
                    c, d = c + found[place, j + 2], d + found[place, j + 3]
                part[j], part[j + 1], part[j + 2], part[j + 3] = a, b, c, d
            for j in range(len(part)):
                finite = finite and np.isfinite(part[j])
    return finite
