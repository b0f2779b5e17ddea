"""Opening of an index wherever its vectors live: in the folder's own files, or in Milvus.

In: an index folder. Out: an open index. Knows nothing of what either does.
"""

from __future__ import annotations

from pathlib import Path

from index.disk.folder import read_current, read_manifest
from index.errors import CorruptError, FormatVersionError
from index.protocol import OpenIndex
from index.reader import Index


def open_index(folder: Path, *, checksums: bool = False) -> OpenIndex:
    """Open the live generation of an index.

    folder: of the index.
    checksums: compare every byte first.
    Raises what `Index.open` raises; for an index in Milvus also RemoteError and MissingExtraError.
    """
    if is_remote(folder):
        from index.remote.reader import RemoteIndex  # a local search must not wait for it

        return RemoteIndex.open(folder, checksums=checksums)
    return Index.open(folder, checksums=checksums)


def is_remote(folder: Path) -> bool:
    """Whether an index lives in Milvus. Raises InputError if there is no index, StorageError."""
    pointer = read_current(folder)
    try:
        return bool(read_manifest(folder, pointer).store)
    except (CorruptError, FormatVersionError):
        return False  # damaged, or removed by a writer meanwhile: `Index.open` finds out and says so
