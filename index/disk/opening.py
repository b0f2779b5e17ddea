"""Safe opening of files in folders that a stranger may have made.

In: paths. Out: open regular files, or an error. In such a folder a name can be a link, a pipe, or a second
hard link of a file elsewhere. Reading never waits for a pipe, and writing never changes a file outside.
Knows nothing of what the files hold.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BufferedRandom, BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from index.errors import SHORTAGES, StorageError

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray


class WrongKindError(OSError):
    """A link, a pipe, a device or a folder where a regular file is expected, or the reverse."""

    def __init__(self, problem: str, path: Path) -> None:
        super().__init__(errno.EINVAL, problem, str(path))


@contextmanager
def shortages(path: Path | str) -> Iterator[None]:
    """Turn an OSError for a lack of memory, open files or permission into a StorageError; let others pass."""
    try:
        yield
    except OSError as error:
        remedy = SHORTAGES.get(error.errno or 0)
        if remedy is None:
            raise
        raise StorageError(f"{path}: cannot be opened ({error.strerror}); {remedy}") from error


def open_to_read(path: Path, *, links: bool = False) -> BufferedReader:
    """Open a regular file. links: follow a link, for folders that are the user's own.

    Raises OSError, WrongKindError for anything but a regular file, StorageError for a lack of resources.
    """
    with shortages(path):
        _require_regular(path.stat() if links else path.lstat(), path)
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if links else os.O_NOFOLLOW)
        return os.fdopen(_checked(os.open(path, flags), path), "rb")


def read_file(path: Path, *, links: bool = False) -> bytes:
    """All bytes of a regular file. links: follow a link. Raises what `open_to_read` does."""
    with open_to_read(path, links=links) as file:
        return file.read()


def map_file(path: Path, kind: DTypeLike, *, links: bool = False) -> NDArray[Any]:
    """A regular file as a memory-mapped array of one dimension.

    path: the file. An empty one cannot be mapped and gives an empty array.
    kind: dtype of the array.
    links: follow a link.
    Raises what `open_to_read` does, ValueError if the size is not a multiple of the dtype's.
    """
    with open_to_read(path, links=links) as file, shortages(path):
        if not os.fstat(file.fileno()).st_size:
            return np.empty(0, kind)
        return np.asarray(np.memmap(file, kind, "r"))


def create(path: Path) -> BufferedRandom:
    """Make a file, opened to write and read. Raises FileExistsError if the name exists, even as a link."""
    return path.open("x+b")


def open_own(path: Path, mode: int = 0o666) -> int:
    """A handle to read and write a regular file, made if it does not exist; no link is followed.

    mode: permissions of a file that is made, of which the umask takes away.
    A file with a second hard link is opened too; `is_alone` detects it.
    Raises OSError, WrongKindError for anything but a regular file.
    """
    with suppress(FileNotFoundError):
        _require_regular(path.lstat(), path)
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    return _checked(os.open(path, flags, mode), path)


def is_alone(handle: int) -> bool:
    """Whether an open file has no second hard link, so that writing to it changes no other folder's file."""
    return os.fstat(handle).st_nlink <= 1


def is_own(path: Path) -> bool:
    """Whether the path is free or a regular file without a second hard link. Raises OSError."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return True
    return stat.S_ISREG(status.st_mode) and status.st_nlink == 1


def is_folder(path: Path) -> bool:
    """Whether this is a folder, not a link to one. Raises OSError if nothing is there."""
    return stat.S_ISDIR(path.lstat().st_mode)


def make_folder(path: Path) -> None:
    """Make a folder if it does not exist. Raises OSError, WrongKindError if the name is a link or a file."""
    try:
        path.mkdir()
    except FileExistsError:
        if not is_folder(path):
            raise WrongKindError("not a folder", path) from None


def _checked(handle: int, path: Path) -> int:
    """Return the handle of a regular file; close the handle of anything else and raise WrongKindError."""
    try:
        _require_regular(os.fstat(handle), path)
    except BaseException:
        os.close(handle)
        raise
    return handle


def _require_regular(status: os.stat_result, path: Path) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise WrongKindError("not a regular file", path)
