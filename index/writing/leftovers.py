"""Removal of what interrupted writes have left in an index folder, and of its index in Milvus on the server.

In: an index folder. Out: nothing; no document changes.
"""

from __future__ import annotations

from pathlib import Path

from index.disk.folder import prepare, read_current, read_manifest, sweep, sweep_staging
from index.disk.previous import used_generations


def remove_leftovers(folder: Path, wait: float = 0.0) -> None:
    """Remove the generations that nobody uses, their collections, and a staged build that cannot be resumed.

    An addition cannot be resumed once the index was written to.

    folder: of the index.
    wait: seconds to wait for another writer.
    Raises BusyError, StorageError, CorruptError, InputError if there is no index; RemoteError.
    """
    with prepare(folder, wait):
        live = read_current(folder)
        manifest = read_manifest(folder, live)
        sweep(folder, used_generations(folder, manifest))
        sweep_staging(folder, live)
        if manifest.store:
            from index.writing.remote import tidy

            tidy(folder)
