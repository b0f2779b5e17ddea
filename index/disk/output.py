"""Files that a user asked for by name: written whole where that is possible, and to whatever the name means.

A regular file, or one that is to be, is replaced in one step; links are followed to it. A pipe or a device is
opened and written: `/dev/stdout` stays what it is.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

from index.disk.files import storing, write_atomically
from index.errors import InputError

_STANDARD_STREAMS = (1, 2)


def check_output(path: Path) -> None:
    """Raise InputError for a folder, or no name at all, where a file is to be written."""
    if path.is_dir():
        raise InputError("is a folder; name a file to write", path=path)


def is_replaceable(path: Path) -> bool:
    """Whether a write replaces what is there: nothing, or a regular file that is no open stream of ours."""
    found = _stat(path)
    return found is None or (
        stat.S_ISREG(found.st_mode)
        and _own_stream(found) is None
        # What /dev/fd and /proc name is open already, and written where its owner stands.
        and not os.path.realpath(path.parent).startswith("/proc/")
    )


def write_output(path: Path, data: bytes) -> None:
    """Write a file that the user named. Raises InputError for a folder, StorageError."""
    check_output(path)
    if is_replaceable(path):
        write_atomically(Path(os.path.realpath(path)), data)
        return
    found = _stat(path)
    stream = None if found is None else _own_stream(found)
    with storing(path), os.fdopen(_opened(path) if stream is None else os.dup(stream), "wb") as file:
        file.write(data)


def _opened(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_NOCTTY | os.O_CLOEXEC)


def _stat(path: Path) -> os.stat_result | None:
    with storing(path):
        try:
            return path.stat()
        except FileNotFoundError:
            return None


def _own_stream(found: os.stat_result) -> int | None:
    """Which of this process's standard streams a file is: what follows on it must stand behind our bytes."""
    for stream in _STANDARD_STREAMS:
        with suppress(OSError):  # closed
            if os.path.samestat(found, os.fstat(stream)):
                return stream
    return None
