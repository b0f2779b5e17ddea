"""Opening of an index wherever its vectors live: in the folder's own files, or in Milvus.

In: an index folder. Out: an open index. Knows nothing of what either does.
"""

from __future__ import annotations

from pathlib import Path

from index.errors import ElsewhereError
from index.protocol import OpenIndex
from index.reader import Index


def open_index(folder: Path, *, checksums: bool = False) -> OpenIndex:
    """Open the live generation of an index.

    folder: of the index.
    checksums: compare every byte first.
    Raises what `Index.open` raises but ElsewhereError; for an index in Milvus RemoteError, MissingExtraError.
    """
    try:
        return Index.open(folder, checksums=checksums)
    except ElsewhereError:
        from index.remote.reader import RemoteIndex  # a local search must not wait for it

        return RemoteIndex.open(folder, checksums=checksums)
