"""Files opened by what they are, in folders that a stranger may have made.

There a name can be a link, a pipe, or a second name of a file that lies elsewhere. Reading never waits for a
pipe; writing never reaches a file outside. Knows nothing of what the files hold.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedRandom, BufferedReader
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from index.errors import StorageError

# What the machine is short of: no fault of the file, and no reason to call it damaged.
_SHORTAGES = {
    errno.EMFILE: "raise the limit on open files (ulimit -n)",
    errno.ENFILE: "close other programs",
    errno.ENOMEM: "free some memory",
}


class WrongKindError(OSError):
    """A link, a pipe or a device where a file is expected, or a file that has a second name."""

    def __init__(self, problem: str, path: Path) -> None:
        super().__init__(errno.EINVAL, problem, str(path))


@contextmanager
def shortages(path: Path | str) -> Iterator[None]:
    """Turn a shortage of the machine inside the block into a StorageError; other errors pass."""
    try:
        yield
    except OSError as error:
        remedy = _SHORTAGES.get(error.errno or 0)
        if remedy is None:
            raise
        raise StorageError(f"{path}: cannot be opened ({error.strerror}); {remedy}") from error


def open_to_read(path: Path, *, links: bool = False) -> BufferedReader:
    """Open a regular file. links: follow one, as in folders that are the user's own.

    Raises OSError, WrongKindError for anything else than a file, StorageError for a shortage.
    """
    with shortages(path):
        _require_regular(path.stat() if links else path.lstat(), path)
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if links else os.O_NOFOLLOW)
        return os.fdopen(_checked(os.open(path, flags), path), "rb")


def read_file(path: Path, *, links: bool = False) -> bytes:
    """All bytes of a regular file. Raises as `open_to_read` does."""
    with open_to_read(path, links=links) as file:
        return file.read()


def map_file(path: Path, kind: DTypeLike, *, links: bool = False) -> NDArray[Any]:
    """A regular file, memory-mapped, as an array of one dimension; an empty one cannot be mapped and is read.

    Raises as `open_to_read` does, ValueError for a size that is no multiple of the type's.
    """
    with open_to_read(path, links=links) as file, shortages(path):
        if not os.fstat(file.fileno()).st_size:
            return np.empty(0, kind)
        return np.asarray(np.memmap(file, kind, "r"))


def create(path: Path) -> BufferedRandom:
    """Open a new file to write and read it. Raises FileExistsError for whatever is there, a link included."""
    return path.open("x+b")


def open_own(path: Path) -> int:
    """A handle to read and write a regular file, made if there is none; no link is followed.

    Raises OSError, WrongKindError for anything else than a file. What has a second name is opened too:
    `is_alone` tells.
    """
    if os.path.lexists(path):
        _require_regular(path.lstat(), path)
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    return _checked(os.open(path, flags, 0o666), path)


def is_alone(handle: int) -> bool:
    """Whether an open file has no second name: writing into it changes no other file."""
    return os.fstat(handle).st_nlink <= 1


def is_own(path: Path) -> bool:
    """Whether there is nothing, or a regular file without a second name; raises OSError."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return True
    return stat.S_ISREG(found.st_mode) and found.st_nlink == 1


def is_folder(path: Path) -> bool:
    """Whether this is a folder and no link to one; raises OSError if there is nothing."""
    return stat.S_ISDIR(path.lstat().st_mode)


def make_folder(path: Path) -> None:
    """Make a folder if there is none. Raises OSError, WrongKindError for a link or a file in its place."""
    try:
        path.mkdir()
    except FileExistsError:
        if not is_folder(path):
            raise WrongKindError("not a folder", path) from None


def _checked(handle: int, path: Path) -> int:
    """The handle, closed again if what was opened is no regular file."""
    try:
        _require_regular(os.fstat(handle), path)
    except BaseException:
        os.close(handle)
        raise
    return handle


def _require_regular(found: os.stat_result, path: Path) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise WrongKindError("not a regular file", path)
