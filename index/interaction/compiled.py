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
    lengths = bounds[:, 1:] - bounds[:, :-1]
    total = int(lengths.sum())
    if (
        lengths.min(initial=0) < 0
        or bounds.min(initial=0) < 0
        or max(bounds.max(initial=0), total) > len(words)
    ):
        raise ValueError("a document with impossible words")
    runs = np.zeros((lengths.size, 2 * m + 3), np.float32)
    found = np.empty((total, 2 * m + 3), np.float32)
    if not _match(*table, words, bounds, queries, found, runs):
        raise ValueError("a word with an impossible number")
    if not np.isfinite(runs).all():
        raise ValueError("a number that is not finite")
    parts = np.ascontiguousarray(runs.T).reshape(2 * m + 3, len(lengths), FIELDS)
    return Matches(parts[:m], parts[m : 2 * m], parts[2 * m :], lengths)


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
