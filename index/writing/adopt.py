"""Adoption: the live generation of another index folder becomes the next one of an index.

In: an index folder, and an open index that was prepared as its candidate. Out: the manifest of the new live
generation, which shares the files of the other, or its collection in Milvus. Only the holder of the writer
lock may call this.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

from index.disk.folder import Pointer
from index.disk.manifest import Manifest
from index.protocol import OpenIndex
from index.reader import Index
from index.values import Progress, no_progress
from index.writing.publish import Kept, Origin, publish

if TYPE_CHECKING:
    from index.remote.reader import RemoteIndex


def adopt(
    folder: Path, prepared: OpenIndex, previous: tuple[Pointer, ...], progress: Progress = no_progress
) -> Manifest:
    """Publish a prepared generation in one atomic step.

    folder: of the index.
    prepared: the generation, with its model and documents; closed at the end.
    previous: the generations to keep, the latest first; all others are removed.
    progress: called during the checksums.
    Raises StorageError, and RemoteError for an index in Milvus. The published generation then stays live.
    """
    if not isinstance(prepared, Index):
        from index.writing.remote import adopt_remote

        return adopt_remote(folder, cast("RemoteIndex", prepared), previous, progress)
    kept = [Kept(segment, segment.deleted()) for segment in prepared.segments]
    return publish(folder, Origin.of(prepared, previous), prepared, kept, None, progress)
