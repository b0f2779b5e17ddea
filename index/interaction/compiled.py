"""Words matched with the words of a query in one compiled loop, where numpy makes forty calls.

In and out: numpy arrays, see `index.interaction.matches`. Importing this module needs numba, and takes half a
second: it is for processes that search many times.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from index.interaction.matches import FIELDS, SAME, Float32Array, Matches

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
    Raises ValueError for bounds, words and sums that cannot be.
    """
    m = len(queries)
    lengths = np.empty((len(bounds), FIELDS), np.int64)
    parts = np.empty((2 * m + 3, len(bounds), FIELDS), np.float32)
    problem = _checked_match(*table, words, bounds, queries, lengths, parts)
    if problem != _NO_PROBLEM:
        raise ValueError(_PROBLEMS[problem])
    return Matches(parts[:m], parts[m : 2 * m], parts[2 * m :], lengths)


@njit(error_model="numpy", nogil=True, cache=True)
def _checked_match(
    vectors: Any,
    scales: Any,
    weights: Any,
    words: Any,
    bounds: Any,
    queries: Any,
    lengths: Any,
    parts: Any,
) -> int:
    """Fill in the lengths of the fields and the parts of the matches; which problem there is.

    Not "fast" itself, or it could not tell what is finite.
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
    runs = np.zeros((lengths.size, len(parts)), np.float32)
    found = np.empty((total, len(parts)), np.float32)
    if not _match(vectors, scales, weights, words, bounds, queries, found, runs):
        return _NUMBER
    for run in range(len(runs)):
        for part in range(len(parts)):
            value = runs[run, part]
            if not np.isfinite(value):
                return _NOT_FINITE
            parts[part, run // FIELDS, run % FIELDS] = value
    return _NO_PROBLEM


@njit(fastmath=True, error_model="numpy", nogil=True, cache=True)
def _match(
    vectors: Any, scales: Any, weights: Any, words: Any, bounds: Any, queries: Any, found: Any, runs: Any
) -> bool:
    """Add to each field's run what each of its words has; whether all words are in the table.

    found: (total, 2m + 3), for what is computed of each distinct word: its cosines, their fourth powers, and
        its three counts.
    runs: (n FIELDS, 2m + 3), of zeros: the largest cosines, sums of powers, sums of counts.
    """
    m, width = queries.shape
    # A table of the distinct words so far: documents of one query share many.
    slots = 16
    while slots < 2 * len(found):
        slots *= 2
    keys = np.full(slots, _NONE, np.int32)
    places = np.empty(slots, np.int32)
    vector = np.empty(width, np.float32)
    count = 0
    for field in range(len(runs)):
        run = runs[field]
        start, stop = bounds[field // FIELDS, field % FIELDS], bounds[field // FIELDS, field % FIELDS + 1]
        if stop > start:
            run[:m] = _LEAST
        for at in range(start, stop):
            word = words[at]
            if not 0 <= word < len(scales):
                return False
            slot = (word * 0x9E3779B1 >> 7) & (slots - 1)
            while keys[slot] != word and keys[slot] != _NONE:
                slot = (slot + 1) & (slots - 1)
            if keys[slot] == _NONE:
                keys[slot], places[slot] = word, count
                for k in range(width):
                    vector[k] = vectors[word, k]
                of_word, nearest = found[count], _LEAST
                for j in range(m):
                    cosine = np.float32(0)
                    for k in range(width):
                        cosine += vector[k] * queries[j, k]
                    cosine *= scales[word]
                    of_word[j] = cosine
                    nearest = max(nearest, cosine)
                    square = max(cosine, np.float32(0)) * cosine
                    of_word[m + j] = square * square
                of_word[2 * m] = weights[word]
                of_word[2 * m + 1] = weights[word] * nearest
                of_word[2 * m + 2] = weights[word] if nearest > _SAME else np.float32(0)
                count += 1
            of_word = found[places[slot]]
            for j in range(m):
                run[j] = max(run[j], of_word[j])
            for j in range(m, 2 * m + 3):
                run[j] += of_word[j]
    return True
