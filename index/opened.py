"""Opening of an index wherever its vectors live.

In: an index folder. Out: an open index. Knows nothing of what it does.
"""

from __future__ import annotations

from pathlib import Path

from index.protocol import OpenIndex
from index.reader import Index


def open_index(folder: Path, *, checksums: bool = False) -> OpenIndex:
    """Open the live generation of an index.

    folder: of the index.
    checksums: compare every byte first.
    Raises what `Index.open` raises.
    """
    return Index.open(folder, checksums=checksums)
