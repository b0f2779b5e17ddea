"""Verification of an index: every file is what was published, and there are no other files.

In: an index folder. Out: its problems, one line each; earlier generations that wait to be removed. Knows
names, sizes and checksums, not contents.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from index.disk.checksums import sha256_of
from index.disk.files import list_files
from index.disk.folder import Pointer, foreign, hold, is_before, read_current, read_manifest, stray
from index.disk.manifest import MANIFEST, FileEntry, Manifest
from index.disk.opening import is_folder, read_file, shortages
from index.disk.previous import read_previous, used_generations
from index.errors import CorruptError, FormatVersionError, InputError, PeepholeError

_RESTORE = "restore the file or build the index again"


def verify(folder: Path) -> list[str]:
    """Read every byte of the live generation and of those that it keeps, and look for foreign files.

    Returns one line for each problem. An unfinished build that can be resumed is no problem. Nor is an
    earlier generation: it stays until a write finds that no reader holds it (`superseded`).
    Raises InputError if there is no index.
    """
    while True:
        try:
            pointer = read_current(folder)
        except InputError:
            raise
        except PeepholeError as error:
            return [str(error)]
        problems = list(_generation_problems(folder, pointer))
        if not problems or read_current(folder) == pointer:  # else a writer removed it meanwhile
            return problems + list(_others(folder, pointer))


def superseded(folder: Path) -> list[Path]:
    """Complete earlier generations that are not kept and that no reader holds. The next write removes them.

    None if the folder cannot be listed, which `verify` tells. Raises what reading the live generation raises.
    """
    live = read_current(folder)
    used = used_generations(folder, read_manifest(folder, live))
    with suppress(OSError):
        return [path for path in stray(folder, used) if _is_earlier(path, live)]
    return []


def file_problems(generation: Path, manifest: Manifest, *, checksums: bool) -> Iterator[str]:
    """Problems of the files that the manifest names and of their folders, one line each.

    generation: the folder of the generation.
    manifest: what was published.
    checksums: compare every byte, not only kind and size.
    Raises StorageError for a lack of memory, open files or permission.
    """
    for folder in _folders(manifest):
        with suppress(OSError):  # reported by its files, which are missing too
            if not is_folder(generation / folder):
                yield f"{generation / folder}: not a folder; {_RESTORE}"
    for name, entry in manifest.files.items():
        path = generation / name
        try:
            with shortages(path):
                problem = _file_problem(path, entry, checksums)
        except OSError as error:
            problem = f"cannot be read ({error.strerror})"
        if problem:
            yield f"{path}: {problem}; {_RESTORE}"


def _folders(manifest: Manifest) -> list[str]:
    folders: set[str] = set()
    for name in manifest.files:
        folder = name.rpartition("/")[0]
        while folder and folder not in folders:
            folders.add(folder)
            folder = folder.rpartition("/")[0]
    return sorted(folders)


def _file_problem(path: Path, entry: FileEntry, checksums: bool) -> str | None:
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode):
        return "not a regular file"
    if status.st_size != entry.bytes:
        return f"has {status.st_size} bytes, {entry.bytes} were published"
    if checksums and sha256_of(path) != entry.sha256:
        return "differs from what was published"
    return None


def _generation_problems(folder: Path, pointer: Pointer) -> Iterator[str]:
    generation = folder / pointer.generation
    try:
        handle = hold(generation)
    except CorruptError as error:
        yield str(error)
        return
    try:
        manifest = read_manifest(folder, pointer)
        yield from file_problems(generation, manifest, checksums=True)
        for name in list_files(generation):
            if name != MANIFEST and name not in manifest.files:
                yield f"{generation / name}: not part of the index; remove it"
    except PeepholeError as error:
        yield str(error)
    except OSError as error:
        yield f"{error.filename}: cannot be read ({error.strerror}); check its permissions"
    finally:
        os.close(handle)


def _others(folder: Path, live: Pointer) -> Iterator[str]:
    """Problems of the kept generations, and what is in the folder beside them."""
    try:
        yield from _kept_and_foreign(folder, live)
    except OSError as error:
        yield f"{folder}: cannot be listed ({error.strerror}); check its permissions"


def _kept_and_foreign(folder: Path, live: Pointer) -> Iterator[str]:
    """The same. Raises OSError if the folder cannot be listed."""
    try:
        previous = read_previous(folder, read_manifest(folder, live))
    except PeepholeError:  # reported by the live generation, whose file the list is
        pass
    else:
        for pointer in previous:
            yield from _generation_problems(folder, pointer)
        strays = stray(folder, {live.generation, *(pointer.generation for pointer in previous)})
        live = read_current(folder)  # a writer may have published one of them
        for path in strays:
            if path.name != live.generation and not _is_earlier(path, live) and os.path.lexists(path):
                yield f"{path}: left over from an earlier write; the next one removes it"
    for name in foreign(folder):
        yield f"{folder / name}: not part of the index; remove it"


def _is_earlier(path: Path, live: Pointer) -> bool:
    """Whether this is a generation from before the live one, with all its files."""
    if not is_before(path.name, live.generation):
        return False
    try:
        handle = hold(path)  # so that no writer removes it meanwhile
    except CorruptError:
        return False
    try:
        manifest = Manifest.from_json(read_file(path / MANIFEST), place=path / MANIFEST)
        return manifest.generation == path.name and not any(file_problems(path, manifest, checksums=False))
    except (OSError, CorruptError, FormatVersionError):
        return False
    finally:
        os.close(handle)
