"""Inner products of queries with stored vectors in compiled loops, and the best of them.

In and out: numpy arrays, see `index.dense.vectors` and `index.dense.coarse`. Importing this module needs
numba, and takes half a second: it is for processes that search many times.

numba keeps the compiled loops on disk until this file changes. Whoever changes `index.heap` or
`index.prefetch` changes this too.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from index.dense.halves import BITS, SCALE, SHIFT
from index.heap import keep, sort
from index.prefetch import LINE_BYTES, prefetch

# Sums may be taken in any order; "fast" would also allow to assume that nothing is NaN.
_FLAGS = {"reassoc", "contract"}
# How many vectors ahead of the one that is read the next one is fetched from memory: vectors are far apart.
_AHEAD = 8
# The largest number of eight bits with a sign.
LARGEST_CODE = 127
# Twice the rounding of one float32 operation, as there are two sums, and how many operations are no sums.
_ROUNDING = 2.0**-23
_OTHER_OPERATIONS = 8
# Rows of which only the largest product is looked at first.
_BLOCK = 64


def products(
    halves: NDArray[np.int16],
    rows: NDArray[np.int64],
    query: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Inner products with one query, float32 (n,), in the order of the rows.

    halves: the bits of float16, int16 (count, d); they need not be aligned.
    rows: int64 (n,), of `halves`.
    query: float32 (d,).
    Raises IndexError for a row that does not exist.
    """
    found = np.empty(len(rows), np.float32)
    if not _multiply(halves, rows, query, found):
        raise IndexError("a row that does not exist")
    return found


