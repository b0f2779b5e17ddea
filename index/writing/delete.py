"""Deletion of documents: a generation that shares all files with the one before and has new tombstones.

In: an index folder and document ids. Out: the number of deleted documents. Open readers keep theirs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from index.disk.folder import prepare, read_current, sweep_staging
from index.errors import InputError
from index.opened import open_index
from index.protocol import OpenIndex
from index.reader import Index
from index.values import no_progress
from index.writing.publish import Kept, Origin, publish


def delete(folder: Path, ids: Sequence[str], *, missing_ok: bool = False, wait: float = 0.0) -> int:
    """Delete documents by their ids; returns how many were deleted.

    folder: of the index.
    ids: of the documents; repeated ids count once.
    missing_ok: ignore ids that no document has. Without it, such an id is an error and nothing is deleted.
    wait: seconds to wait for another writer.
    Raises InputError, BusyError, StorageError, CorruptError; RemoteError of an index in Milvus.
    """
    open_index(folder).close()  # raises before a lock file is left in a folder without an index
    unique_ids = list(dict.fromkeys(ids))
    with prepare(folder, wait), open_index(folder) as live:
        deleted = [part.rows_of(unique_ids) for part in live.parts()]
        missing = [each for each in unique_ids if not any(each in rows for rows in deleted)]
        if missing and not missing_ok:
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise InputError(
                f"no document has the id {missing[0]!r}{more}; nothing was deleted (see --missing-ok)",
                path=folder,
            )
        count = sum(map(len, deleted))
        if count:
            _publish(folder, live, deleted)
            sweep_staging(folder, read_current(folder))  # no addition to the generation before can go on
        return count


def _publish(folder: Path, live: OpenIndex, deleted: Sequence[Mapping[str, int]]) -> None:
    """Publish a generation without some documents. deleted: for each part of the index the rows by id."""
    rows = [np.array(list(part.values()), np.int64) for part in deleted]
    if isinstance(live, Index):
        kept = [
            Kept(segment, np.union1d(segment.deleted(), gone))
            for segment, gone in zip(live.segments, rows, strict=True)
        ]
        publish(folder, Origin.of(live), live, kept, None, no_progress)
        return
    from index.remote.reader import RemoteIndex
    from index.writing.remote import delete_remote

    if isinstance(live, RemoteIndex):
        delete_remote(folder, live, np.sort(rows[0]))
