"""Going back to the model that an index had before; its documents stay as they are today.

In: an index folder. Out: a new generation that is the kept one, with the documents that were added or deleted
since. Imports no torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from index.disk.previous import read_previous
from index.opened import open_index
from index.values import Progress, no_progress
from index.writing.builder import IndexBuilder
from retrieval.indexing.publish import publish
from retrieval.indexing.sync import encode_changes


@dataclass(frozen=True)
class RollbackResult:
    """What `rollback` did. The names of the fields are keys of the JSON that `peephole rollback` prints."""

    generation: str  # the new one
    restored: str  # the kept generation that it was made from
    model_fingerprint: str
    documents: int  # in the index now, as many as before
    encoded: int  # documents that were added or changed since the kept generation was live
    deleted: int  # documents of the kept generation that were deleted or changed since
    previous: list[str]  # generations that are still kept, the latest first


def rollback(index: Path, *, wait: float = 0.0, progress: Progress = no_progress) -> RollbackResult:
    """Make the last kept generation live again, in one atomic step.

    The documents are those of today: what was added or changed since is encoded by the old model, what was
    deleted stays deleted. A rollback that is cut short has changed nothing; the next one goes on with what
    was encoded. The generation that was live is not kept.

    index: the index folder.
    wait: seconds to wait for another writer.
    progress: called as documents are compared and encoded and segments are written.
    Raises InputError if no generation is kept, CorruptError, BusyError, StorageError.
    """
    with IndexBuilder.begin_rollback(index, wait=wait) as builder:
        with open_index(index) as live:
            restored = read_previous(index, live.manifest)[0].generation
            comparison = encode_changes(builder, live.live_documents(), live.count, progress)
        encoded, gone = builder.count, comparison.gone()
        deleted = builder.replaced() + sum(map(len, gone))
        manifest = publish(builder, progress, gone=gone, unchanged=True)
    return RollbackResult(
        manifest.generation,
        restored,
        manifest.model_fingerprint,
        manifest.documents,
        encoded,
        deleted,
        [pointer.generation for pointer in read_previous(index, manifest)],
    )
