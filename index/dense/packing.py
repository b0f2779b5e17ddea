"""Removal of deleted rows from the 4-bit codes of FAISS's fast scan.

In: packed codes and which rows are live. Out: the codes without the deleted rows, and which row is at which
place. Knows nothing of what the codes stand for. The last live rows move into the places of deleted ones.
FAISS's own `remove_ids` packs every row again, a second for 700,000; this moves only as many rows as were
deleted.

A block holds 32 rows, with 16 bytes for each part. A byte holds the codes of two rows: its lower bits are of
a row among the first sixteen, its upper bits of the row sixteen places later
(faiss/impl/pq4_fast_scan.cpp).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BLOCK = 32
_HALF = 16
# The byte of a part that holds a row: the first eight rows have the even bytes.
_BYTES = np.concatenate([np.arange(0, _HALF, 2), np.arange(1, _HALF, 2)])
# Rows moved at once; bounds memory.
_ROWS_AT_ONCE = 1 << 16


def without_deleted(codes: NDArray[np.uint8], parts: int, live: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Move the codes of live rows to the front, in place.

    codes: uint8 (bytes,), packed as FAISS packs them; changed.
    parts: of a vector.
    live: bool (count,), the rows to keep.
    Returns the live rows in their new order, int64 (live rows,).
    """
    count = int(np.count_nonzero(live))
    holes = np.flatnonzero(~live[:count])
    movers = count + np.flatnonzero(live[count:])
    blocks = codes.reshape(-1, parts, _HALF)
    for start in range(0, len(holes), _ROWS_AT_ONCE):
        block = slice(start, start + _ROWS_AT_ONCE)
        _put(blocks, holes[block], _get(blocks, movers[block]))
    rows = np.arange(count)
    rows[holes] = movers
    return rows


def _get(blocks: NDArray[np.uint8], rows: NDArray[np.int64]) -> NDArray[np.uint8]:
    """The codes of the given rows, uint8 (n, parts), each below 16."""
    block, upper, byte = _places(rows)
    shift = np.where(upper, 4, 0).astype(np.uint8)[:, None]
    codes: NDArray[np.uint8] = blocks[block, :, byte] >> shift & np.uint8(15)
    return codes


def _put(blocks: NDArray[np.uint8], rows: NDArray[np.int64], codes: NDArray[np.uint8]) -> None:
    """Write the codes of the given rows: first lower bits, then upper, as two rows may share their bytes."""
    block, upper, byte = _places(rows)
    for half, other_bits, shift in ((~upper, 0xF0, 0), (upper, 0x0F, 4)):
        at = (block[half], slice(None), byte[half])
        blocks[at] = blocks[at] & np.uint8(other_bits) | codes[half] << np.uint8(shift)


def _places(rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.int64]]:
    """For each row: its block, whether it has the upper bits, and its byte within every part."""
    block, inside = np.divmod(rows, _BLOCK)
    return block, inside >= _HALF, _BYTES[inside % _HALF]
