"""IndexBuilder: builds an index or adds to one, and survives being killed at any time.

In: documents with vectors. Out: the manifest of the published generation. Knows nothing of text encoding.
Until `publish`, the live generation does not change. What `append` has stored survives a crash; a later
`begin` with resume=True continues from there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from index.dense.passages import Span, passage_table, whole_documents
from index.dense.tuning import Goal
from index.disk.carried_model import fingerprint
from index.disk.folder import prepare, rollback_of, sweep
from index.disk.manifest import Manifest, SegmentEntry
from index.disk.previous import read_previous, used_generations
from index.disk.writer_lock import WriterLock
from index.documents.store import Document
from index.errors import InputError, PeepholeError
from index.interaction.writing import WordEncoder
from index.lexical.postings import Lengths
from index.opened import open_index, open_kept
from index.protocol import OpenIndex
from index.reader import Index
from index.remote.address import Address
from index.values import Progress, QueriesOf, Rows, Scalar, no_progress
from index.writing.comparison import Comparison
from index.writing.merging import gather, merge
from index.writing.publish import Origin, publish
from index.writing.segment import write_segment
from index.writing.staging import Plan, Staging

_NONE = np.empty(0, np.int64)
_NO_COLUMNS: Mapping[str, Scalar] = MappingProxyType({})


class IndexBuilder:
    """A build in an index folder; holds its writer lock until `close` or the end of the with block."""

    def __init__(
        self,
        folder: Path,
        lock: WriterLock,
        staging: Staging,
        origin: Origin,
        base: OpenIndex | None,
        store: str | None = None,
    ) -> None:
        """Use `begin`, `begin_adding` or `begin_rollback`.

        base: the generation that is changed.
        store: the address of the collection, for an index in Milvus.
        """
        self._folder = folder
        self._lock = lock
        self._staging = staging
        self._origin = origin
        self._base = base
        self._store = store

    @classmethod
    def begin(
        cls,
        folder: Path,
        *,
        model: Path,
        dimension: int,
        source: str,
        passage_words: int = 0,
        goal: Goal | None = None,
        resume: bool = False,
        wait: float = 0.0,
        store: str | None = None,
        columns: Mapping[str, Scalar] = _NO_COLUMNS,
    ) -> IndexBuilder:
        """Start a build, or continue one that was killed.

        folder: of the index; made if it does not exist.
        model: folder of the model, which is copied into the index.
        dimension: width of the vectors.
        source: fingerprint of the corpus.
        passage_words: most words of a passage, for later additions too; 0 if documents are not split.
        goal: what the dense index must reach, also for later additions; None for exact search.
        resume: continue the staged build if its model, source and dimension are the same. Otherwise, and
            without it, a staged build is removed.
        wait: seconds to wait for another writer.
        store: milvus://HOST:PORT/COLLECTION for an index whose vectors and documents live there.
        columns: by which columns the corpus is read, for the manifest; empty for what is no table.
        Raises BusyError, InputError for a model or folder that cannot be used, StorageError; with a store
        also RemoteError, MissingExtraError, InputError for a name that another index has.
        """
        goal = goal or Goal(recall=1)
        if dimension < 1:
            raise InputError(f"vectors need at least one dimension, not {dimension}")
        plan = Plan(fingerprint(model), source, dimension, passage_words)
        if store is not None:
            from index.writing import remote  # a local build must not wait for it

            remote.claim(folder, Address.parse(store))  # refused before the folder is made
        with ExitStack() as undo:
            lock = prepare(folder, wait)
            undo.callback(lock.withdraw)
            staging = Staging.resume(folder, plan) if resume else None
            staging = staging or Staging.create(folder, model, plan)
            origin = Origin(
                staging.model,
                plan.model_fingerprint,
                dimension,
                source,
                passage_words,
                goal.to_mapping(),
                columns,
            )
            builder = cls(folder, lock, staging, origin, None, store)
            undo.pop_all()
        return builder

    @classmethod
    def begin_adding(
        cls,
        folder: Path,
        *,
        source: str,
        resume: bool = False,
        wait: float = 0.0,
        columns: Mapping[str, Scalar] | None = None,
    ) -> IndexBuilder:
        """Start to add documents to an index, or continue. They replace documents with the same ids.

        folder: of the index.
        source: fingerprint of the corpus that is added.
        resume: continue the staged addition if its source and base are the same.
        wait: seconds to wait for another writer.
        columns: by which columns all of the index is read from now on; None leaves what the manifest says.
        Raises BusyError, StorageError, and what `open_index` raises.
        """
        open_index(folder).close()  # raises before a lock file is left in a folder without an index
        with ExitStack() as undo:
            lock = prepare(folder, wait)
            undo.callback(lock.withdraw)
            base = undo.enter_context(open_index(folder))
            live = base.manifest
            plan = Plan(live.model_fingerprint, source, live.dimension, live.passage_words, live.generation)
            staging = Staging.resume(folder, plan) if resume else None
            staging = staging or Staging.create(folder, base.model_folder, plan)
            origin = Origin.of(base)
            if columns is not None:
                origin = replace(origin, columns=columns)
            builder = cls(folder, lock, staging, origin, base, _store_of(live))
            undo.pop_all()
        return builder

    @classmethod
    def begin_rollback(cls, folder: Path, *, wait: float = 0.0) -> IndexBuilder:
        """Start to go back to the last kept generation, or continue.

        The new generation keeps the generations before that one, but not the live one. The live and the kept
        generation may hold different documents. So that no document is lost, append those that the kept one
        lacks or that differ there, and give those that are gone to `publish`; `compare` finds both.

        folder: of the index.
        wait: seconds to wait for another writer.
        Raises InputError if no generation is kept, BusyError, StorageError, and what `open_index` raises.
        """
        open_index(folder).close()
        with ExitStack() as undo:
            lock = prepare(folder, wait)
            undo.callback(lock.withdraw)
            with open_index(folder) as live:
                previous = read_previous(folder, live.manifest)
            if not previous:
                raise InputError(
                    "keeps no earlier generation to go back to; `peephole learn` keeps them", path=folder
                )
            base = undo.enter_context(open_kept(folder, previous[0]))
            kept = base.manifest
            source = rollback_of(live.pointer)
            plan = Plan(kept.model_fingerprint, source, kept.dimension, kept.passage_words, kept.generation)
            staging = Staging.resume(folder, plan) or Staging.create(folder, base.model_folder, plan)
            builder = cls(folder, lock, staging, Origin.of(base, previous[1:]), base, _store_of(kept))
            undo.pop_all()
        return builder

    @property
    def count(self) -> int:
        """Number of documents that are staged; a resumed build continues after them."""
        return self._staging.count

    @property
    def model(self) -> Path:
        """The folder of the model that must encode the documents: a copy with the same fingerprint."""
        return self._staging.model

    @property
    def passage_words(self) -> int:
        """Most words of a passage; 0 if documents are not split."""
        return self._staging.plan.passage_words

    def append(
        self,
        documents: Sequence[Document],
        vectors: NDArray[np.float32],
        passages: Sequence[Sequence[Span]] | None = None,
    ) -> None:
        """Store documents with the vectors of their passages: all or none, durable on return.

        documents: the documents. One without known queries keeps those of the document that it replaces.
        vectors: float32 (passages, dimension), document by document.
        passages: the spans of each document, at least one; None if every document is one passage.
        Raises InputError for an id that is already staged, and for vectors of another shape or dtype or not
        finite; StorageError. After an error `append` can be called again.
        """
        table = whole_documents(len(documents)) if passages is None else passage_table(passages)
        expected = (len(table), self._staging.plan.dimension)
        if not isinstance(vectors, np.ndarray) or vectors.dtype != np.float32 or vectors.shape != expected:
            got = (
                f"{vectors.dtype} {vectors.shape}"
                if isinstance(vectors, np.ndarray)
                else type(vectors).__name__
            )
            raise InputError(f"vectors must be float32 {expected}, not {got}")
        finite = np.isfinite(vectors).all(axis=1)
        if not finite.all():
            document_id = documents[int(table[np.flatnonzero(~finite)[0], 0])].id
            raise InputError(f"the vector of document {document_id!r} is not finite; check the model")
        if self._store is not None:
            from index.remote.rows import check_lengths

            check_lengths(documents, table)
        if documents:
            self._staging.append(self._with_known_queries(documents), vectors, table)

    def compare(self) -> Comparison:
        """A comparison of a corpus with the index that documents are added to."""
        return Comparison(self._base.parts() if self._base else ())

    def held(self, ids: Sequence[str]) -> set[str]:
        """Those of these ids that documents of the index have. For a build that adds to an index."""
        return set(self._base.rows_of(ids)) if self._base else set()

    def replaced(self) -> int:
        """Number of staged documents that replace one in the index."""
        return sum(len(self.held(ids)) for ids in self._staging.documents.ids())

    def publish(
        self,
        *,
        compact: bool = False,
        unchanged: bool = False,
        empty: bool = False,
        gone: Sequence[Rows] = (),
        queries: QueriesOf | None = None,
        words: WordEncoder | None = None,
        progress: Progress = no_progress,
    ) -> Manifest:
        """Make the appended documents live, in one atomic step. Call it once, at the end.

        Small segments are merged into the new one by a size-tiered merge policy, ratio 2.

        compact: merge all segments into one instead.
        unchanged: publish even if no document is added or deleted.
        empty: publish even an index without documents.
        gone: for each segment of the index, live rows to delete in the same step; empty for none.
        queries: gives queries to tune by; None to tune by the documents themselves.
        words: gives the words of the documents as vectors, by which a model re-scores; None to store none.
        progress: called during every stage.
        Raises InputError if there are no documents or no dense index meets the goal, StorageError. The live
        generation then does not change.
        """
        if not (self.count or compact or unchanged or empty or any(map(len, gone))):
            raise InputError("the corpus has no documents; nothing was published")
        if self._store is not None:
            return self._publish_remote(self._store, compact, gone, queries, words, progress)
        segments = self._base.segments if isinstance(self._base, Index) else ()
        kept = merge(self._staging, segments, gone, compact, progress)
        entries = [part.segment.entry for part in kept]
        others = Lengths(sum(entry.documents for entry in entries), sum(entry.words for entry in entries))

        def write(folder: Path) -> SegmentEntry:
            goal = Goal.of(self._origin.goal)
            return write_segment(folder, self._staging, others, goal, queries, words, progress)

        manifest = publish(
            self._folder, self._origin, self._base, kept, write if self.count else None, progress
        )
        self._staging.discard()
        return manifest

    def leave(self) -> Manifest:
        """End an addition that changes nothing; returns the live manifest.

        The leftovers of killed writes are removed, as `publish` does. Raises InputError, CorruptError.
        """
        if self._base is None:
            raise InputError("the corpus has no documents; nothing was published")
        self._staging.discard()
        sweep(self._folder, used_generations(self._folder, self._base.manifest))
        return self._base.manifest

    def close(self) -> None:
        """Release the lock; staged documents stay for a later resume. Calling it again does nothing."""
        self._close()
        self._lock.release()

    def _close(self) -> None:
        with suppress(PeepholeError):
            if self.count:
                self._staging.close()
            else:
                self._staging.discard()
        if self._base is not None:
            self._base.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """`close`; after an error also remove the folder if it was made for this and nothing is staged."""
        self._close()
        self._lock.__exit__(kind, error, trace)

    def _with_known_queries(self, documents: Sequence[Document]) -> Sequence[Document]:
        """The documents. One without known queries gets those of the document that it replaces."""
        if self._base is None:
            return documents
        rows = self._base.rows_of([document.id for document in documents if not document.queries])
        known = {each.id: each.queries for each in self._base.documents(list(rows.values())) if each.queries}
        return [
            document._replace(queries=known[document.id]) if document.id in known else document
            for document in documents
        ]

    def _publish_remote(
        self,
        store: str,
        compact: bool,
        gone: Sequence[Rows],
        queries: QueriesOf | None,
        words: WordEncoder | None,
        progress: Progress,
    ) -> Manifest:
        """`publish` of an index whose vectors live in Milvus."""
        from index.remote.reader import RemoteIndex
        from index.writing.remote import add_remote, build_remote

        base = self._base if isinstance(self._base, RemoteIndex) else None
        if compact and base is not None:
            replaced = [row for ids in self._staging.documents.ids() for row in base.rows_of(ids).values()]
            gather(self._staging, base, {*replaced, *(gone[0].tolist() if gone else ())}, progress)
        if base is not None and not compact:
            rows = gone[0] if gone else _NONE
            manifest = add_remote(self._folder, base, self._origin, self._staging, rows, words, progress)
        elif self.count:
            manifest = build_remote(
                self._folder,
                self._origin,
                base,
                Address.parse(store),
                self._staging,
                queries,
                words,
                progress,
            )
        else:
            raise InputError("an index in Milvus is made of documents; give some")
        self._staging.discard()
        return manifest


def _store_of(manifest: Manifest) -> str | None:
    """The address of the collection; None for an index in files."""
    store = manifest.store.get("address")
    return None if store is None else str(store)
