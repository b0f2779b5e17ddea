"""A generation that is held open: what every open index has in common, wherever its vectors live.

In: an index folder and a pointer. Out: the manifest, checked against the files, and a hold that keeps writers
from removing the generation. Of what a generation contains, this module knows the manifest and the model.
"""

from __future__ import annotations

import math
import os
import weakref
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from index.disk.folder import Pointer, hold, read_manifest
from index.disk.manifest import Manifest
from index.disk.verify import file_problems
from index.errors import CorruptError, ElsewhereError, InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray


class HeldGeneration:
    """An open generation, which no writer removes. Has the attributes of `index.protocol.OpenIndex`."""

    def __init__(self, folder: Path, pointer: Pointer, manifest: Manifest, opened: ExitStack) -> None:
        """opened: what `close` closes, the hold among it."""
        self.folder = folder
        self.pointer = pointer
        self.manifest = manifest
        self.count = manifest.documents
        self.dimension = manifest.dimension
        self.generation = manifest.generation
        self.model_folder = folder / pointer.generation / "model"
        self._opened = opened

    def close(self) -> None:
        """Release the generation. Calling it again does nothing."""
        self._opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _checked(self, queries: NDArray[np.float32], model: str | None = None) -> NDArray[np.float32]:
        """Check query vectors, and make them contiguous. Parameters and errors: see `Index.search_dense`."""
        if model is not None and model != self.manifest.model_fingerprint:
            raise InputError("the queries were encoded by another model than the index; build it again")
        queries = np.ascontiguousarray(queries, np.float32)
        if queries.ndim != 2 or queries.shape[1] != self.dimension:
            raise InputError(f"queries must have the shape (n, {self.dimension}), not {queries.shape}")
        # The sum of squares takes fewer steps; of numbers far above a unit vector's it is infinite too.
        finite = len(queries) == 1 and math.isfinite(np.vdot(queries, queries))
        if not finite and not np.isfinite(queries).all():
            raise InputError("a query vector is not finite; check the model")
        return queries


class _Hold:
    """Keeps writers from removing a generation until `close`, or until nothing refers to it any more."""

    def __init__(self, generation: Path) -> None:
        """Raises what `hold` raises."""
        self._end = weakref.finalize(self, os.close, hold(generation))
        self._end.atexit = False

    def close(self) -> None:
        """End the hold. Calling it again does nothing."""
        self._end()


@contextmanager
def holding(
    folder: Path, pointer: Pointer, *, checksums: bool, elsewhere: bool
) -> Iterator[tuple[Manifest, ExitStack]]:
    """Hold a generation inside the block. It is held longer if the caller takes over the stack by `pop_all`.

    folder: of the index.
    pointer: to the generation.
    checksums: compare every byte, not only the sizes of files.
    elsewhere: whether its vectors live on a server.
    Yields the manifest, and the stack that releases the generation. Raises CorruptError, FormatVersionError,
    StorageError, and ElsewhereError if the generation lives on a server but `elsewhere` is False.
    """
    generation = folder / pointer.generation
    opened = ExitStack()
    opened.callback(_Hold(generation).close)
    with opened:
        manifest = read_manifest(folder, pointer)
        if manifest.store and not elsewhere:
            raise ElsewhereError(
                "lives in Milvus, for which this is not there (see docs/milvus.md)", path=folder
            )
        for problem in file_problems(generation, manifest, checksums=checksums):
            raise CorruptError(problem)
        yield manifest, opened
