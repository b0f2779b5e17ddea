"""The four-bit codes of FAISS's fast scan without deleted rows: the last live ones move into their places.

In: packed codes and which rows live. Out: which row then is where. FAISS's own `remove_ids` packs every row
again, a second for 700,000; this touches only as many rows as were deleted.

A block holds 32 rows: 16 bytes for each part, and in each byte the codes of two rows, of one of the first
sixteen the lower bits, of the row sixteen further on the upper ones (faiss/impl/pq4_fast_scan.cpp).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_BLOCK = 32
_HALF = 16
# In which byte of a part the row is: the first eight rows take the even ones.
_BYTES = np.concatenate([np.arange(0, _HALF, 2), np.arange(1, _HALF, 2)])
_ROWS_AT_ONCE = 1 << 16


def without_deleted(codes: NDArray[np.uint8], parts: int, live: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Move live rows so that they are the first; codes, uint8 (bytes,), change in place.

    live: bool (count,). Returns the rows in the order in which they now lie, int64 (live rows,).
    """
    count = int(np.count_nonzero(live))
    holes = np.flatnonzero(~live[:count])
    movers = count + np.flatnonzero(live[count:])
    blocks = codes.reshape(-1, parts, _HALF)
    for start in range(0, len(holes), _ROWS_AT_ONCE):
        some = slice(start, start + _ROWS_AT_ONCE)
        _put(blocks, holes[some], _get(blocks, movers[some]))
    rows = np.arange(count)
    rows[holes] = movers
    return rows


def _get(blocks: NDArray[np.uint8], rows: NDArray[np.int64]) -> NDArray[np.uint8]:
    """The codes of some rows, uint8 (n, parts), each below 16."""
    block, upper, byte = _places(rows)
    shift = np.where(upper, 4, 0).astype(np.uint8)[:, None]
    codes: NDArray[np.uint8] = blocks[block, :, byte] >> shift & np.uint8(15)
    return codes


def _put(blocks: NDArray[np.uint8], rows: NDArray[np.int64], codes: NDArray[np.uint8]) -> None:
    """Write them; first those that are lower bits, then the upper, for two rows may share their bytes."""
    block, upper, byte = _places(rows)
    for mine, kept, shift in ((~upper, 0xF0, 0), (upper, 0x0F, 4)):
        at = (block[mine], slice(None), byte[mine])
        blocks[at] = blocks[at] & np.uint8(kept) | codes[mine] << np.uint8(shift)


def _places(rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.int64]]:
    """Of each row its block, whether it has the upper bits, and its byte of every part."""
    block, inside = np.divmod(rows, _BLOCK)
    return block, inside >= _HALF, _BYTES[inside % _HALF]
