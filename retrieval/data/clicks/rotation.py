"""The files of a recorded click log: FILE, and FILE.1, FILE.2, ... with what was recorded before it.

In: the path FILE, and whole lines. Out: files that several processes write and read at once. Knows nothing of
what the lines say.

Whoever changes one of the files holds an exclusive lock on FILE; whoever reads holds a shared one until all
are open. A process that waited for a file that was renamed meanwhile takes the lock of the new FILE. What a
process that was killed left of a line is cut off by the next one that appends.
"""

from __future__ import annotations

import fcntl
import os
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

from index.disk.files import storing, sync_folder
from index.disk.opening import WrongKindError, open_own, open_to_read
from index.errors import BusyError, InputError, StorageError

# A file of this size is put aside; so many are kept beside FILE.
FILE_BYTES = 64 << 20
KEPT_FILES = 8
FILE_MODE = 0o600  # queries are private
# Seconds that one process waits for another. Forgetting a query holds the lock for some seconds.
WAIT = 60.0
_RETRY_SECONDS = 0.01
_BLOCK_BYTES = 1 << 16
_TO_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC


class Part(NamedTuple):
    """A file of a log, open to read. What is appended beyond `size_bytes` later does not belong to it."""

    path: Path
    file: BinaryIO
    size_bytes: int


def put_aside(path: Path) -> list[Path]:
    """The files FILE.1, FILE.2, ... that exist, the oldest, of the highest number, first. Raises OSError."""
    return [_numbered(path, number) for number in sorted(_numbers(path), reverse=True)]


@contextmanager
def opened(path: Path, wait: float = WAIT) -> Iterator[list[Part]]:
    """Open all files of a log to read, the oldest first, as they are at this moment.

    path: FILE, which may be missing if others were put aside.
    wait: seconds to wait for a writer.
    Raises InputError if there is no file or one cannot be opened, BusyError, StorageError.
    """
    with ExitStack() as stack:
        with _reading(path), _held_to_read(path, wait):
            parts = open_parts(path, stack)
        if not parts:
            raise InputError("no such file; check the path", path=path)
        yield parts


def open_parts(path: Path, stack: ExitStack) -> list[Part]:
    """Open all files of a log to read, the oldest first, for one who holds the lock.

    path: FILE.
    stack: closes the files.
    Raises OSError, StorageError.
    """
    paths = [*put_aside(path), *([path] if os.path.lexists(path) else [])]
    return [_part(each, stack) for each in paths]


@contextmanager
def held(path: Path, wait: float = WAIT) -> Iterator[int]:
    """Hold the lock that allows to change the files of a log. Gives a handle of FILE, made if it is missing.

    wait: seconds to wait for another process. Raises BusyError, StorageError.
    """
    with storing(path):
        handle = _locked(path, fcntl.LOCK_EX, wait)
    try:
        yield handle
    finally:
        os.close(handle)


def append(
    path: Path,
    lines: bytes,
    *,
    most_bytes: int = FILE_BYTES,
    kept: int = KEPT_FILES,
    wait: float = WAIT,
) -> None:
    """Append whole lines to FILE, all or none of them. A FILE that would become too large is put aside first.

    path: FILE.
    lines: bytes that end in a line end.
    most_bytes: the size that a file does not pass, unless these lines alone are more.
    kept: how many files are kept beside FILE; older ones are removed.
    wait: seconds to wait for another process.
    The lines survive the death of this process, and reach the disk when the system writes them. Raises
    BusyError, StorageError.
    """
    while True:
        with held(path, wait) as handle, storing(path):
            size = _cut_to_whole_lines(handle)
            if not size or size + len(lines) <= most_bytes:
                _write(handle, lines, size)
                return
            os.fsync(handle)
            _put_aside(path, kept)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn an OSError inside the block into an InputError that names the path."""
    try:
        yield
    except WrongKindError as error:
        raise InputError(f"{error.strerror}; give the file of a click log", path=error.filename) from error
    except OSError as error:
        raise InputError(
            f"cannot be opened ({error.strerror}); check the path and its permissions", path=path
        ) from error


def _part(path: Path, stack: ExitStack) -> Part:
    file = stack.enter_context(open_to_read(path, links=True))
    return Part(path, file, os.fstat(file.fileno()).st_size)


@contextmanager
def _held_to_read(path: Path, wait: float) -> Iterator[None]:
    """Hold off whoever changes the files. Nobody does between putting FILE aside and making the next."""
    try:
        handle = _locked(path, fcntl.LOCK_SH, wait)
    except FileNotFoundError:
        yield
        return
    try:
        yield
    finally:
        os.close(handle)


def _locked(path: Path, kind: int, wait: float) -> int:
    """A handle of the file that has the name now, with a lock. Raises OSError, BusyError, StorageError."""
    until = time.monotonic() + wait
    while True:
        handle = os.open(path, _TO_READ) if kind == fcntl.LOCK_SH else open_own(path, FILE_MODE)
        try:
            _lock(handle, kind, path, until)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(handle), path.stat()):
                    return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)  # it was renamed while we waited


def _lock(handle: int, kind: int, path: Path, until: float) -> None:
    while True:
        try:
            fcntl.flock(handle, kind | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() >= until:
                raise BusyError(f"{path}: another process holds it; wait and try again") from error
            time.sleep(_RETRY_SECONDS)
        except OSError as error:
            raise StorageError(
                f"{path}: cannot be locked ({error.strerror}); use a disk whose file system has locks"
            ) from error
        else:
            return


def _cut_to_whole_lines(handle: int) -> int:
    """Cut off what stands behind the last line end, and return the size."""
    size = end = os.fstat(handle).st_size
    whole = 0
    while end and not whole:
        start = max(0, end - _BLOCK_BYTES)
        line_end = os.pread(handle, end - start, start).rfind(b"\n")
        whole = start + line_end + 1 if line_end >= 0 else 0
        end = start
    if whole < size:
        os.ftruncate(handle, whole)
    return whole


def _write(handle: int, lines: bytes, at: int) -> None:
    """Write at the end of the file. A write that fails leaves nothing of the lines."""
    rest = memoryview(lines)
    try:
        while rest:
            rest = rest[os.pwrite(handle, rest, at + len(lines) - len(rest)) :]
    except BaseException:
        with suppress(OSError):  # the next one that appends cuts it off
            os.ftruncate(handle, at)
        raise


def _put_aside(path: Path, kept: int) -> None:
    """Rename FILE to FILE.1, FILE.1 to FILE.2 and so on up to the first number that is free.

    A process that is killed in between leaves a free number, and no name that stands for another file.
    """
    numbers = _numbers(path)
    last = next(number for number in range(1, len(numbers) + 2) if number not in numbers)
    for number in range(last - 1, 0, -1):
        if number >= kept:
            _numbered(path, number).unlink()
        else:
            _numbered(path, number).rename(_numbered(path, number + 1))
    path.rename(_numbered(path, 1))
    sync_folder(path.parent)


def _numbers(path: Path) -> set[int]:
    name = re.compile(re.escape(path.name) + r"\.([1-9]\d{0,5})", re.ASCII)
    return {int(match[1]) for each in path.parent.iterdir() if (match := name.fullmatch(each.name))}


def _numbered(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")
