"""Compaction of an index: one segment, without tombstones.

In: an index folder. Out: the manifest of the live generation. Open readers keep their generation.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from index.disk.manifest import Manifest
from index.interaction.writing import WordEncoder
from index.opened import open_index
from index.values import Progress, QueriesOf, no_progress
from index.writing.builder import IndexBuilder
from index.writing.leftovers import remove_leftovers


def compact(
    folder: Path,
    *,
    words: Callable[[Path], WordEncoder | None] = lambda model: None,
    queries: Callable[[Path], QueriesOf | None] = lambda model: None,
    progress: Progress = no_progress,
    wait: float = 0.0,
) -> Manifest:
    """Merge all segments of an index into one, without documents that were deleted or replaced.

    folder: of the index. If it is compact already, only the leftovers of interrupted writes are removed.
    words: makes what gives words as vectors from the folder of the index's model; None to store none.
    queries: makes what gives queries to tune by from that folder; None to tune by the documents themselves.
    progress: called during every stage.
    wait: seconds to wait for another writer.
    Raises BusyError, StorageError, CorruptError, InputError if there is no index, RemoteError for an index in
    Milvus, whose documents go to a new collection.
    """
    with open_index(folder) as live:
        entries = live.manifest.segments
        bare = bool(live.manifest.store) and not live.count  # a collection needs a document to be made of
        if bare or (len(entries) <= 1 and not any(entry.deleted for entry in entries)):
            remove_leftovers(folder, wait)
            return live.manifest
    with IndexBuilder.begin_adding(folder, source="compact", wait=wait) as builder:
        return builder.publish(
            compact=True, words=words(builder.model), queries=queries(builder.model), progress=progress
        )
