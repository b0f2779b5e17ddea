"""Files that survive a kill: atomic replacement, syncing, checksums, and the lock that keeps writers apart.

Knows nothing of what the files hold.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import shutil
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from index.disk.opening import WrongKindError, create, is_alone, open_own, open_to_read
from index.errors import BusyError, InputError, StorageError

_REMEDIES = {
    errno.ENOSPC: "free some space and run the command again",
    errno.EDQUOT: "free some space and run the command again",
    errno.EFBIG: "raise the limit on file size and run the command again",
    errno.EACCES: "choose a folder that you may write to",
    errno.EPERM: "choose a folder that you may write to",
    errno.EROFS: "choose a folder that you may write to",
    errno.ENOTDIR: "choose a path whose parents are folders",
    errno.EEXIST: "choose a path that is a folder, or a new one",
    errno.EPIPE: "keep open what reads it",
}
_COPY_BYTES = 1 << 20


@contextmanager
def storing(path: Path) -> Iterator[None]:
    """Turn what the operating system refuses inside the block into a StorageError that names the path."""
    try:
        yield
    except WrongKindError as error:
        raise StorageError(
            f"{error.filename}: {error.strerror}, so nothing is written there; remove it"
        ) from error
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        remedy = _REMEDIES.get(error.errno or 0, "check the disk and the folder's permissions")
        raise StorageError(f"{path}: cannot be written ({reason}); {remedy}") from error


def write_atomically(path: Path, data: bytes) -> None:
    """Replace or create a file so that a reader, or a restart after a crash, finds the old bytes or the new.

    Durable when it returns. Raises StorageError, and then the old file stands.
    """
    # A name that nobody can know beforehand, and so has not put a link under.
    temporary = path.with_name(f".{path.name}.{os.urandom(8).hex()}.tmp")
    with storing(path):
        file = create(temporary)
        try:
            with file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def temporary_of(name: str) -> str:
    """A regular expression for what `write_atomically` leaves of this name if it is killed."""
    return rf"\.{re.escape(name)}\.[0-9a-f]+\.tmp"


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable: created, renamed and removed entries."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_file(path: Path) -> None:
    """Make the bytes of a file durable."""
    with open_to_read(path) as file:
        os.fsync(file.fileno())


def sha256_of(path: Path, *, links: bool = False) -> str:
    """Hexadecimal SHA-256 of a file's bytes; raises as `open_to_read` does."""
    with open_to_read(path, links=links) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def list_files(folder: Path) -> list[str]:
    """Everything below a folder but folders: relative paths, "/" between names, in order; raises OSError."""
    found = []
    for path, folders, names in os.walk(folder, onerror=_raise):
        links = [name for name in folders if (Path(path) / name).is_symlink()]
        found += [(Path(path) / name).relative_to(folder).as_posix() for name in names + links]
    return sorted(found)


def copy_file(source: Path, target: Path) -> None:
    """Copy a regular file to a new one, durable but for its name; raises OSError."""
    with open_to_read(source) as content, create(target) as copy:
        shutil.copyfileobj(content, copy, _COPY_BYTES)
        copy.flush()
        os.fsync(copy.fileno())


def share(source: Path, target: Path, names: Sequence[str]) -> None:
    """Link files, named relative to their folder, into a new folder; where the file system has no hard links,
    copy them, durably. Raises StorageError.
    """
    with storing(target):
        target.mkdir()
        for name in names:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(source / name, target / name, follow_symlinks=False)
            except OSError:
                copy_file(source / name, target / name)


def remove(path: Path) -> None:
    """Remove a file or a folder with all that is in it; nothing there is as well. Raises OSError."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def is_regular(path: Path) -> bool:
    """Whether this is a file with bytes of its own: no link, no device; raises OSError if there is none."""
    return stat.S_ISREG(path.lstat().st_mode)


def _raise(error: OSError) -> None:
    raise error


# Seconds between two tries for a lock that somebody else holds.
_LOCK_AGAIN = 0.05
# As many digits as a process number can have, and then some.
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
    """The process number in a lock file, empty if there is none; None if something else is in the file."""
    content = os.pread(handle, _LONGEST_OWNER + 1, 0).strip(b"\0")  # a crash may have left these
    return content.decode() if not content or (content.isdigit() and len(content) <= _LONGEST_OWNER) else None


class WriterLock:
    """Held by the one process that may write to an index folder; freed by the kernel when that process
    dies.
    """

    NAME = ".lock"

    def __init__(self, folder: Path, wait: float = 0.0) -> None:
        """Take the lock. The folder must exist.

        Raises BusyError if it is not free within `wait` seconds; InputError for a file that is no lock of
        ours, which stays as it is; StorageError where there are no locks.
        """
        path = folder / self.NAME
        with storing(path):
            self._handle = open_own(path)
        try:
            self._wait(folder, wait)
            if _owner(self._handle) is None:
                raise InputError("holds no process number, so it is no lock; remove it", path=path)
        except BaseException:
            os.close(self._handle)
            raise
        self._write(str(os.getpid()))

    def _wait(self, folder: Path, wait: float) -> None:
        until = time.monotonic() + wait
        while not _locked(self._handle, folder / self.NAME):
            if time.monotonic() >= until:
                raise BusyError(
                    f"{folder}: another writer is at work (process {_owner(self._handle) or 'unknown'}); "
                    "wait for it to finish and try again"
                )
            time.sleep(_LOCK_AGAIN)

    def _write(self, owner: str) -> None:
        """Tell who holds the lock, unless the file has a second name, in a copy by hard links or anywhere."""
        with suppress(OSError):  # a full disk cannot hold our process number, and need not
            if is_alone(self._handle):
                os.ftruncate(self._handle, 0)
                os.pwrite(self._handle, owner.encode(), 0)

    def release(self) -> None:
        """Free the lock; again is harmless."""
        if self._handle >= 0:
            self._write("")
            os.close(self._handle)
            self._handle = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
