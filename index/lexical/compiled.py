"""BM25 scores of the documents of a segment added in one compiled loop, which also keeps the best of them.

In and out: numpy arrays, see `index.lexical.bm25`. Importing this module needs numba, and takes half a
second: it is for processes that search many times.

Documents are scored window by window. The sums of a window stay in the nearest cache, where the same sums
over all documents would be read from memory for each term. The postings of a term are in the order of
documents, so each term goes on where it was in the window before.

numba keeps the compiled loops on disk until this file changes. Whoever changes `index.heap` changes this too.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from index.heap import keep, sort
from index.values import Mask

# Documents of a window: 64 KiB of sums.
WINDOW = 1 << 14
# If a window has more than one posting for this many documents, it takes less time to read all its sums than
# only those of documents with a posting.
_SPARSE = 8
# Sums of a window that are compared with the worst of the best at once, by vector instructions.
_BLOCK = 64
_IMPOSSIBLE = -1
_ALL: Mask = np.empty(0, bool)


def compiled_best(
    postings: tuple[NDArray[np.int32], NDArray[np.float32]],
    terms: NDArray[np.int64],
    weights: NDArray[np.float32],
    count: int,
    k: int,
    allowed: Mask | None,
    window: int = WINDOW,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Rows and scores of the k best documents, best first, equal ones by row; only those with a term.

    postings: rows int32 and tf parts float32 (postings,), of all terms.
    terms: int64 (t, 2), where the postings of a term begin and end; within the arrays.
    weights: float32 (t,), of the terms, in the order in which they are added.
    count: documents of the segment.
    k: results, at least 1.
    allowed: bool (count,), the rows that may be found; None for all.
    window: documents that are scored at once.
    Raises ValueError if the postings hold wrong rows or sums, and for a mask of another length.
    """
    if allowed is not None and len(allowed) != count:
        raise ValueError("a mask of other documents")
    k = min(k, count)
    rows, scores = np.empty(k, np.int64), np.empty(k, np.float32)
    sums = np.zeros(-(-window // _BLOCK) * _BLOCK, np.float32)
    mask = _ALL if allowed is None else allowed
    found = _best(*postings, terms, weights, count, mask, sums, window, rows, scores)
    if found == _IMPOSSIBLE:
        raise ValueError("a posting with an impossible number")
    return rows[:found], scores[:found]


def compiled_match(
    postings: tuple[NDArray[np.int32], NDArray[np.float32]],
    terms: NDArray[np.int64],
    weights: NDArray[np.float32],
    rows: NDArray[np.int64],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The scores of some documents, and the sum of the weights of the terms that they have, float32 (n,).

    postings, terms, weights: as for `compiled_best`.
    rows: int64 (n,), in any order; fastest if they ascend.
    """
    scores, shares = np.zeros(len(rows), np.float32), np.zeros(len(rows), np.float32)
    _match(*postings, terms, weights, rows, scores, shares)
    return scores, shares


@njit(error_model="numpy", cache=True)
def _match(
    rows: Any,
    parts: Any,
    terms: Any,
    weights: Any,
    wanted: Any,
    scores: Any,
    shares: Any,
) -> None:
    """Fill in what `compiled_match` returns.

    It keeps the interpreter's lock: giving it away and waiting for it again would take longer.
    """
    for t in range(len(terms)):
        start, end = terms[t, 0], terms[t, 1]
        place, before = start, np.int64(-1)
        for at in range(len(wanted)):
            row = wanted[at]
            if row < before:
                place = start
            before = row
            # In steps of twice the length to beyond the row, then back by halves.
            low, step = place, 1
            while low + step < end and rows[low + step] < row:
                low += step
                step *= 2
            high = min(low + step, end)
            while low < high:
                middle = (low + high) // 2
                if rows[middle] < row:
                    low = middle + 1
                else:
                    high = middle
            place = low
            if place < end and rows[place] == row:
                scores[at] += parts[place] * weights[t]
                shares[at] += weights[t]


@njit(error_model="numpy", nogil=True, cache=True)
def _best(
    rows: Any,
    parts: Any,
    terms: Any,
    weights: Any,
    count: int,
    allowed: Any,
    sums: Any,
    window: int,
    best_rows: Any,
    best_scores: Any,
) -> int:
    """Fill in the best rows and scores. Returns how many there are, or -1 if a number in the files is wrong.

    sums: zeros, float32, at least `window` of them and whole blocks.
    best_rows, best_scores: a heap until the end, whose first document is the worst.
    """
    places = terms[:, 0].copy()
    before = places.copy()
    found, stop = 0, np.int64(0)
    while True:
        # The window begins with the first document that has a posting left.
        start = np.int64(count)
        for t in range(len(terms)):
            if places[t] < terms[t, 1]:
                start = min(start, np.int64(rows[places[t]]))
        if start < stop:
            return _IMPOSSIBLE
        if start == count:
            break
        stop = min(start + window, count)
        before[:] = places
        if _add(rows, parts, terms, weights, places, sums, start, stop) * _SPARSE > stop - start:
            found = _read_all(sums, start, stop, allowed, found, best_rows, best_scores)
        else:
            found = _read(rows, before, places, sums, start, allowed, found, best_rows, best_scores)
        if found == _IMPOSSIBLE:
            return _IMPOSSIBLE
    for t in range(len(terms)):
        if places[t] < terms[t, 1]:
            return _IMPOSSIBLE  # a row that no document has
    sort(best_rows, best_scores, found)
    return found


@njit(error_model="numpy", nogil=True, cache=True)
def _add(
    rows: Any,
    parts: Any,
    terms: Any,
    weights: Any,
    places: Any,
    sums: Any,
    start: int,
    stop: int,
) -> int:
    """Add the postings of a window to its sums, and go on to those of the next. Returns how many there were.

    places: the next posting of each term, changed in place.
    """
    added = 0
    for t in range(len(terms)):
        weight, place, end = weights[t], places[t], terms[t, 1]
        while place < end:
            inside = np.int64(rows[place]) - start
            if not 0 <= inside < stop - start:
                break
            sums[inside] += parts[place] * weight
            place += 1
        added += place - places[t]
        places[t] = place
    return added


@njit(error_model="numpy", nogil=True, cache=True)
def _read_all(
    sums: Any,
    start: int,
    stop: int,
    allowed: Any,
    found: int,
    best_rows: Any,
    best_scores: Any,
) -> int:
    """Move those sums of a window that are among the best to the heap. Returns how many the heap then has."""
    least = _least(best_scores, found)
    for first in range(0, stop - start, _BLOCK):
        block = sums[first : first + _BLOCK]
        above = np.int32(0)
        for at in range(_BLOCK):
            above += np.int32(0) if block[at] <= least else np.int32(1)  # NaN is above too
        if above:
            for at in range(_BLOCK):
                row, score = start + first + at, block[at]
                if score <= least or (len(allowed) and not allowed[row]):
                    continue
                if not score < np.inf:
                    return _IMPOSSIBLE
                found = keep(best_rows, best_scores, found, row, score)
                least = _least(best_scores, found)
    sums[: stop - start] = 0
    return found


@njit(error_model="numpy", nogil=True, cache=True)
def _read(
    rows: Any,
    before: Any,
    places: Any,
    sums: Any,
    start: int,
    allowed: Any,
    found: int,
    best_rows: Any,
    best_scores: Any,
) -> int:
    """Like `_read_all`, but only for documents with a posting, from `before` to `places`."""
    least = _least(best_scores, found)
    for t in range(len(places)):
        for place in range(before[t], places[t]):
            row = np.int64(rows[place])
            score = sums[row - start]
            sums[row - start] = 0  # it is not read again for another term
            if score < least or score == 0 or (len(allowed) and not allowed[row]):
                continue
            if not score < np.inf:
                return _IMPOSSIBLE
            found = keep(best_rows, best_scores, found, row, score)
            least = _least(best_scores, found)
    return found


@njit(error_model="numpy", nogil=True, cache=True)
def _least(scores: Any, found: int) -> Any:
    """The least score with which a document is among the best: that of the worst of them, or just above 0."""
    return scores[0] if found == len(scores) else np.float32(0)
