"""Delete documents: one atomic generation that shares all files with the one before, with new tombstones.

In: an index folder and ids. Out: how many documents were deleted. Open readers keep their generation.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from index.disk.folder import prepare
from index.errors import InputError
from index.reader import Index
from index.values import no_progress
from index.writing.publish import Kept, Origin, publish


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
            publish(folder, Origin.of(live), live, kept, None, no_progress)
        return count
