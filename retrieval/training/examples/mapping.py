"""Arrays in memory-mapped files, the same on all ranks.

In: the arrays of the first rank. Out: arrays of the same content that take no memory of their own, on every
rank. The files have no names, so that nothing is left of them, however a process ends. Knows nothing of what
the arrays hold.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index.disk.files import storing
from retrieval.training.distributed import Ranks

# Bytes that are sent and written at once.
_CHUNK = 1 << 26


def mapped_arrays(
    arrays: Mapping[str, NDArray[Any]], ranks: Ranks, folder: Path | None
) -> dict[str, NDArray[Any]]:
    """The arrays of the first rank, in files.

    arrays: name to array; only those of the first rank count.
    ranks: the processes, all of which call this.
    folder: where the files are; None for the system's folder of temporary files.
    Raises StorageError, PeerError.
    """
    shapes = [[name, array.dtype.str, array.shape] for name, array in arrays.items()]
    told = json.loads(ranks.from_first(json.dumps(shapes).encode()))
    return {
        name: _mapped(ranks.from_first, arrays.get(name), np.dtype(dtype), tuple(shape), folder)
        for name, dtype, shape in told
    }


def _mapped(
    from_first: Callable[[bytes], bytes],
    array: NDArray[Any] | None,
    dtype: np.dtype[Any],
    shape: tuple[int, ...],
    folder: Path | None,
) -> NDArray[Any]:
    size = dtype.itemsize * int(np.prod(shape))
    if not size:
        return np.empty(shape, dtype)
    with storing(folder or Path(tempfile.gettempdir())), tempfile.TemporaryFile(dir=folder) as file:
        for chunk in _chunks(array, size):
            file.write(from_first(chunk))
        file.flush()
        # A view as a plain array: each part that is taken of a memmap would be one too.
        return np.asarray(np.memmap(file, dtype, "r", shape=shape))


def _chunks(array: NDArray[Any] | None, size: int) -> Iterator[bytes]:
    """The bytes of an array, in chunks. For an array of another rank, as many empty chunks."""
    content = None if array is None else memoryview(np.ascontiguousarray(array).data).cast("B")
    for start in range(0, size, _CHUNK):
        yield b"" if content is None else bytes(content[start : start + _CHUNK])
