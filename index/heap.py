"""The best rows so far, for compiled loops: a heap that becomes a ranking in the order of `index.ranking`.

In: rows and their scores, one after the other. Out: the best of them. Importing this module needs numba.
Knows nothing of how scores are computed.

The heap is an array of rows, int64 (k,), and one of their scores, float32 (k,), of which the first `found`
are filled. The first row is the worst: no other has a lower score, nor the same score and a higher number.
"""

from __future__ import annotations

from typing import Any

from numba import njit


@njit(error_model="numpy", nogil=True, cache=True)
def keep(rows: Any, scores: Any, found: int, row: int, score: Any) -> int:
    """Put a document into the heap. A full heap takes it in place of the worst one, if that is worse.

    Returns how many documents the heap then has.
    """
    if found == len(rows):
        if not _is_worse(scores[0], rows[0], score, row):
            return found
        _sink(rows, scores, found, row, score)
        return found
    place = found
    while place:
        above = (place - 1) // 2
        if _is_worse(scores[above], rows[above], score, row):
            break
        rows[place], scores[place] = rows[above], scores[above]
        place = above
    rows[place], scores[place] = row, score
    return found + 1


@njit(error_model="numpy", nogil=True, cache=True)
def _sink(rows: Any, scores: Any, found: int, row: int, score: Any) -> None:
    """Replace the first document of a heap of `found` documents, and restore the order of the heap."""
    place = 0
    while 2 * place + 1 < found:
        below = 2 * place + 1
        if below + 1 < found and _is_worse(scores[below + 1], rows[below + 1], scores[below], rows[below]):
            below += 1
        if _is_worse(score, row, scores[below], rows[below]):
            break
        rows[place], scores[place] = rows[below], scores[below]
        place = below
    rows[place], scores[place] = row, score


@njit(error_model="numpy", nogil=True, cache=True)
def _is_worse(score: Any, row: int, other_score: Any, other_row: int) -> bool:
    return score < other_score or (score == other_score and row > other_row)


@njit(error_model="numpy", nogil=True, cache=True)
def sort(rows: Any, scores: Any, found: int) -> None:
    """Turn a heap into a ranking, best first."""
    for last in range(found - 1, 0, -1):
        row, score = rows[last], scores[last]
        rows[last], scores[last] = rows[0], scores[0]
        _sink(rows, scores, last, row, score)
