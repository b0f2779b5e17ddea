"""Sums of the rows of each list of a ragged array: what `np.add.reduceat` gives, in a tenth of its time.

In: where each list begins, and a function that gives rows by their places; or the features of words and their
table. Out: a sum for each list, the same to the last bit as that of `np.add.reduceat`. `reduceat` adds column
by column, and so visits all rows of a list again for every column. Here lists of equal length are added
together, row by row.
Knows nothing of what the rows are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from index.errors import NO_COMPILED_LOOPS
from retrieval.model.weights import Table
from retrieval.text.vocabulary import Ragged

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Rows at places, int64 (n,), as float32 (n, width).
Fetch: TypeAlias = "Callable[[NDArray[np.int64]], NDArray[np.float32]]"
# The table and the features of n words to the sums of their rows, float32 (n, row width).
FeatureSums: TypeAlias = "Callable[[Table, Ragged], NDArray[np.float32]]"

# For up to this many lists `np.add.reduceat` takes no longer.
_FEW = 8
# Rows that are fetched at once: few enough for the processor's cache.
_ROWS_AT_ONCE = 256
# numpy adds pairwise (Higham 1993): in this many lanes, and a list longer than the second number in two
# halves.
_LANES = 8
_LONGEST_RUN = 128


def sums_of_rows(fetch: Fetch, offsets: NDArray[np.int64], width: int) -> NDArray[np.float32]:
    """The sum of the rows of each of n lists, float32 (n, width).

    fetch: gives rows by their places among the rows of all lists.
    offsets: int64 (n + 1,), from 0 to the number of all rows; every list has at least one row.
    width: of a row.
    """
    if len(offsets) <= _FEW + 1:
        return np.add.reduceat(fetch(np.arange(offsets[-1])), offsets[:-1])
    sums = np.empty((len(offsets) - 1, width), np.float32)
    for lists, length in _of_equal_length(np.diff(offsets)):
        starts = offsets[lists]
        if length <= _LANES:
            sums[lists] = _sums_of_short(fetch, starts, length)
        else:
            places = starts[:, None] + np.arange(length)
            rows = fetch(places.ravel()).reshape(len(lists), length, width)
            sums[lists] = rows[:, 0] + _pairwise(rows[:, 1:])
    return sums


def feature_sums(table: Table, features: Ragged) -> NDArray[np.float32]:
    """The rows of n words, float32 (n, row width): sums of the rows of their features."""
    width = table.values.shape[1]
    return sums_of_rows(lambda places: table.rows(features.values[places]), features.offsets, width)


def sums_for_many() -> FeatureSums:
    """`feature_sums`, in a compiled loop if numba is there: the same sums in a quarter of the time."""
    try:
        from retrieval.model.compiled import compiled_feature_sums
    except NO_COMPILED_LOOPS:
        return feature_sums

    def compiled(table: Table, features: Ragged) -> NDArray[np.float32]:
        longest = int(features.lengths().max(initial=0))
        if table.scales is None or longest > _LONGEST_RUN + 1:
            return feature_sums(table, features)
        if features.values.min(initial=0) < 0 or features.values.max(initial=0) >= len(table.values):
            raise IndexError("a word has a feature that the table lacks")  # the loop would read other memory
        sums = np.empty((len(features), table.values.shape[1]), np.float32)
        compiled_feature_sums(table.values, table.scales, features.values, features.offsets, sums)
        return sums

    return compiled


def _of_equal_length(lengths: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.int64], int]]:
    """Yield the numbers of lists of equal length, and this length, until every list has come."""
    order = np.argsort(lengths, kind="stable")
    sorted_lengths = lengths[order]
    ends = [*np.flatnonzero(np.diff(sorted_lengths)).tolist(), len(order) - 1]
    start = 0
    for end in ends:
        length = int(sorted_lengths[end])
        at_once = _ROWS_AT_ONCE if length <= _LANES else max(1, _ROWS_AT_ONCE // length)
        for first in range(start, end + 1, at_once):
            yield order[first : min(first + at_once, end + 1)], length
        start = end + 1


def _sums_of_short(fetch: Fetch, starts: NDArray[np.int64], length: int) -> NDArray[np.float32]:
    """Sums of lists of up to `_LANES` rows. As in `reduceat`, the sum of the others is added to the first."""
    sums = fetch(starts)
    if length > 1:
        others = fetch(starts + 1)
        for place in range(2, length):
            others += fetch(starts + place)
        sums += others
    return sums


def _pairwise(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Sums (n, width) over the second axis of rows (n, at least _LANES, width), in numpy's pairwise order."""
    lists, count, width = rows.shape
    if count > _LONGEST_RUN:
        half = count // 2
        half -= half % _LANES
        return _pairwise(rows[:, :half]) + _pairwise(rows[:, half:])
    whole = count - count % _LANES
    runs = rows[:, :whole].reshape(lists, whole // _LANES, _LANES * width)
    lanes = runs.sum(axis=1).reshape(lists, _LANES, width)
    while lanes.shape[1] > 1:
        lanes = lanes[:, 0::2] + lanes[:, 1::2]
    sums: NDArray[np.float32] = lanes[:, 0]
    for place in range(whole, count):
        sums += rows[:, place]
    return sums
