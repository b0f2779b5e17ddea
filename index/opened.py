"""Opening of an index wherever its vectors live: in the folder's own files, or in Milvus.

In: an index folder. Out: an open index. Knows nothing of what either does.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from index.disk.folder import Pointer
from index.errors import ElsewhereError
from index.reader import Index

if TYPE_CHECKING:
    from index.protocol import OpenIndex


def open_index(folder: Path, *, checksums: bool = False) -> OpenIndex:
    """Open the live generation of an index.

    folder: of the index.
    checksums: compare every byte first.
    Raises what `Index.open` raises, except ElsewhereError; for an index in Milvus also RemoteError and
    MissingExtraError.
    """
    try:
        return Index.open(folder, checksums=checksums)
    except ElsewhereError:
        from index.remote.reader import RemoteIndex  # a local search must not wait for it

        return RemoteIndex.open(folder, checksums=checksums)


def open_kept(folder: Path, pointer: Pointer) -> OpenIndex:
    """Open a generation that the live one keeps, see index/disk/previous.py.

    It can be gone, unless the caller holds the writer lock or has this generation open already. Raises
    CorruptError, StorageError; for an index in Milvus also RemoteError, MissingExtraError.
    """
    try:
        return Index.open_kept(folder, pointer)
    except ElsewhereError:
        from index.remote.reader import RemoteIndex

        return RemoteIndex.open_kept(folder, pointer)
