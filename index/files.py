"""Files that survive a kill: atomic replacement, syncing, checksums, and the lock that keeps writers apart.

Knows nothing of what the files hold.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from index.errors import BusyError, StorageError

_REMEDIES = {
    errno.ENOSPC: "free some space and run the command again",
    errno.EDQUOT: "free some space and run the command again",
    errno.EFBIG: "raise the limit on file size and run the command again",
    errno.EACCES: "choose a folder that you may write to",
    errno.EPERM: "choose a folder that you may write to",
    errno.EROFS: "choose a folder that you may write to",
    errno.ENOTDIR: "choose a path whose parents are folders",
    errno.EEXIST: "choose a path that is a folder, or a new one",
}


@contextmanager
def storing(path: Path) -> Iterator[None]:
    """Turn what the operating system refuses inside the block into a StorageError that names the path."""
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        remedy = _REMEDIES.get(error.errno or 0, "check the disk and the folder's permissions")
        raise StorageError(f"{path}: cannot be written ({reason}); {remedy}") from error


def write_atomically(path: Path, data: bytes) -> None:
    """Replace or create a file so that a reader, or a restart after a crash, finds the old bytes or the new.

    Durable when it returns. Raises StorageError, and then the old file stands.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with storing(path):
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable: created, renamed and removed entries."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_file(path: Path) -> None:
    """Make the bytes of a file durable."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes; raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def list_files(folder: Path) -> list[str]:
    """Everything below a folder but folders: relative paths, "/" between names, in order; raises OSError."""
    found = []
    for path, folders, names in os.walk(folder, onerror=_raise):
        links = [name for name in folders if (Path(path) / name).is_symlink()]
        found += [(Path(path) / name).relative_to(folder).as_posix() for name in names + links]
    return sorted(found)


def is_regular(path: Path) -> bool:
    """Whether this is a file with bytes of its own: no link, no device; raises OSError if there is none."""
    return stat.S_ISREG(path.lstat().st_mode)


def _raise(error: OSError) -> None:
    raise error


class WriterLock:
    """Held by the one process that may write to an index folder; freed by the kernel when that process
    dies.
    """

    NAME = ".lock"

    def __init__(self, folder: Path) -> None:
        """Take the lock or raise BusyError at once. The folder must exist."""
        path = folder / self.NAME
        with storing(path):
            self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            owner = os.pread(self._handle, 20, 0).decode("ascii", "replace") or "unknown"
            os.close(self._handle)
            raise BusyError(
                f"{folder}: another writer is at work (process {owner}); wait for it to finish and try again"
            ) from error
        with suppress(OSError):  # a full disk cannot hold our process number, and need not
            os.ftruncate(self._handle, 0)
            os.pwrite(self._handle, str(os.getpid()).encode(), 0)

    def release(self) -> None:
        """Free the lock; again is harmless."""
        if self._handle >= 0:
            with suppress(OSError):
                os.ftruncate(self._handle, 0)
            os.close(self._handle)
            self._handle = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
