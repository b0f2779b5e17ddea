"""Index: an open generation, read-only. Vectors or words in, rankings of rows out; rows in, documents out.

Opening checks the pointer, the manifest and the size of every file, and on request every byte.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from itertools import accumulate
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from index.check import file_problems, verify
from index.dense import search_exact
from index.documents import Document
from index.errors import CorruptError, InputError
from index.folder import Pointer, hold, read_current, read_manifest
from index.manifest import Manifest
from index.ranking import Ranking, empty_ranking, merge
from index.segment import Segment

__all__ = ["Index", "Ranking", "verify"]


class Index:
    """One generation, kept whole until it is closed, whatever is published meanwhile; safe for threads.

    manifest: what was published. count: documents; their rows are 0 to count - 1. model_folder: the model
    inside.
    """

    def __init__(
        self, generation: Path, manifest: Manifest, segments: Sequence[Segment], opened: ExitStack
    ) -> None:
        """Use `open`. opened: what to close in the end."""
        self.manifest = manifest
        self.count = manifest.documents
        self.dimension = manifest.dimension
        self.generation = manifest.generation
        self.model_folder = generation / "model"
        self._segments = tuple(segments)
        self._offsets = [0, *accumulate(segment.count for segment in segments)][:-1]
        self._opened = opened

    @classmethod
    def open(cls, folder: Path, *, checksums: bool = False) -> Index:
        """Open the live generation. checksums: read every byte first and compare.

        Raises InputError where no index is, CorruptError, FormatVersionError.
        """
        pointer = read_current(folder)
        while True:
            try:
                return _open(folder, pointer, checksums)
            except CorruptError:
                before, pointer = pointer, read_current(folder)
                if pointer == before:  # otherwise a writer has published and swept between our two looks
                    raise

    def search_dense(self, queries: NDArray[np.float32], k: int) -> Ranking:
        """The nearest documents of unit vectors, float32 (n, dimension), by inner product.

        (n, min(k, count)) results. Raises InputError for another shape, NaN or a k below 1.
        """
        return self.search_exact(queries, k)

    def search_exact(self, queries: NDArray[np.float32], k: int) -> Ranking:
        """`search_dense` by comparing with every stored vector: the truth for the recall of other indexes."""
        wanted = np.ascontiguousarray(queries, np.float32)
        if wanted.ndim != 2 or wanted.shape[1] != self.dimension:
            raise InputError(f"queries must have the shape (n, {self.dimension}), not {wanted.shape}")
        if not np.isfinite(wanted).all():
            raise InputError("a query vector is not finite; check the model")
        return self._search(k, len(wanted), lambda segment, k: search_exact(segment.vectors, wanted, k))

    def search_lexical(self, queries: Sequence[str], k: int) -> Ranking:
        """The best documents by BM25; those that share no term with the query are left out (row -1).

        (n, min(k, count)) results. Raises InputError for a k below 1.
        """
        return self._search(k, len(queries), lambda segment, k: segment.lexical.search(queries, k))

    def documents(self, rows: Sequence[int]) -> list[Document]:
        """The documents of these rows, in their order. Raises IndexError for a row outside the index."""
        found: dict[int, Document] = {}
        for segment, offset in zip(self._segments, self._offsets, strict=True):
            inside = [row for row in rows if offset <= row < offset + segment.count]
            local = segment.documents.documents([row - offset for row in inside])
            found.update(zip(inside, local, strict=True))
        missing = [row for row in rows if row not in found]
        if missing:
            raise IndexError(f"row {missing[0]} is not in the index, which has {self.count} documents")
        return [found[row] for row in rows]

    def row_of(self, id: str) -> int | None:  # noqa: A002
        """The row of the document with this id, if there is one."""
        for segment, offset in zip(self._segments, self._offsets, strict=True):
            row = segment.documents.row_of(id)
            if row is not None:
                return row + offset
        return None

    def close(self) -> None:
        """Let go of the generation; again is harmless."""
        self._opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _search(self, k: int, queries: int, search: Callable[[Segment, int], Ranking]) -> Ranking:
        if k < 1:
            raise InputError(f"k must be at least 1, not {k}")
        k = min(k, self.count)
        if not queries:
            return empty_ranking(0, k)
        parts = [search(segment, min(k, segment.count)) for segment in self._segments]
        return parts[0] if len(parts) == 1 else merge(parts, self._offsets, k)


def _open(folder: Path, pointer: Pointer, checksums: bool) -> Index:
    generation = folder / pointer.generation
    handle = hold(generation)
    opened = ExitStack()
    opened.callback(os.close, handle)
    with opened:
        manifest = read_manifest(folder, pointer)
        for problem in file_problems(generation, manifest, checksums=checksums):
            raise CorruptError(problem)
        segments = [
            opened.enter_context(closing(Segment(generation / entry.name, entry, manifest.dimension)))
            for entry in manifest.segments
        ]
        return Index(generation, manifest, segments, opened.pop_all())
