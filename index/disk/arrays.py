"""Arrays of a published segment in memory-mapped files, whose damage is told as such.

In: paths. Out: arrays, or CorruptError. Knows nothing of what the numbers mean.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from index.disk.opening import map_file
from index.errors import CorruptError

if TYPE_CHECKING:
    from numpy.typing import NDArray


def map_array(path: Path, kind: str) -> NDArray[Any]:
    """A file as a memory-mapped array of one dimension. Raises CorruptError, StorageError.

    path: the file.
    kind: dtype of the array.
    """
    try:
        return map_file(path, kind)
    except (OSError, ValueError) as error:
        raise CorruptError(
            f"{path}: cannot be read ({error}); restore it or build the index again"
        ) from error


class reading_arrays:  # noqa: N801 (a context manager, used like a function)
    """Turn an IndexError or ValueError inside the block into a CorruptError: the files hold wrong numbers."""

    __slots__ = ("_folder",)

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, IndexError | ValueError):
            raise CorruptError(
                f"{self._folder}: damaged; restore its files or build the index again"
            ) from error
