"""The lock that lets one process at a time write to a folder.

In: a folder. Out: the lock, or BusyError with the process that holds it. Knows nothing of what is written.
"""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Self

from index.disk.files import storing
from index.disk.opening import is_alone, open_own
from index.errors import BusyError, InputError, StorageError

# Seconds between two attempts to take a lock that another process holds.
_LOCK_RETRY_SECONDS = 0.05
# More digits than a process number can have.
_LONGEST_OWNER = 20


def _locked(handle: int, path: Path) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise StorageError(
            f"{path}: cannot be locked ({error.strerror}); use a disk whose file system has locks, "
            "a local one or a network mount with locking"
        ) from error
    return True


def _owner(handle: int) -> str | None:
    """The process number in a lock file; empty if the file is empty, None if it holds something else."""
    content = os.pread(handle, _LONGEST_OWNER + 1, 0).strip(b"\0")  # a crash may leave zero bytes
    return content.decode() if not content or (content.isdigit() and len(content) <= _LONGEST_OWNER) else None


class WriterLock:
    """The lock that lets one process write to a folder. The kernel frees it when that process dies.

    Only the process that holds the lock removes its file. A process that takes the lock checks that the file
    is still in its place. So two processes never hold the lock of one folder.
    """

    NAME = ".lock"

    def __init__(self, folder: Path, wait: float = 0.0, *, make: bool = False) -> None:
        """Take the lock.

        folder: what is locked.
        wait: seconds to wait for another writer.
        make: make the folder if it does not exist.
        Raises BusyError if the lock is not free by then; InputError if the file is not a lock of ours, and
        leaves it unchanged; StorageError if the file system has no locks.
        """
        self._folder = folder
        self._path = folder / self.NAME
        self._handle = -1
        self._is_new = False
        self._made: list[Path] = []  # folders, the deepest first
        try:
            if make:
                self._make()
            self._take(time.monotonic() + wait)
        except BaseException:
            self._remove_made()
            raise
        self._write(str(os.getpid()))

    def _make(self) -> None:
        self._made = [path for path in (self._folder, *self._folder.parents) if not os.path.lexists(path)]
        with storing(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)

    def _remove_made(self) -> None:
        with suppress(OSError):  # something is in them
            for path in self._made:
                path.rmdir()

    def _take(self, until: float) -> None:
        while self._handle < 0:
            self._is_new = not os.path.lexists(self._path)
            with storing(self._path):
                handle = open_own(self._path)
            try:
                self._wait(handle, until)
                if _owner(handle) is None:
                    raise InputError("holds no process number, so it is no lock; remove it", path=self._path)
                if self._is_in_place(handle):  # else the one who held it has removed it
                    self._handle = handle
            finally:
                if self._handle < 0:
                    os.close(handle)

    def _wait(self, handle: int, until: float) -> None:
        while not _locked(handle, self._path):
            if time.monotonic() >= until:
                raise BusyError(
                    f"{self._folder}: another writer is at work (process {_owner(handle) or 'unknown'}); "
                    "wait for it to finish and try again"
                )
            time.sleep(_LOCK_RETRY_SECONDS)

    def _is_in_place(self, handle: int) -> bool:
        """Whether the open file is the one that others find under its name."""
        try:
            return os.path.samestat(os.fstat(handle), self._path.lstat())
        except FileNotFoundError:
            return False

    def _write(self, owner: str) -> None:
        """Write who holds the lock, unless the file has a second hard link: it may belong to others."""
        with suppress(OSError):  # the process number only informs; the lock holds without it
            if is_alone(self._handle):
                os.ftruncate(self._handle, 0)
                os.pwrite(self._handle, owner.encode(), 0)

    def release(self) -> None:
        """Free the lock. Calling it again does nothing."""
        if self._handle >= 0:
            self._write("")
            os.close(self._handle)
            self._handle = -1

    def withdraw(self) -> None:
        """Free the lock. Remove the lock file and the folders that taking it made, if they are empty."""
        if self._handle >= 0 and self._is_new and self._is_in_place(self._handle):
            with suppress(OSError):
                self._path.unlink()
        self.release()
        self._remove_made()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Free the lock. After an error also remove what taking it has made, as `withdraw` does."""
        if error is None:
            self.release()
        else:
            self.withdraw()
