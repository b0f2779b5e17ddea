"""Adoption: the live generation of another index folder becomes the next one of an index.

In: an index folder, and an open index on the same disk that was prepared beside it. Out: the manifest of the
new live generation, which shares the files of the other. Only the holder of the writer lock may call this.
"""

from __future__ import annotations

from pathlib import Path

from index.disk.folder import Pointer
from index.disk.manifest import Manifest
from index.reader import Index
from index.values import Progress, no_progress
from index.writing.publish import Kept, Origin, publish


def adopt(
    folder: Path, prepared: Index, previous: tuple[Pointer, ...], progress: Progress = no_progress
) -> Manifest:
    """Publish a prepared generation in one atomic step.

    folder: of the index.
    prepared: the generation, with its model and documents; closed at the end.
    previous: the generations to keep, the latest first; all others are removed.
    progress: called during the checksums.
    Raises StorageError. The last published generation then stays live.
    """
    kept = [Kept(segment, segment.deleted()) for segment in prepared.segments]
    return publish(folder, Origin.of(prepared, previous), prepared, kept, None, progress)
