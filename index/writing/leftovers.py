"""Removal of what interrupted writes have left in an index folder.

In: an index folder. Out: nothing; no document changes.
"""

from __future__ import annotations

from pathlib import Path

from index.disk.folder import prepare, read_current, read_manifest, sweep, sweep_staging
from index.disk.previous import used_generations


def remove_leftovers(folder: Path, wait: float = 0.0) -> None:
    """Remove the generations that nobody uses, and a staged build that cannot be resumed.

    folder: of the index.
    wait: seconds to wait for another writer.
    Raises BusyError, StorageError, CorruptError, InputError if there is no index.
    """
    with prepare(folder, wait):
        sweep(folder, used_generations(folder, read_manifest(folder, read_current(folder))))
        sweep_staging(folder)
