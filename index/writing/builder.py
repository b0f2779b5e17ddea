"""IndexBuilder: documents and vectors in, a published generation out; killed at any time, nothing is lost.

Between `begin` and `publish` the live generation stays as it is. What `append` has acknowledged survives, and
a later `begin` with resume=True goes on from there.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from index.dense.tuning import Goal
from index.disk.carried_model import fingerprint
from index.disk.files import WriterLock
from index.disk.folder import prepare
from index.disk.manifest import Manifest, SegmentEntry
from index.documents.store import Document
from index.errors import InputError, PeepholeError
from index.lexical.postings import Lengths
from index.reader import Index
from index.segment import write_segment
from index.values import Progress, no_progress
from index.writing.publish import Kept, Origin, publish
from index.writing.staging import Plan, Staging

# Rows copied at once from an old segment into a new one.
_COPIED = 4096


class IndexBuilder:
    """Holds the writer lock of an index folder from `begin` to the end of the with block."""

    def __init__(
        self, folder: Path, lock: WriterLock, staging: Staging, origin: Origin, base: Index | None
    ) -> None:
        """Use `begin` or `begin_adding`. base: the live generation, if documents are added to it."""
        self._folder = folder
        self._lock = lock
        self._staging = staging
        self._origin = origin
        self._base = base

    @classmethod
    def begin(
        cls,
        folder: Path,
        *,
        model: Path,
        dimension: int,
        source: str,
        goal: Goal | None = None,
        resume: bool = False,
        wait: float = 0.0,
    ) -> IndexBuilder:
        """Start a build, or go on with one that was killed.

        model: folder to carry in the index. source: fingerprint of the corpus. goal: what FAISS index to
        choose, exact search without one; additions keep to it. resume: go on from what is staged if model,
        source and dimension are the same; otherwise, and without it, that is thrown away. wait: seconds to
        wait for another writer.
        Raises BusyError, InputError for a model or folder that will not do, StorageError.
        """
        wanted = goal or Goal(recall=1)
        if dimension < 1:
            raise InputError(f"vectors need at least one dimension, not {dimension}")
        plan = Plan(fingerprint(model), source, dimension)
        lock = prepare(folder, wait)
        try:
            staging = (Staging.resume(folder, plan) if resume else None) or Staging.create(
                folder, model, plan
            )
            origin = Origin(
                staging.model,
                plan.model_fingerprint,
                dimension,
                source,
                wanted.to_mapping(),
            )
            return cls(folder, lock, staging, origin, None)
        except BaseException:
            lock.release()
            raise

    @classmethod
    def begin_adding(
        cls, folder: Path, *, source: str, resume: bool = False, wait: float = 0.0
    ) -> IndexBuilder:
        """Start to add documents to an index, or go on with it; they replace those of the same ids.

        Raises BusyError, what `Index.open` raises, StorageError.
        """
        Index.open(folder).close()  # before a lock is left where no index is
        lock = prepare(folder, wait)
        try:
            base = Index.open(folder)
        except BaseException:
            lock.release()
            raise
        try:
            live = base.manifest
            plan = Plan(live.model_fingerprint, source, live.dimension, live.generation)
            staging = Staging.resume(folder, plan) if resume else None
            staging = staging or Staging.create(folder, base.model_folder, plan)
            return cls(folder, lock, staging, Origin.of(base), base)
        except BaseException:
            base.close()
            lock.release()
            raise

    @property
    def count(self) -> int:
        """Documents staged; the caller goes on with the next."""
        return self._staging.count

    @property
    def model(self) -> Path:
        """The folder of the model whose vectors are wanted: a copy, compared with the fingerprint."""
        return self._staging.model

    def append(self, documents: Sequence[Document], vectors: NDArray[np.float32]) -> None:
        """Store documents with their vectors, float32 (n, dimension): all or none, on the disk on return.

        Raises InputError for an id that is there already and for vectors of another shape or type or not
        finite, StorageError. After either, `append` can be called again.
        """
        expected = (len(documents), self._staging.plan.dimension)
        if not isinstance(vectors, np.ndarray) or vectors.dtype != np.float32 or vectors.shape != expected:
            got = (
                f"{vectors.dtype} {vectors.shape}"
                if isinstance(vectors, np.ndarray)
                else type(vectors).__name__
            )
            raise InputError(f"vectors must be float32 {expected}, not {got}")
        finite = np.isfinite(vectors).all(axis=1)
        if not finite.all():
            name = documents[int(np.flatnonzero(~finite)[0])].id
            raise InputError(f"the vector of document {name!r} is not finite; check the model")
        if documents:
            self._staging.append(documents, vectors)

    def replaced(self) -> int:
        """How many of the staged documents take the place of one that the index has."""
        return sum(len(rows) for rows in self._replaced())

    def publish(
        self,
        *,
        compact: bool = False,
        queries: NDArray[np.float32] | None = None,
        progress: Progress = no_progress,
    ) -> Manifest:
        """Make what was appended live, in one atomic step; call once, at the end.

        compact: make one segment of all that the index holds. Otherwise small segments join the new one, each
        that is no larger than twice what has been gathered by then, so that segments grow at least by halves
        and stay few. queries: unit vectors of real queries to tune by, float32 (n, dimension).
        Raises InputError if there are no documents or nothing meets the goal, StorageError; then the last
        published generation stays.
        """
        if not self.count and not compact:
            raise InputError("the corpus has no documents; nothing was published")
        kept = self._gather(compact, progress)
        others = Lengths(
            sum(one.segment.entry.documents for one in kept), sum(one.segment.entry.words for one in kept)
        )

        def write(folder: Path) -> SegmentEntry:
            staging = self._staging
            return write_segment(
                folder,
                staging.documents,
                staging.vectors,
                staging.plan.dimension,
                others,
                Goal.of(self._origin.goal),
                queries,
                progress,
            )

        manifest = publish(
            self._folder, self._origin, self._base, kept, write if self.count else None, progress
        )
        with suppress(PeepholeError):  # published all the same; the next writer clears it away
            self._staging.discard()
        return manifest

    def close(self) -> None:
        """Release the lock, leaving what is staged for a later resume; again is harmless."""
        with suppress(PeepholeError):
            if self.count:
                self._staging.close()
            else:
                self._staging.discard()
        if self._base is not None:
            self._base.close()
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _replaced(self) -> list[NDArray[np.int64]]:
        """For each segment of the base, the live rows whose ids are staged."""
        segments = self._base.segments if self._base else ()
        found: list[list[int]] = [[] for _ in segments]
        for ids in self._staging.documents.ids():
            for rows, segment in zip(found, segments, strict=True):
                rows += segment.rows_of(ids).values()
        return [np.array(rows, np.int64) for rows in found]

    def _gather(self, compact: bool, progress: Progress) -> list[Kept]:
        """Stage once more what small segments hold, and tell which segments stay."""
        segments = self._base.segments if self._base else ()
        parts = [
            Kept(segment, np.union1d(segment.deleted(), rows))
            for segment, rows in zip(segments, self._replaced(), strict=True)
        ]
        chosen = parts if compact else _smaller(parts, self.count)
        if chosen:
            self._staging.seal()
        done, total = 0, sum(part.live for part in chosen)
        for part in chosen:
            rows = np.setdiff1d(np.arange(part.segment.count), part.deleted)
            for start in range(0, len(rows), _COPIED):
                some = rows[start : start + _COPIED]
                documents = part.segment.documents.documents(some.tolist())
                self._staging.append(documents, part.segment.vectors.take(some))
                done += len(some)
                progress("gathering", done, total)
        return [part for part in parts if part not in chosen]


def _smaller(parts: Sequence[Kept], count: int) -> list[Kept]:
    """The segments that join `count` new documents, in their order."""
    chosen = []
    for part in sorted(parts, key=lambda part: part.live):
        if part.live > 2 * count:
            break
        chosen.append(part)
        count += part.live
    return [part for part in parts if part in chosen]
