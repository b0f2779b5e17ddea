"""The candidate: an index of the same documents by a newly learnt model, prepared beside the live one.

In: an open index, a model folder. Out: an index folder. It is brought up to date with the live documents, and
then published in place of the live generation. A build that is cut short is continued. Imports no torch.
Knows nothing of clicks.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from index.dense.tuning import Goal
from index.disk.carried_model import fingerprint
from index.disk.folder import prepare
from index.disk.manifest import Manifest
from index.disk.previous import read_previous
from index.errors import InputError, PeepholeError
from index.opened import open_index
from index.protocol import OpenIndex
from index.values import Progress
from index.writing.adopt import adopt
from index.writing.builder import IndexBuilder
from retrieval.indexing.build import encode_into
from retrieval.indexing.publish import publish
from retrieval.indexing.sync import encode_changes
from retrieval.model.folder import read_model


def build_candidate(
    folder: Path, model: Path, live: OpenIndex, queries: Sequence[str], progress: Progress
) -> None:
    """Encode the documents of an index with another model, into an index folder of their own.

    folder: of the candidate. If it holds a whole candidate by this model already, it stays as it is.
    model: the model folder.
    live: the index whose documents, passages and goal the candidate has.
    queries: real queries to tune by.
    progress: called as documents are encoded and segments are written.
    Raises what `IndexBuilder.begin` raises.
    """
    if _is_built(folder, model):
        return
    manifest, saved = live.manifest, read_model(model)
    store = manifest.store.get("address")
    builder = IndexBuilder.begin(
        folder,
        model=model,
        dimension=saved.config.dimension,
        source=manifest.source,
        passage_words=manifest.passage_words,
        goal=Goal.of(manifest.goal),
        resume=True,
        store=None if store is None else str(store),
        columns=manifest.columns,
    )
    with builder:
        encode_into(builder, read_model(builder.model), live.live_documents(), live.count, progress)
        publish(builder, progress, queries=queries)


def publish_candidate(
    index: Path, folder: Path, origin: OpenIndex, keep: int, wait: float, progress: Progress
) -> Manifest:
    """Make the candidate the live generation of the index, with all documents that the index holds by now.

    index: the index folder.
    folder: of the candidate.
    origin: the generation that the candidate was learnt from.
    keep: how many earlier generations stay for a rollback.
    wait: seconds to wait for another writer.
    progress: called as documents are compared and encoded.
    Raises InputError if the index has another model by now; BusyError, StorageError, CorruptError. The live
    generation then does not change.
    """
    with open_index(index) as live:  # most of the difference is encoded while others may write
        _bring_up_to_date(folder, live, origin, progress)
    with prepare(index, wait):
        with open_index(index) as live:
            _bring_up_to_date(folder, live, origin, progress)
            previous = (live.pointer, *read_previous(index, live.manifest))[:keep]
        with open_index(folder) as candidate:
            return adopt(index, candidate, previous, progress)


def _is_built(folder: Path, model: Path) -> bool:
    try:
        with open_index(folder) as candidate:
            return candidate.manifest.model_fingerprint == fingerprint(model)
    except PeepholeError:
        return False


def _bring_up_to_date(folder: Path, live: OpenIndex, origin: OpenIndex, progress: Progress) -> None:
    """Give the candidate the documents of the live generation, if the latter is no longer its origin."""
    then, now = origin.manifest, live.manifest
    if (then.model_fingerprint, then.passage_words, then.goal) != (
        now.model_fingerprint,
        now.passage_words,
        now.goal,
    ):
        raise InputError(
            "was built anew or rolled back while this one was learnt; learn again", path=live.folder
        )
    if live.pointer == origin.pointer:
        return
    with IndexBuilder.begin_adding(folder, source=live.pointer.manifest_sha256, resume=True) as builder:
        gone = encode_changes(builder, live.live_documents(), live.count, progress).gone()
        if builder.count or any(map(len, gone)):
            publish(builder, progress, gone=gone)
        else:
            builder.leave()