def rankings(
    halves: NDArray[np.int16],
    rows: NDArray[np.int64],
    queries: NDArray[np.float32],
    k: int,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
    """The products of each query with its rows, and the k best: best first, equal ones by row.

    halves: as for `products`.
    rows: int64 (n, m), of each query, all different; at the end -1 for none.
    queries: float32 (n, d).
    k: results a query.
    Returns the products, float32 (n, m), -inf for none; the best of them, float32 (n, k), and their rows,
    int64 (n, k): -inf and -1 where there are fewer.
    Raises IndexError for a row that does not exist.
    """
    shape = len(rows), k
    found = np.empty(rows.shape, np.float32)
    best_products, best_rows = np.empty(shape, np.float32), np.empty(shape, np.int64)
    if not _rank(halves, rows, queries, found, best_products, best_rows):
        raise IndexError("a row that does not exist")
    return found, best_products, best_rows


def nearest(
    codes: NDArray[np.int8],
    scale: float,
    error: float,
    longest: float,
    halves: NDArray[np.int16],
    query: NDArray[np.float32],
    allowed: NDArray[np.bool_],
    k: int,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The k rows with the largest products with one query: products and rows as in `rankings`, (k,).

    codes: all vectors, times `scale` and rounded, int8 (count, d).
    error: the length of the largest difference between a vector and its code divided by `scale`.
    longest: the length of the longest code, divided by `scale`.
    halves, query: as for `products`.
    allowed: bool (count,), the rows that may be found; empty for all.
    """
    products, rows = np.empty(k, np.float32), np.empty(k, np.int64)
    _nearest(codes, scale, error, longest, halves, query, allowed, products, rows)
    return products, rows


@njit(error_model="numpy", nogil=True, cache=True)
def _nearest(
    codes: Any,
    scale: float,
    error: float,
    longest: float,
    halves: Any,
    query: Any,
    allowed: Any,
    best: Any,
    best_rows: Any,
) -> None:
    """Fill in the best products and their rows.

    First the k rows with the largest whole products are found. None of the k best products is below the least
    product of these rows. So a row is left out if its whole product, with the error, cannot reach that.
    """
    count, k = len(codes), len(best)
    whole, unit, error = _round(query, scale, error, longest)
    whole_products = np.empty(count, np.int32)
    _multiply_whole(codes, whole, whole_products)
    found, least = 0, np.float32(-np.inf)
    for first in range(0, count, _BLOCK):
        block = whole_products[first : first + _BLOCK]
        if _largest(block) < least:
            continue
        for at in range(len(block)):
            row, product = first + at, np.float32(block[at])
            if product > least and (not len(allowed) or allowed[row]):
                found = keep(best_rows, best, found, row, product)
                if found == k:
                    least = best[0]
    limit = -np.inf
    if found == k:
        _multiply(halves, best_rows, query, best)
        limit = (np.float64(best.min()) - error) * unit
    candidates, several = np.empty(count, np.int64), 0
    for first in range(0, count, _BLOCK):
        block = whole_products[first : first + _BLOCK]
        if _largest(block) < limit:
            continue
        for at in range(len(block)):
            row = first + at
            if block[at] >= limit and (not len(allowed) or allowed[row]):
                candidates[several] = row
                several += 1
    products = np.empty(several, np.float32)
    _multiply(halves, candidates[:several], query, products)
    _keep_best(candidates[:several], products, best_rows, best)


@njit(error_model="numpy", cache=True)
def _round(query: Any, scale: float, error: float, longest: float) -> Any:
    """The query as whole numbers, int16 (d,), and what `_nearest` must know of products with them.

    Also returns the unit of such a product, and the most by which it differs from the exact product, see
    index/dense/coarse.py.
    """
    width = len(query)
    largest = length = rest = 0.0
    for place in range(width):
        largest = max(largest, abs(query[place]))
    own = np.float64(LARGEST_CODE) / max(largest, 1e-12)
    whole = np.empty(width, np.int16)
    for place in range(width):
        number = np.float64(query[place])
        rounded = np.rint(number * own)
        whole[place] = np.int16(rounded)
        length += number * number
        rest += (number - rounded / own) ** 2
    length, rest = math.sqrt(length), math.sqrt(rest)
    of_floats = length * (width + _OTHER_OPERATIONS) * _ROUNDING
    return whole, own * scale, length * error + (rest + of_floats) * longest


@njit(error_model="numpy", fastmath=_FLAGS, nogil=True, cache=True)
def _multiply_whole(codes: Any, whole: Any, products: Any) -> None:
    """Fill in the products of whole numbers, int32 (count,)."""
    count, width = codes.shape
    for row in range(count):
        vector = codes[row]
        product = np.int32(0)
        for place in range(width):
            product += np.int32(np.int16(vector[place])) * np.int32(whole[place])
        products[row] = product


@njit(error_model="numpy", nogil=True, cache=True)
def _largest(numbers: Any) -> Any:
    largest = numbers[0]
    for at in range(1, len(numbers)):
        largest = max(largest, numbers[at])
    return largest


@njit(error_model="numpy", nogil=True, cache=True)
def _rank(
    halves: Any,
    rows: Any,
    queries: Any,
    products: Any,
    best_products: Any,
    best_rows: Any,
) -> bool:
    for query in range(len(rows)):
        there = rows.shape[1]
        while there and rows[query, there - 1] < 0:
            there -= 1
            products[query, there] = -np.inf
        candidates, scores = rows[query, :there], products[query, :there]
        if not _multiply(halves, candidates, queries[query], scores):
            return False
        _keep_best(candidates, scores, best_rows[query], best_products[query])
    return True


@njit(error_model="numpy", nogil=True, cache=True)
def _keep_best(rows: Any, products: Any, best_rows: Any, best: Any) -> None:
    """Fill in the best of some products and their rows, best first, -inf and -1 where there are fewer."""
    found = 0
    for at in range(len(rows)):
        found = keep(best_rows, best, found, rows[at], products[at])
    sort(best_rows, best, found)
    best_rows[found:] = -1
    best[found:] = -np.inf


@njit(error_model="numpy", fastmath=_FLAGS, cache=True)
def _multiply(halves: Any, rows: Any, query: Any, products: Any) -> bool:
    """Fill in the products. Returns whether all rows exist.

    It keeps the interpreter's lock. It is called for few rows, and to give the lock away and wait for it
    again would take longer.
    """
    count, width = halves.shape
    scaled = np.empty(width, np.float32)  # as much too large as the vectors are read too small
    for place in range(width):
        scaled[place] = query[place] * SCALE
    bits = np.empty(width, np.int32)
    small = bits.view(np.float32)
    start, row_bytes = halves.ctypes.data, 2 * width
    for at in range(len(rows)):
        row = rows[at]
        if not 0 <= row < count:
            return False
        if at + _AHEAD < len(rows):
            address = start + rows[at + _AHEAD] * row_bytes
            for line in range(0, row_bytes, LINE_BYTES):
                prefetch(address + line)
        vector = halves[row]
        for place in range(width):
            bits[place] = (np.int32(vector[place]) << SHIFT) & BITS
        product = np.float32(0)
        for place in range(width):
            product += small[place] * scaled[place]
        products[at] = product
    return True
