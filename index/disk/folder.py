"""The index folder: which generation is live, how readers hold one, and how old ones are removed.

    CURRENT              "generation-000001 <SHA-256 of its manifest.json>", replaced by one atomic rename
    generation-000001/   manifest.json, model/, segment-000001/; never changes once CURRENT has named it
    .staging/            a build that is not published yet
    .learning/           a model that is being learnt, the last one that was refused, and candidate/: an index
                         folder that is made to become the next generation of this one
    .lock                held by the one writer

A reader holds its generation by a shared flock on that folder. A writer removes a generation only if no
reader holds it and the live generation does not keep it (index/disk/previous.py).
Of what a generation contains, this module knows the manifest alone.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, TypeVar

from index.disk.checksums import is_sha256, sha256_of_bytes
from index.disk.files import clear_away, is_regular, storing, temporary_of, write_atomically
from index.disk.manifest import MANIFEST, Manifest, digits_after
from index.disk.opening import WrongKindError, is_folder, read_file, shortages
from index.disk.writer_lock import WriterLock
from index.errors import CorruptError, InputError, StorageError

Opened = TypeVar("Opened")

CURRENT = "CURRENT"
STAGING = ".staging"
LEARNING = ".learning"
CANDIDATE = "candidate"
# This file is in the staging folder while the build there can be resumed.
PLAN = "staging.json"

# Compiled on first use: a search does not need it.
_TEMPORARY = temporary_of(CURRENT)


class Pointer(NamedTuple):
    """What CURRENT says: the live generation, and the SHA-256 of its manifest."""

    generation: str
    manifest_sha256: str


def is_index(folder: Path) -> bool:
    """Whether a folder claims to hold an index; it may be damaged."""
    return (folder / CURRENT).exists()


def home_of(folder: Path) -> Path:
    """The index that a folder belongs to: for a candidate the index that it may become part of, else itself.

    >>> home_of(Path("my.index/.learning/candidate")), home_of(Path("my.index"))
    (PosixPath('my.index'), PosixPath('my.index'))
    """
    inside = folder.name == CANDIDATE and folder.parent.name == LEARNING
    return folder.parent.parent if inside else folder


def read_current(folder: Path) -> Pointer:
    """The live generation.

    Raises InputError if there is no index, CorruptError for a damaged pointer, StorageError.
    """
    try:
        data = read_file(folder / CURRENT)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(_no_index(folder), path=folder) from error
    except WrongKindError as error:
        raise CorruptError(
            f"{folder / CURRENT}: cannot be read ({error.strerror}); remove it and build the index again"
        ) from error
    except OSError as error:
        raise StorageError(
            f"{folder / CURRENT}: cannot be read ({error.strerror}); check its permissions"
        ) from error
    text = data.decode(errors="replace")
    generation, _, digest = text.removesuffix("\n").partition(" ")
    if not (text.endswith("\n") and is_generation(generation) and is_sha256(digest)):
        raise CorruptError(f"{folder / CURRENT}: damaged; restore the file or build the index again")
    return Pointer(generation, digest)


def open_live(folder: Path, open_generation: Callable[[Pointer], Opened]) -> Opened:
    """Open the live generation, and the next one if a writer publishes and removes it meanwhile.

    folder: of the index.
    open_generation: opens the generation that it is called with; raises CorruptError if that is gone.
    Raises what `read_current` and `open_generation` raise.
    """
    pointer = read_current(folder)
    while True:
        try:
            return open_generation(pointer)
        except CorruptError:
            before, pointer = pointer, read_current(folder)
            if pointer == before:
                raise


def write_current(folder: Path, pointer: Pointer) -> None:
    """Make a generation the live one, atomically and durably. Raises StorageError."""
    write_atomically(folder / CURRENT, f"{pointer.generation} {pointer.manifest_sha256}\n".encode())


def read_manifest(folder: Path, pointer: Pointer) -> Manifest:
    """The manifest that the pointer names. Raises CorruptError or FormatVersionError."""
    path = folder / pointer.generation / MANIFEST
    try:
        data = read_file(path)
    except OSError as error:
        raise CorruptError(f"{path}: cannot be read ({error.strerror}); restore it or build again") from error
    if sha256_of_bytes(data) != pointer.manifest_sha256:
        raise CorruptError(
            f"{path}: differs from what was published; restore the file or build the index again"
        )
    manifest = Manifest.from_json(data, place=path)
    if manifest.generation != pointer.generation:
        raise CorruptError(
            f"{path}: belongs to {manifest.generation}; restore the file or build the index again"
        )
    return manifest


def read_live_manifest(folder: Path) -> Manifest:
    """The manifest of the live generation; nothing else is opened. Raises what `open_live` raises."""
    return open_live(folder, lambda pointer: read_manifest(folder, pointer))


def prepare(folder: Path, wait: float = 0.0) -> WriterLock:
    """Make the index folder if it does not exist and take its writer lock.

    wait: seconds to wait for another writer.
    Raises BusyError; InputError if the folder holds files that belong to no index, or links where an index
    has files; StorageError.
    """
    with storing(folder):
        others = foreign(folder) if folder.is_dir() else []
    for name in filter(_is_reserved, others):
        raise InputError("a link, or of another kind than in an index; remove it", path=folder / name)
    if others and not is_index(folder):
        raise InputError(f"holds {others[0]!r} and is not an index; choose an empty folder", path=folder)
    return WriterLock(folder, wait, make=True)


def foreign(folder: Path) -> list[str]:
    """Names in a folder that no index uses, or uses for another kind of file. Raises OSError."""
    return [name for name in _names(folder) if not (_is_reserved(name) and _is_right_kind(folder / name))]


def next_generation(folder: Path) -> str:
    """A name with a higher number than every generation in the folder."""
    return f"generation-{max(map(_number, _names(folder)), default=0) + 1:06}"


def is_generation(name: str) -> bool:
    """Whether a name is that of a generation."""
    return len(digits_after("generation-", name)) >= 6


def is_before(name: str, generation: str) -> bool:
    """Whether a name is that of a generation with a lower number.

    >>> is_before("generation-000002", "generation-000010"), is_before("CURRENT", "generation-000010")
    (True, False)
    """
    return 0 < _number(name) < _number(generation)


def hold(generation: Path) -> int:
    """Keep writers from removing a generation.

    Returns a handle; the hold ends when the caller closes it.
    Raises CorruptError if the folder cannot be opened, StorageError for a shortage or a missing permission.
    """
    try:
        with shortages(generation):
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW
            handle = os.open(generation, flags)
    except OSError as error:
        raise CorruptError(
            f"{generation}: cannot be opened ({error.strerror}); build the index again"
        ) from error
    with suppress(OSError):  # some network file systems have no locks; there, only open files protect
        fcntl.flock(handle, fcntl.LOCK_SH)
    return handle


def stray(folder: Path, used: Collection[str]) -> list[Path]:
    """What the next write will remove: generations neither used nor held, and temporary pointer files.

    folder: of the index.
    used: the names of the live generation and of those that it keeps.
    Raises OSError if the folder cannot be listed.
    """
    strays = []
    for path in _leftovers(folder, used):
        handle = _claim(path)
        if handle is not None:
            os.close(handle)
            strays.append(path)
    return strays


def sweep(folder: Path, used: Collection[str]) -> None:
    """Remove what `stray` lists. What cannot be removed now is left to the next write."""
    with suppress(OSError):
        for path in _leftovers(folder, used):
            handle = _claim(path)
            if handle is None:
                continue
            try:  # locked until it is gone: a reader that opens it meanwhile then reads CURRENT again
                clear_away(path)
            finally:
                os.close(handle)


def sweep_staging(folder: Path, live: Pointer | None = None) -> None:
    """Remove the staging folder unless its build can be resumed. What cannot be removed is left.

    live: the live generation; if it is given, changes of an earlier one go too, which no writer continues.
    """
    with suppress(OSError):
        plan = folder / STAGING / PLAN
        if not plan.exists() or (live is not None and _is_outdated(read_file(plan), live)):
            clear_away(folder / STAGING)


def _is_outdated(plan: bytes, live: Pointer) -> bool:
    """Whether a staged build began with another live generation. plan: of index/writing/staging.py.

    One that cannot be read cannot be resumed either.
    """
    try:
        content = json.loads(plan)
        base, source = content["base"], content["source"]
    except (ValueError, RecursionError, KeyError, TypeError):
        return True
    # A new index has no base. The base of a rollback is a kept generation; its source names the live one.
    return base not in ("", live.generation) and source != rollback_of(live)


def rollback_of(live: Pointer) -> str:
    """The source of a rollback of a generation."""
    return f"rollback of {live.manifest_sha256}"


def _no_index(folder: Path) -> str:
    """Why a path without a pointer is no index, and what to do."""
    if folder.is_dir():
        generations = [name for name in _names(folder) if _number(name)]
        if generations:
            return (
                f"no CURRENT file, which names the live generation beside {generations[-1]}: the copy of an "
                "index is not complete; copy that file too, or restore a backup"
            )
        return "not an index (no CURRENT file); `peephole build` makes one"
    if folder.exists():
        return "a file, not the folder of an index; check the path, `peephole build` makes an index"
    return "no such folder; check the path, `peephole build` makes an index"


def _number(name: str) -> int:
    """The number of a generation, from 1; 0 for any other name."""
    return int(name.removeprefix("generation-")) if is_generation(name) else 0


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def _leftovers(folder: Path, used: Collection[str]) -> list[Path]:
    return [
        folder / name
        for name in _names(folder)
        if name not in used
        and (is_generation(name) or re.fullmatch(_TEMPORARY, name))
        and _is_right_kind(folder / name)
    ]


def _claim(path: Path) -> int | None:
    """An exclusive lock on a leftover, as a handle to close.

    None while a reader holds it, and if it is gone or cannot be opened.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        return None
    return handle


def _is_reserved(name: str) -> bool:
    """Whether an index uses this name."""
    return name in (CURRENT, STAGING, LEARNING, WriterLock.NAME) or bool(
        is_generation(name) or re.fullmatch(_TEMPORARY, name)
    )


def _is_right_kind(path: Path) -> bool:
    """Whether the entry under a name that an index uses is the folder or regular file that belongs there."""
    try:
        is_for_folder = path.name in (STAGING, LEARNING) or is_generation(path.name)
        return is_folder(path) if is_for_folder else is_regular(path)
    except FileNotFoundError:
        return True  # a writer has removed it meanwhile
