"""A file of vectors while it is written. What is done survives a crash; the file appears whole or not at all.

In: vectors, and a JSON line for each. Out: the draft folder beside the output; at the end NAME.npy with
NAME.ids.jsonl, or NAME.parquet. Knows nothing of models or texts.

    plan.json       what is being made; another plan cannot resume it
    vectors.npy     an array of which the first `vectors` rows are done
    ids.jsonl       a line for each row
    done.json       how much is done, replaced after every append
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np

from index.disk.files import clear_away, remove, storing, sync_folder, write_atomically
from index.disk.opening import is_alone, make_folder, open_own, open_to_read, read_file
from index.disk.writer_lock import WriterLock
from index.errors import CorruptError, InputError
from index.values import Vectors

SUFFIXES = (".npy", ".parquet")
_BATCH_ROWS = 16384


@dataclass(frozen=True, slots=True)
class Done:
    """How much of a draft is done."""

    texts: int = 0
    vectors: int = 0
    ids_bytes: int = 0
    cut: int = 0  # texts of which the model read the beginning only


def ids_path(output: Path) -> Path:
    """The file of the ids beside a .npy file: vectors.ids.jsonl beside vectors.npy."""
    return output.with_suffix(".ids.jsonl")


class VectorDraft:
    """Vectors and ids of an output that is not complete. One process at a time has it."""

    def __init__(
        self,
        output: Path,
        plan: Mapping[str, Any],
        dimension: int,
        *,
        with_spans: bool = False,
        resume: bool = False,
    ) -> None:
        """Open the draft of an output.

        output: the file that is made at the end, .npy or .parquet.
        plan: what is made, as JSON values.
        dimension: of the vectors.
        with_spans: whether the vectors are those of passages.
        resume: keep what a draft with the same plan has; otherwise what is there is removed.
        Raises InputError for another suffix or an output that is no regular file, MissingExtraError for
        Parquet without its library, BusyError if another process writes the same output, StorageError.
        """
        if output.suffix not in SUFFIXES:
            raise InputError("is neither .npy nor .parquet; name the output so", path=output)
        if output.suffix == ".parquet":
            import_module("retrieval.indexing.arrow")  # a missing library is told before the work
        self._output = Path(os.path.realpath(output))
        if self._output.exists() and not self._output.is_file():
            raise InputError("is not a regular file; name another output", path=output)
        self._folder = self._output.with_name(f".{self._output.name}.draft")
        self._dimension, self._with_spans = dimension, with_spans
        self._header = _header(0, dimension)
        with ExitStack() as opened:
            with storing(self._folder):
                make_folder(self._folder)
            opened.enter_context(WriterLock(self._folder))
            if not (resume and self._is_of(plan)):
                self._begin(plan)
            self.done = self._read_done()
            self._vectors = opened.enter_context(_opened(self._folder / "vectors.npy"))
            self._ids = opened.enter_context(_opened(self._folder / "ids.jsonl"))
            self._check()
            self._open_files = opened.pop_all()

    def append(self, vectors: Vectors, names: Sequence[Mapping[str, Any]], texts: int, cut: int) -> None:
        """Add vectors; durable on return.

        vectors: float32 (n, dimension).
        names: id, and of a passage start and end, of each.
        texts: how many texts these are.
        cut: of how many of these the model read the beginning only.
        Raises StorageError.
        """
        ids = "".join(json.dumps(name) + "\n" for name in names).encode()
        with storing(self._output):
            _write(self._vectors, self._place(self.done.vectors), vectors.astype("<f4").tobytes())
            _write(self._ids, self.done.ids_bytes, ids)
        self.done = Done(
            self.done.texts + texts,
            self.done.vectors + len(vectors),
            self.done.ids_bytes + len(ids),
            self.done.cut + cut,
        )
        write_atomically(self._folder / "done.json", json.dumps(asdict(self.done)).encode())

    def publish(self) -> None:
        """Put the output in its place, in one step, and remove the draft. Raises StorageError."""
        with storing(self._output):
            self._vectors.truncate(self._place(self.done.vectors))
            _write(self._vectors, 0, _header(self.done.vectors, self._dimension))
            self._ids.truncate(self.done.ids_bytes)
        if self._output.suffix == ".parquet":
            finished = self._folder / "vectors.parquet"
            self._write_parquet(finished)
        else:
            finished = self._folder / "vectors.npy"
        with storing(self._output):
            if self._output.suffix == ".npy":
                # The old vectors go first: they must never stand beside other ids.
                self._output.unlink(missing_ok=True)
                (self._folder / "ids.jsonl").replace(ids_path(self._output))
                sync_folder(self._output.parent)
            finished.replace(self._output)
            sync_folder(self._output.parent)
        clear_away(self._folder)  # while the lock is held, so that no other run can be in it
        self.close()

    def close(self) -> None:
        """Close the draft and leave it in place, unless it is empty. Calling it again does nothing."""
        self._open_files.close()
        with suppress(OSError):  # over NFS, files that were removed had stayed in it while they were open
            self._folder.rmdir()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        # Nothing that a later run could use: what is mended is another source.
        if not self.done.texts or isinstance(error, InputError):
            clear_away(self._folder)
        self.close()

    def _is_of(self, plan: Mapping[str, Any]) -> bool:
        with suppress(OSError, ValueError, RecursionError):
            return bool(json.loads(read_file(self._folder / "plan.json")) == plan)
        return False

    def _begin(self, plan: Mapping[str, Any]) -> None:
        with storing(self._folder):
            for name in ("plan.json", "done.json", "vectors.npy", "ids.jsonl", "vectors.parquet"):
                remove(self._folder / name)
        write_atomically(self._folder / "plan.json", json.dumps(plan).encode())

    def _read_done(self) -> Done:
        try:
            return Done(**json.loads(read_file(self._folder / "done.json")))
        except FileNotFoundError:
            return Done()
        except (OSError, ValueError, TypeError, RecursionError) as error:
            raise CorruptError(f"{self._folder}: is damaged ({error}); run without --resume") from error

    def _check(self) -> None:
        sizes = [os.fstat(file.fileno()).st_size for file in (self._vectors, self._ids)]
        needed = (self._place(self.done.vectors) if self.done.vectors else 0, self.done.ids_bytes)
        if any(size < least for size, least in zip(sizes, needed, strict=True)):
            raise CorruptError(f"{self._folder}: ends early; run without --resume")

    def _place(self, row: int) -> int:
        return len(self._header) + 4 * row * self._dimension

    def _write_parquet(self, path: Path) -> None:
        from retrieval.indexing.arrow import write_vectors

        with storing(path):
            path.unlink(missing_ok=True)
        # One array for all rows. The system reads a page of it when it is used.
        rows = np.memmap(
            self._folder / "vectors.npy",
            "<f4",
            "r",
            len(self._header),
            (self.done.vectors, self._dimension),
        )
        write_vectors(path, self._batches(rows), self._dimension, with_spans=self._with_spans)

    def _batches(self, rows: Vectors) -> Iterator[tuple[list[dict[str, Any]], Vectors]]:
        with open_to_read(self._folder / "ids.jsonl") as file:
            for start in range(0, len(rows), _BATCH_ROWS):
                names = [json.loads(line) for line in islice(file, _BATCH_ROWS)]
                yield names, rows[start : start + _BATCH_ROWS]


def _header(rows: int, dimension: int) -> bytes:
    """The header of a .npy file, float32 (rows, dimension); numpy makes it of one length for any number."""
    buffer = io.BytesIO()
    facts = {"descr": "<f4", "fortran_order": False, "shape": (rows, dimension)}
    np.lib.format.write_array_header_1_0(buffer, facts)
    return buffer.getvalue()


def _opened(path: Path) -> BinaryIO:
    """A file to write, made if it is not there. Raises CorruptError for one with a second hard link."""
    with storing(path):
        file = os.fdopen(open_own(path), "r+b", buffering=0)
    if not is_alone(file.fileno()):
        file.close()
        raise CorruptError(f"{path}: has a second name elsewhere; remove it")
    return file


def _write(file: BinaryIO, offset: int, data: bytes) -> None:
    """Write bytes at an offset; durable on return."""
    rest = memoryview(data)
    file.seek(offset)
    while rest:
        rest = rest[file.write(rest) or 0 :]
    os.fsync(file.fileno())
