"""IndexBuilder: documents and vectors in, a published generation out; killed at any time, nothing is lost.

Between `begin` and `publish` the live generation stays as it is. What `append` has acknowledged survives, and
a later `begin` with resume=True goes on from there.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from index.documents import Document
from index.errors import InputError, PeepholeError
from index.files import WriterLock, list_files, sha256_of, storing, sync_folder, write_atomically
from index.folder import Pointer, next_generation, prepare, remove, sweep, write_current
from index.manifest import FORMAT_VERSION, MANIFEST, FileEntry, Manifest
from index.model import copy_model, fingerprint
from index.segment import write_segment
from index.staging import Plan, Staging

# Name of the stage, done, total.
Progress = Callable[[str, int, int], None]


class IndexBuilder:
    """Holds the writer lock of an index folder from `begin` to the end of the with block."""

    def __init__(self, folder: Path, lock: WriterLock, staging: Staging) -> None:
        self._folder = folder
        self._lock = lock
        self._staging = staging

    @classmethod
    def begin(
        cls, folder: Path, *, model: Path, dimension: int, source: str, resume: bool = False
    ) -> IndexBuilder:
        """Start a build, or go on with one that was killed.

        model: folder to carry in the index. source: fingerprint of the corpus. resume: go on from what is
        staged if model, source and dimension are the same; otherwise, and without it, that is thrown away.
        Raises BusyError, InputError for a model or folder that will not do, StorageError.
        """
        if dimension < 1:
            raise InputError(f"vectors need at least one dimension, not {dimension}")
        plan = Plan(fingerprint(model), source, dimension)
        lock = prepare(folder)
        try:
            staging = Staging.resume(folder, plan) if resume else None
            return cls(folder, lock, staging or Staging.create(folder, model, plan))
        except BaseException:
            lock.release()
            raise

    @property
    def count(self) -> int:
        """Documents staged; the caller goes on with the next."""
        return self._staging.count

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

    def publish(self, *, progress: Progress | None = None) -> Manifest:
        """Make what was appended the live generation, in one atomic step; call once, at the end.

        Raises InputError if there are no documents, StorageError; then the last published generation stays.
        """
        if not self.count:
            raise InputError("the corpus has no documents; nothing was published")
        report = progress or (lambda stage, done, total: None)
        generation = self._staging.folder / "generation"
        try:
            manifest = self._assemble(generation, report)
            pointer = self._put_in_place(generation, manifest)
        except BaseException:
            with suppress(OSError):  # its room may be what the next attempt needs
                remove(generation)
            raise
        write_current(self._folder, pointer)
        with suppress(PeepholeError):  # published all the same; the next writer clears it away
            self._staging.discard()
        sweep(self._folder, manifest.generation)
        return manifest

    def close(self) -> None:
        """Release the lock, leaving what is staged for a later resume; again is harmless."""
        with suppress(PeepholeError):
            if self.count:
                self._staging.close()
            else:
                self._staging.discard()
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _assemble(self, generation: Path, report: Progress) -> Manifest:
        """Write everything but the manifest."""
        staging = self._staging
        with storing(generation):
            remove(generation)
            generation.mkdir()
        copy_model(staging.model, generation / "model")
        segment = write_segment(
            generation / "segment-000001", staging.documents, staging.vectors, staging.plan.dimension, report
        )
        return Manifest(
            format_version=FORMAT_VERSION,
            generation=next_generation(self._folder),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            documents=staging.count,
            dimension=staging.plan.dimension,
            model_fingerprint=staging.plan.model_fingerprint,
            source=staging.plan.source,
            segments=(segment,),
            files=_entries(generation, report),
        )

    def _put_in_place(self, generation: Path, manifest: Manifest) -> Pointer:
        """Write the manifest, then move the generation out of staging; nothing names it yet."""
        data = manifest.to_json()
        write_atomically(generation / MANIFEST, data)
        with storing(generation):
            for folder, _, _ in os.walk(generation):
                sync_folder(Path(folder))
            generation.rename(self._folder / manifest.generation)
            sync_folder(self._folder)
        return Pointer(manifest.generation, hashlib.sha256(data).hexdigest())


def _entries(generation: Path, report: Progress) -> dict[str, FileEntry]:
    with storing(generation):
        names = list_files(generation)
        entries = {}
        for done, name in enumerate(names, 1):
            path = generation / name
            entries[name] = FileEntry(sha256_of(path), path.stat().st_size)
            report("checksums", done, len(names))
    return entries
