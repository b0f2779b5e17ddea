"""Earlier generations that an index keeps, so that it can go back to the model of one of them.

In: an index folder and the manifest of its live generation. Out: pointers, the latest first. Knows nothing of
why one is kept.

The list is a file of the live generation, and the manifest names it. So what is live and what is kept change
in one step. A version of this program that does not know the list publishes generations without one, and
removes what was kept.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from index.disk.checksums import is_sha256, sha256_of_bytes
from index.disk.folder import Pointer, is_generation
from index.disk.manifest import Manifest
from index.disk.opening import read_file
from index.errors import CorruptError

PREVIOUS = "previous.json"

_KEYS = ("generation", "manifest_sha256")


def read_previous(folder: Path, manifest: Manifest) -> tuple[Pointer, ...]:
    """The kept generations of an index, the latest first; none if its live generation has no list.

    folder: of the index.
    manifest: of the live generation.
    Raises CorruptError, StorageError for a lack of memory or open files.
    """
    if PREVIOUS not in manifest.files:
        return ()
    path = folder / manifest.generation / PREVIOUS
    try:
        data = read_file(path)
        if sha256_of_bytes(data) != manifest.files[PREVIOUS].sha256:
            raise ValueError("differs from what was published")
        return _pointers(json.loads(data), manifest.generation)
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise CorruptError(f"{path}: {reason}; restore the file or build the index again") from error


def used_generations(folder: Path, manifest: Manifest) -> set[str]:
    """The names of the live generation and of those that it keeps. Raises what `read_previous` raises."""
    return {manifest.generation, *(pointer.generation for pointer in read_previous(folder, manifest))}


def previous_json(pointers: Sequence[Pointer]) -> bytes:
    """The list as `read_previous` reads it."""
    return (json.dumps([pointer._asdict() for pointer in pointers], indent=2) + "\n").encode()


def _pointers(content: object, live: str) -> tuple[Pointer, ...]:
    if not isinstance(content, list):
        raise ValueError("is not a list")
    pointers = []
    for entry in content:
        if not isinstance(entry, dict) or sorted(entry) != sorted(_KEYS):
            raise ValueError(f"an entry has other keys than {' and '.join(_KEYS)}")
        generation, sha256 = (entry[key] for key in _KEYS)
        if not (isinstance(generation, str) and is_generation(generation)):
            raise ValueError("an entry names no generation")
        if not (isinstance(sha256, str) and is_sha256(sha256)):
            raise ValueError(f"{generation} has no SHA-256")
        pointers.append(Pointer(generation, sha256))
    names = [pointer.generation for pointer in pointers]
    if len({live, *names}) <= len(names):
        raise ValueError("names a generation twice")
    return tuple(pointers)
