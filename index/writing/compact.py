"""Compact an index: one segment, without the documents that were deleted or replaced.

In: an index folder. Out: the manifest of the generation that is live then. Open readers keep theirs.
"""

from __future__ import annotations

from pathlib import Path

from index.disk.folder import prepare, read_current, sweep, sweep_staging
from index.disk.manifest import Manifest
from index.reader import Index
from index.values import Progress, no_progress
from index.writing.builder import IndexBuilder


def compact(folder: Path, *, progress: Progress = no_progress, wait: float = 0.0) -> Manifest:
    """Make one segment of an index, without the documents that were deleted or replaced. Where that is done
    already, what an interrupted write left behind is removed.

    Raises BusyError, StorageError, CorruptError, InputError where no index is.
    """
    with Index.open(folder) as live:
        if len(live.segments) <= 1 and all(segment.live is None for segment in live.segments):
            with prepare(folder, wait):
                sweep(folder, read_current(folder).generation)
                sweep_staging(folder)
            return live.manifest
    with IndexBuilder.begin_adding(folder, source="compact", wait=wait) as builder:
        return builder.publish(compact=True, progress=progress)
