"""Output files that the user names: reports, runs, charts.

In: a path and bytes. Out: the file. A regular file, or a new one, is replaced in one step; links are followed
to it. A pipe or a device is opened and written, so `/dev/stdout` works as a name.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

from index.disk.files import storing, write_atomically
from index.errors import InputError

# File descriptors of standard output and standard error.
_STANDARD_STREAMS = (1, 2)


def check_output(path: Path) -> None:
    """Raise InputError if the path is a folder, where a file cannot be written."""
    if path.is_dir():
        raise InputError("is a folder; name a file to write", path=path)


def is_replaceable(path: Path) -> bool:
    """Whether a write replaces the path: free, or a regular file that is not one of our open streams."""
    status = _stat(path)
    return status is None or (
        stat.S_ISREG(status.st_mode)
        and _own_stream(status) is None
        # Names in /dev/fd and /proc are open files; they are written at their current position.
        and not os.path.realpath(path.parent).startswith("/proc/")
    )


def write_output(path: Path, data: bytes) -> None:
    """Write a file that the user named. Raises InputError for a folder, StorageError."""
    check_output(path)
    if is_replaceable(path):
        write_atomically(Path(os.path.realpath(path)), data)
        return
    status = _stat(path)
    stream = None if status is None else _own_stream(status)
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


def _own_stream(status: os.stat_result) -> int | None:
    """The standard stream of this process that is this file. Later output must follow our bytes there."""
    for stream in _STANDARD_STREAMS:
        with suppress(OSError):  # closed
            if os.path.samestat(status, os.fstat(stream)):
                return stream
    return None
