"""Changes to an index that need no new vectors: documents deleted, segments made one.

Each is one atomic generation, durable on return; readers that are open keep theirs.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from index.disk.folder import prepare, read_current, sweep, sweep_staging
from index.disk.manifest import Manifest
from index.errors import InputError
from index.reader import Index
from index.writing.builder import IndexBuilder
from index.writing.publish import Kept, Origin, Progress, publish


def delete(folder: Path, ids: Sequence[str], *, missing_ok: bool = False, wait: float = 0.0) -> int:
    """Delete documents by their ids; returns how many there were.

    missing_ok: pass over ids that no document has, instead of deleting nothing. wait: seconds to wait for
    another writer. Raises InputError, BusyError, StorageError, CorruptError.
    """
    Index.open(folder).close()  # before a lock is left where no index is
    wanted = list(dict.fromkeys(ids))
    with prepare(folder, wait), Index.open(folder) as live:
        found = [segment.rows_of(wanted) for segment in live.segments]
        missing = [name for name in wanted if not any(name in rows for rows in found)]
        if missing and not missing_ok:
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise InputError(
                f"no document has the id {missing[0]!r}{more}; nothing was deleted (see --missing-ok)",
                path=folder,
            )
        count = sum(map(len, found))
        if count:
            kept = [
                Kept(segment, np.union1d(segment.deleted(), np.array(list(rows.values()), np.int64)))
                for segment, rows in zip(live.segments, found, strict=True)
            ]
            manifest = live.manifest
            origin = Origin(
                live.model_folder,
                manifest.model_fingerprint,
                manifest.dimension,
                manifest.source,
                manifest.goal,
            )
            publish(folder, origin, live, kept, None, lambda stage, done, total: None)
        return count


def compact(folder: Path, *, progress: Progress | None = None, wait: float = 0.0) -> Manifest:
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
