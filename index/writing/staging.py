"""Staging: a build that is not published yet, durable after every append.

In: documents with vectors. Out: the same, after a crash too. Knows nothing of segments or searching.

    staging.json      the plan of the build: model, corpus, base; written last
    model/            a copy of the model
    documents.sqlite  the documents; their number is the number of rows that are done
    vectors.f16       raw float16 rows, one a passage
    passages.i32      the lines of split documents in the table of passages (index/dense/passages.py)
    generation/       the generation while it is made

Vectors and passages beyond those of the stored documents are incomplete and overwritten.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index.dense.passages import COLUMNS, is_table, split_lines, with_whole_documents
from index.dense.vectors import to_halves
from index.disk.carried_model import copy_model, fingerprint
from index.disk.files import clear_away, remove, storing, sync_folder, write_atomically
from index.disk.folder import PLAN, STAGING, sweep_staging
from index.disk.manifest import FORMAT_VERSION
from index.disk.opening import WrongKindError, is_alone, is_folder, open_own, read_file
from index.documents.store import Document
from index.documents.writer import DocumentWriter
from index.errors import CorruptError, InputError

# Documents whose lines are in memory at once.
_DOCUMENTS_A_TABLE = 1 << 16


@dataclass(frozen=True, slots=True)
class Plan:
    """What a build makes. A killed build is continued only if the plan is the same."""

    model_fingerprint: str
    source: str  # fingerprint of the corpus
    dimension: int
    passage_words: int  # most words of a passage; 0 if documents are not split
    base: str = ""  # the generation that documents are added to; empty for a new index
    format_version: int = FORMAT_VERSION


class Staging:
    """The documents and vectors of a build. Only the holder of the index's writer lock may have one."""

    def __init__(self, folder: Path, plan: Plan) -> None:
        """Open the staging folder of a killed build. Raises CorruptError if it cannot be continued."""
        self.folder = folder
        self.plan = plan
        self.model = folder / "model"
        self.vectors = folder / "vectors.f16"
        with ExitStack() as opened:
            with storing(self.vectors):
                self._file = opened.enter_context(_open_alone(self.vectors))
                self._table = opened.enter_context(_open_alone(folder / "passages.i32"))
            self.documents = DocumentWriter(folder / "documents.sqlite")
            opened.callback(self.documents.close)
            self._split = len(self._split_lines())
            self._passages = sum(map(len, self.passages()))
            if os.fstat(self._file.fileno()).st_size < self._passages * self._row_bytes:
                raise CorruptError(f"{self.vectors}: ends early; build again without --resume")
            self._opened = opened.pop_all()

    @classmethod
    def create(cls, index: Path, model: Path, plan: Plan) -> Staging:
        """Start a new build; removes what was staged before.

        index: folder of the index.
        model: folder of the model, which is copied.
        plan: what is built.
        Raises InputError if the model cannot be used or changes meanwhile, StorageError.
        """
        folder = index / STAGING
        try:
            with storing(folder):
                remove(folder)
                folder.mkdir()
            copy_model(model, folder / "model")
            if fingerprint(folder / "model") != plan.model_fingerprint:
                raise InputError("changed while it was copied; build again", path=model)
            staging = cls(folder, plan)
            with storing(folder):
                sync_folder(folder)
                sync_folder(index)
            write_atomically(folder / PLAN, json.dumps(asdict(plan)).encode())
        except BaseException:
            sweep_staging(index)
            raise
        return staging

    @classmethod
    def resume(cls, index: Path, plan: Plan) -> Staging | None:
        """The staged build; None if there is none, its plan is another, or it is damaged."""
        folder = index / STAGING
        try:
            if json.loads(read_file(folder / PLAN)) != asdict(plan):
                return None
            if not is_folder(folder / "model"):
                return None
            if fingerprint(folder / "model") != plan.model_fingerprint:
                return None
            return cls(folder, plan)
        except (OSError, ValueError, RecursionError, InputError, CorruptError):
            return None

    @property
    def count(self) -> int:
        """Number of documents stored, each with its vectors."""
        return self.documents.count

    @property
    def _row_bytes(self) -> int:
        return self.plan.dimension * 2

    @property
    def passage_count(self) -> int:
        """Number of passages of the stored documents, and of their vectors."""
        return self._passages

    def passages(self) -> Iterator[NDArray[np.int32]]:
        """The table of the passages of the stored documents, part by part.

        Raises CorruptError if it is damaged.
        """
        lines = self._split_lines()
        for first in range(0, self.count, _DOCUMENTS_A_TABLE):
            stop = min(first + _DOCUMENTS_A_TABLE, self.count)
            own = lines[slice(*np.searchsorted(lines[:, 0], (first, stop)))]
            table = None
            with suppress(ValueError):  # rows that do not ascend
                table = with_whole_documents(own, first, stop)
            if table is None or not is_table(table, stop - first, first):
                raise CorruptError(f"{self.folder}: its passages are damaged; build again without --resume")
            yield table

    def _split_lines(self) -> NDArray[np.int32]:
        """The lines of the table for the stored documents that are split."""
        with storing(self.folder):
            self._table.seek(0)
            data = self._table.read()
        width = COLUMNS * 4
        lines = np.frombuffer(data[: len(data) // width * width], "<i4").reshape(-1, COLUMNS)
        return lines[: np.searchsorted(lines[:, 0], self.count)]

    def append(
        self, documents: Sequence[Document], vectors: NDArray[np.float32], table: NDArray[np.int32]
    ) -> None:
        """Store documents with the vectors of their passages: all or none, durable on return.

        documents: the documents.
        vectors: float32 (passages, dimension).
        table: int32 (passages, 3), the passages of these documents, numbered from 0.
        Raises InputError for a duplicate id, StorageError.
        """
        with storing(self.vectors):
            _write(self._file, self._passages * self._row_bytes, to_halves(vectors))
            if len(lines := split_lines(table)):
                numbered = (lines + np.array([self.count, 0, 0])).astype("<i4")
                _write(self._table, self._split * COLUMNS * 4, numbered)
        self.documents.append(documents)
        self._passages += len(table)
        self._split += len(lines)

    def seal(self) -> None:
        """Make a later resume impossible, because other documents follow. Raises StorageError."""
        path = self.folder / PLAN
        with storing(path):
            path.unlink(missing_ok=True)
            sync_folder(self.folder)

    def close(self) -> None:
        """Close the files and leave them in place. Calling it again does nothing."""
        self._opened.close()

    def discard(self) -> None:
        """Close the files and remove them; the next write removes what cannot be removed now."""
        self.close()
        clear_away(self.folder)


def _write(file: FileIO, offset: int, array: NDArray[Any]) -> None:
    """Write an array at an offset, and nothing after it; durable on return."""
    data = memoryview(np.ascontiguousarray(array).data).cast("B")
    file.seek(offset)
    while data:
        data = data[file.write(data) or 0 :]
    file.truncate()
    os.fsync(file.fileno())


def _open_alone(path: Path) -> FileIO:
    """Open a file to read and write, made if it does not exist.

    Raises OSError, CorruptError for another kind of file or one with a second hard link.
    """
    try:
        file = FileIO(open_own(path), "r+b")
    except WrongKindError as error:
        raise CorruptError(f"{path}: {error.strerror}; build again without --resume") from error
    if not is_alone(file.fileno()):
        file.close()
        raise CorruptError(f"{path}: has a second name elsewhere; build again without --resume")
    return file
