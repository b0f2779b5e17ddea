"""Files that survive a crash: atomic replacement and syncing.

In: paths and bytes. Out: durable files, or a StorageError that names the path and the remedy.
Knows nothing of what the files hold.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from io import BufferedRandom
from pathlib import Path

from index.disk.opening import WrongKindError, create, open_to_read
from index.errors import StorageError

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


def remove(path: Path, *, ignore_errors: bool = False) -> None:
    """Remove a file, or a folder with all its contents, if it exists. Raises OSError.

    ignore_errors: go on with the other files of a folder if one cannot be removed.
    """
    if path.is_dir() and not path.is_symlink():
        import shutil

        shutil.rmtree(path, ignore_errors)
    else:
        path.unlink(missing_ok=True)


def clear_away(path: Path) -> None:
    """Remove a file, or a folder with its contents, as far as that is possible now.

    Over NFS and FUSE a file that is removed while it is open or mapped stays in its folder under another
    name, and the folder with it. Who uses the place next removes the rest.
    """
    with suppress(OSError):
        remove(path, ignore_errors=True)


def is_regular(path: Path) -> bool:
    """Whether this is a regular file, not a link or a device. Raises OSError if nothing is there."""
    return stat.S_ISREG(path.lstat().st_mode)


def _raise(error: OSError) -> None:
    raise error
