"""The index folder: which generation is live, how a reader holds one, and how old ones go.

    CURRENT              "generation-000001 <SHA-256 of its manifest.json>", replaced by one atomic rename
    generation-000001/   manifest.json, model/, segment-000001/; never changed once CURRENT has named it
    .staging/            a build that is not published yet
    .lock                held by the one writer

A reader holds its generation with a shared flock on that folder; a writer removes only what nobody holds.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from index.disk.files import WriterLock, is_regular, remove, storing, temporary_of, write_atomically
from index.disk.manifest import MANIFEST, Manifest
from index.disk.opening import WrongKindError, is_folder, read_file, shortages
from index.errors import CorruptError, InputError, StorageError

CURRENT = "CURRENT"
STAGING = ".staging"
# In the staging folder, when what is there can be resumed.
PLAN = "staging.json"

_GENERATION = re.compile(r"generation-([0-9]{6,})")
_POINTER = re.compile(rb"(generation-[0-9]{6,}) ([0-9a-f]{64})\n")
_TEMPORARY = re.compile(temporary_of(CURRENT))


class Pointer(NamedTuple):
    """What CURRENT says: the live generation, and the SHA-256 of its manifest."""

    generation: str
    manifest_sha256: str


def read_current(folder: Path) -> Pointer:
    """The live generation. Raises InputError where no index is, CorruptError for a damaged pointer."""
    try:
        data = read_file(folder / CURRENT)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError("not an index (no CURRENT file); `peephole build` makes one", path=folder) from error
    except WrongKindError as error:
        raise CorruptError(
            f"{folder / CURRENT}: cannot be read ({error.strerror}); remove it and build the index again"
        ) from error
    except OSError as error:
        raise StorageError(
            f"{folder / CURRENT}: cannot be read ({error.strerror}); check its permissions"
        ) from error
    match = _POINTER.fullmatch(data)
    if match is None:
        raise CorruptError(f"{folder / CURRENT}: damaged; restore the file or build the index again")
    return Pointer(match[1].decode(), match[2].decode())


def write_current(folder: Path, pointer: Pointer) -> None:
    """Make a generation the live one; atomic and durable."""
    write_atomically(folder / CURRENT, f"{pointer.generation} {pointer.manifest_sha256}\n".encode())


def read_manifest(folder: Path, pointer: Pointer) -> Manifest:
    """The manifest that the pointer names. Raises CorruptError or FormatVersionError."""
    path = folder / pointer.generation / MANIFEST
    try:
        data = read_file(path)
    except OSError as error:
        raise CorruptError(f"{path}: cannot be read ({error.strerror}); restore it or build again") from error
    if hashlib.sha256(data).hexdigest() != pointer.manifest_sha256:
        raise CorruptError(
            f"{path}: differs from what was published; restore the file or build the index again"
        )
    manifest = Manifest.from_json(data, place=path)
    if manifest.generation != pointer.generation:
        raise CorruptError(
            f"{path}: belongs to {manifest.generation}; restore the file or build the index again"
        )
    return manifest


def prepare(folder: Path, wait: float = 0.0) -> WriterLock:
    """Make the folder if there is none and take its writer lock, within `wait` seconds.

    Raises BusyError; InputError if the folder holds something else than an index, or a link in place of what
    an index has; StorageError.
    """
    with storing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        others = foreign(folder)
    for name in filter(_is_reserved, others):
        raise InputError("a link, or of another kind than in an index; remove it", path=folder / name)
    if others and not (folder / CURRENT).exists():
        raise InputError(f"holds {others[0]!r} and is not an index; choose an empty folder", path=folder)
    return WriterLock(folder, wait)


def foreign(folder: Path) -> list[str]:
    """Names in an index folder that no index puts there, or not as a link or the like; raises OSError."""
    return [name for name in _names(folder) if not (_is_reserved(name) and _is_right_kind(folder / name))]


def next_generation(folder: Path) -> str:
    """A name above those of all generations that are there."""
    numbers = [int(match[1]) for name in _names(folder) if (match := _GENERATION.fullmatch(name))]
    return f"generation-{max(numbers, default=0) + 1:06}"


def hold(generation: Path) -> int:
    """Keep a writer from removing a generation until the handle returned is closed.

    Raises CorruptError, StorageError for a shortage.
    """
    try:
        with shortages(generation):
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW
            handle = os.open(generation, flags)
    except OSError as error:
        raise CorruptError(
            f"{generation}: cannot be opened ({error.strerror}); build the index again"
        ) from error
    with suppress(OSError):  # some network file systems have no locks; open files are all that protects there
        fcntl.flock(handle, fcntl.LOCK_SH)
    return handle


def stray(folder: Path, live: str) -> list[Path]:
    """What the next write will remove: generations that are neither live nor held, unfinished pointers."""
    found = []
    for path in _leftovers(folder, live):
        handle = _claim(path)
        if handle is not None:
            os.close(handle)
            found.append(path)
    return found


def sweep(folder: Path, live: str) -> None:
    """Remove strays, as far as that goes: what is left over is tried again by the next write."""
    with suppress(OSError):
        for path in _leftovers(folder, live):
            handle = _claim(path)
            if handle is None:
                continue
            try:  # claimed until it is gone: who opens it meanwhile waits, finds nothing, reads CURRENT again
                remove(path)
            finally:
                os.close(handle)


def sweep_staging(folder: Path) -> None:
    """Remove what a writer staged that was cut short, unless it can be resumed; as far as that goes."""
    with suppress(OSError):
        if not (folder / STAGING / PLAN).exists():
            remove(folder / STAGING)


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def _leftovers(folder: Path, live: str) -> list[Path]:
    return [
        folder / name
        for name in _names(folder)
        if name != live
        and (_GENERATION.fullmatch(name) or _TEMPORARY.fullmatch(name))
        and _is_right_kind(folder / name)
    ]


def _claim(path: Path) -> int | None:
    """An exclusive lock on a leftover, as a handle to close; None while a reader holds it."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        return None
    return handle


def _is_reserved(name: str) -> bool:
    """Whether an index uses this name."""
    return name in (CURRENT, STAGING, WriterLock.NAME) or bool(
        _GENERATION.fullmatch(name) or _TEMPORARY.fullmatch(name)
    )


def _is_right_kind(path: Path) -> bool:
    """Whether what is under a name that an index uses is a folder or file, as in an index, and no link."""
    try:
        folders = path.name == STAGING or _GENERATION.fullmatch(path.name)
        return is_folder(path) if folders else is_regular(path)
    except FileNotFoundError:
        return True  # a writer has swept it under our hands
