"""The rows of a workbook in a temporary file, written by a process that is confined.

In: a path. Out: its sheets, and their rows as text, one in memory at a time. The file has no name, so that
nothing is left of it; it is kept as long as the workbook is the same and few others came since, because a
data set is read several times. Knows nothing of what the rows mean.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, NamedTuple

from index.disk.files import storing
from index.disk.opening import shortages
from index.errors import InputError, MissingExtraError, StorageError
from retrieval.data.sheets.worker import AS_CSV
from retrieval.data.table_kinds import table_kind

_SECONDS = 300.0  # for one workbook; a million rows took 28 (benchmarks/NOTES.md)
_MOST_KEPT = 32
_CHUNK = 1 << 20


class Row(NamedTuple):
    """A row, with the number that a spreadsheet program shows for it."""

    number: int
    cells: list[str]


@dataclass(frozen=True, slots=True)
class Sheet:
    """A sheet, and the bytes of the temporary file where its rows are; a hidden one is not read."""

    name: str
    hidden: bool
    start: int
    stop: int


@dataclass(frozen=True)
class Spool:
    """The rows of a workbook."""

    file: IO[bytes]
    sheets: tuple[Sheet, ...]

    def rows(self, sheet: Sheet) -> Iterator[Row]:
        """The rows of a sheet that are not empty. Several may be read at a time."""
        rest, at = b"", sheet.start
        while at < sheet.stop:
            chunk = os.pread(self.file.fileno(), min(_CHUNK, sheet.stop - at), at)
            if not chunk:
                raise StorageError("a temporary file was cut short; see whether the disk is full")
            at += len(chunk)
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                yield Row(*json.loads(line))


def spool_of(path: Path) -> Spool:
    """The rows of a workbook.

    Raises InputError for one that cannot be read, takes too long, or needs too much memory; MissingExtraError
    without python-calamine; StorageError if the temporary file cannot be written.
    """
    try:
        with shortages(path):
            status = path.stat()
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror}); check the path", path=path) from error
    return _spooled(path, path.absolute(), status.st_ino, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=_MOST_KEPT)
def _spooled(path: Path, *version: object) -> Spool:
    """Read a workbook. version: what changes if the file does."""
    with storing(Path(tempfile.gettempdir())):
        file = tempfile.TemporaryFile()  # noqa: SIM115 (kept)
    with ExitStack() as opened:
        opened.callback(file.close)
        spool = Spool(file, _sheets(path, _answer(path, file)))
        weakref.finalize(spool, opened.pop_all().close)
    return spool


def _sheets(path: Path, answer: dict[str, Any]) -> tuple[Sheet, ...]:
    """The sheets that the process found. Raises what `spool_of` raises if it found none."""
    if "missing" in answer:
        raise MissingExtraError(f"{path}: {answer['missing']}")
    if "problem" in answer:
        raise InputError(answer["problem"], path=path)
    if "full" in answer:
        raise StorageError(f"{tempfile.gettempdir()}: {answer['full']}; free space, or set TMPDIR")
    return tuple(Sheet(**sheet) for sheet in answer["sheets"])


def _answer(path: Path, file: IO[bytes]) -> dict[str, Any]:
    """What the process says of a workbook, whose rows it writes into a file."""
    arguments = [str(path), table_kind(path) or "", str(file.fileno()), str(int(_SECONDS))]
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "retrieval.data.sheets.worker", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        pass_fds=[file.fileno()],
    )
    try:
        said, _ = process.communicate(timeout=_SECONDS)
    except subprocess.TimeoutExpired as error:
        problem = f"takes longer than {_SECONDS:g} seconds to read; split it, or {AS_CSV}"
        raise InputError(problem, path=path) from error
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
    if process.returncode > 0:
        raise StorageError(
            "a process that reads workbooks does not start; free some memory, or see what "
            "`python -m retrieval.data.sheets.worker` says"
        )
    if process.returncode:
        raise InputError(
            f"ended the process that read it (broken, or it needs too much memory); split it, or {AS_CSV}",
            path=path,
        )
    answer: dict[str, Any] = json.loads(said)
    return answer
