"""Files that survive a crash: atomic replacement, syncing, and the writer lock of a folder.

In: paths and bytes. Out: durable files, or a StorageError that names the path and the remedy.
Knows nothing of what the files hold.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from io import BufferedRandom
from pathlib import Path
from typing import Self

from index.disk.opening import WrongKindError, create, is_alone, open_own, open_to_read
from index.errors import BusyError, InputError, StorageError

# What a user can do about an error of the operating system.
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
# Bytes read at once while copying a file.
_COPY_BYTES = 1 << 20


@contextmanager
def storing(path: Path) -> Iterator[None]:
    """Turn an OSError inside the block into a StorageError that names the path and a remedy."""
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


@contextmanager
def create_durably(path: Path) -> Iterator[BufferedRandom]:
    """Make a file whose bytes are durable when the block ends; its name is not. Raises what `create` does."""
    with create(path) as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def write_atomically(path: Path, data: bytes) -> None:
    """Replace or create a file in one step: a reader, or a restart, finds all the old bytes or all the new.

    Durable when it returns. Raises StorageError; the old file then stays as it was.
    """
    # The random name cannot be guessed, so nobody can have put a link there.
    temporary = path.with_name(f".{path.name}.{os.urandom(8).hex()}.tmp")
    with storing(path):
        try:
            with create_durably(temporary) as file:
                file.write(data)
            temporary.replace(path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def temporary_of(name: str) -> str:
    """A regular expression for the temporary files that a killed `write_atomically` of this name leaves."""
    return rf"\.{re.escape(name)}\.[0-9a-f]+\.tmp"


def allocate(handle: int, size: int) -> None:
    """Lengthen a file by zeros that have room: writing to a map of a hole can kill a process.

    handle: the file.
    size: its bytes afterwards.

    Raises OSError if there is not so much room. macOS and some file systems cannot be asked for it; there the
    zeros are written.
    """
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(handle, 0, size)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                raise
        else:
            return
    zeros = bytes(min(size, _COPY_BYTES))
    done = os.fstat(handle).st_size
    while done < size:
        done += os.pwrite(handle, zeros[: size - done], done)


def sync_folder(folder: Path) -> None:
    """Make the entries of a folder durable: names created, renamed or removed in it."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network file systems sync no folders
            raise
    finally:
        os.close(handle)


def sync_file(path: Path) -> None:
    """Make the bytes of a file durable."""
    with open_to_read(path) as file:
        os.fsync(file.fileno())


def list_files(folder: Path) -> list[str]:
    """All files and links below a folder: relative paths, "/" between names, sorted. Raises OSError."""
    paths = []
    for path, folders, names in os.walk(folder, onerror=_raise):
        links = [name for name in folders if (Path(path) / name).is_symlink()]
        paths += [(Path(path) / name).relative_to(folder).as_posix() for name in names + links]
    return sorted(paths)


def copy_file(source: Path, target: Path) -> None:
    """Copy a regular file to a new one. Its bytes are durable; its name is not. Raises OSError."""
    import shutil  # it brings in several libraries of compression, for which a search must not wait

    with open_to_read(source) as content, create_durably(target) as copy:
        shutil.copyfileobj(content, copy, _COPY_BYTES)


def share(source: Path, target: Path, names: Sequence[str]) -> None:
    """Hard-link files into a new folder, or copy them where the file system has no hard links.

    source: the folder that holds the files.
    target: the folder to make.
    names: paths of the files relative to `source`.
    Copies are durable. Raises StorageError.
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
    """Remove a file, or a folder with all its contents, if it exists. Raises OSError."""
    if path.is_dir() and not path.is_symlink():
        import shutil

        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def clear_away(path: Path) -> None:
    """Remove a file, or a folder with its contents, as far as that is possible now.

    Over NFS and FUSE a file that is removed while it is open or mapped stays in its folder under another
    name, and the folder with it. Who uses the place next removes the rest.
    """
    with suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            import shutil

            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def is_regular(path: Path) -> bool:
    """Whether this is a regular file, not a link or a device. Raises OSError if nothing is there."""
    return stat.S_ISREG(path.lstat().st_mode)


def _raise(error: OSError) -> None:
    raise error


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
