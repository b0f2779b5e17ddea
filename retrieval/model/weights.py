"""Named arrays in a safetensors file, read by memory map, and tables in int8.

In and out: numpy arrays. Knows nothing of towers. A table can be stored as int8 with one float32 scale for
each row; `Table.rows` turns only the rows that are asked for back into float32.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from index.disk.files import write_atomically
from index.disk.opening import map_file, open_to_read
from index.errors import CorruptError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_DTYPES: dict[str, np.dtype[Any]] = {
    name: np.dtype(kind)
    for name, kind in {
        "F32": "<f4",
        "F16": "<f2",
        "I8": "i1",
        "U8": "u1",
        "I32": "<i4",
        "I64": "<i8",
        "U64": "<u8",
    }.items()
}
_LONGEST_HEADER = 1 << 20


class Table(NamedTuple):
    """A matrix of feature rows, stored as floats or as int8 with one scale for each row."""

    values: NDArray[Any]  # (n, width), int8 if there are scales
    scales: NDArray[np.float32] | None = None  # (n, 1)

    def rows(self, ids: NDArray[np.integer[Any]] | slice) -> NDArray[np.float32]:
        """The rows of the given ids as float32 (m, width)."""
        values = self.values[ids] if isinstance(ids, slice) else self.values.take(ids, axis=0)  # much faster
        rows = np.asarray(values, np.float32)
        if self.scales is not None:
            rows *= self.scales[ids]
        return rows


def quantise(table: NDArray[np.float32]) -> Table:
    """The table in int8. Each row is scaled so that its largest entry is 127; a row of zeros stays zero."""
    scales = np.abs(table).max(axis=1, keepdims=True) / np.float32(127)
    safe = np.where(scales > 0, scales, np.float32(1))
    return Table(np.rint(table / safe).astype(np.int8), scales.astype(np.float32))


def write_weights(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays as safetensors, atomically. Their dtypes are those of `_DTYPES`. Raises StorageError."""
    from safetensors.numpy import save

    write_atomically(path, save({name: np.ascontiguousarray(array) for name, array in arrays.items()}))


def read_weights(path: Path) -> dict[str, NDArray[Any]]:
    """Map the arrays of a safetensors file into memory; a page is read when it is first used.

    The header is checked against the size of the file, so that no later access can leave the file.
    Raises CorruptError if the file is missing or damaged, StorageError if it may not be read or no more
    files can be opened.
    """
    try:
        return _map(path)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise CorruptError(f"{path}: not a weights file ({error}); restore the model folder") from error


def _map(path: Path) -> dict[str, NDArray[Any]]:
    with open_to_read(path, links=True) as file:
        size = os.fstat(file.fileno()).st_size
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(_LONGEST_HEADER, size - 8):
            raise ValueError("the header's length is out of range")
        header = json.loads(file.read(length))
    if not isinstance(header, dict):
        raise ValueError("the header is not a JSON object")
    content = map_file(path, np.uint8, links=True)[8 + length :]
    arrays = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        dtype, shape = _DTYPES[entry["dtype"]], tuple(entry["shape"])
        start, stop = entry["data_offsets"]
        if not all(type(n) is int and n >= 0 for n in (*shape, start, stop)):
            raise ValueError(f"{name}: sizes must be whole numbers")
        if stop > len(content) or stop - start != math.prod(shape) * dtype.itemsize:
            raise ValueError(f"{name}: {shape} of {dtype} does not fit its place in the file")
        arrays[name] = content[start:stop].view(dtype).reshape(shape)
    return arrays
