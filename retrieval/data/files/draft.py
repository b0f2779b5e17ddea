"""A new corpus beside the old one, which takes its place in one step.

In: what files hold, file by file, or that a file has not changed. Out: `corpus.jsonl` and `files.json`. A
process that is killed leaves the old ones. Killed between the two, it leaves a new corpus with an old state;
the next run then reads all files.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from index.disk.files import storing, sync_folder, temporary_of
from index.disk.opening import create, open_to_read
from index.documents.store import Document
from retrieval.data.files.find import Found
from retrieval.data.files.pool import Converted
from retrieval.data.files.sections import documents
from retrieval.data.files.state import CORPUS, STATE, Entry, LastRun, entry_of, write_state


class Draft:
    """The corpus that a run writes. Only the holder of the folder's writer lock may have one."""

    def __init__(self, output: Path, last: LastRun) -> None:
        """output: the folder. last: what the last run left there. Raises StorageError."""
        self._output = output
        self._last = last
        self._entries: dict[str, Entry] = {}
        self._digest = hashlib.sha256()
        _sweep(output)
        self._path = output / f".{CORPUS}.{os.urandom(8).hex()}.tmp"
        with storing(output), ExitStack() as opened:
            self._file = opened.enter_context(create(self._path))
            self._old = opened.enter_context(open_to_read(output / CORPUS)) if last.entries else None
            self._opened = opened.pop_all()

    def add(self, file: Found, converted: Converted) -> int:
        """Add the documents of a file that was read; returns how many. Raises StorageError."""
        found = documents(file.name, converted.extract, file.kind, _date(file))
        extract = converted.extract
        dated = "date" in extract.fields or any("date" in each.fields for each in extract.sections)
        return self._write(file, converted.sha256, [_line(document) for document in found], dated=dated)

    def reuse(self, file: Found) -> int:
        """Add the documents that the last run made of a file, with the file's date of today.

        A date that the author wrote stays.
        """
        if self._old is None:
            raise KeyError(file.name)
        span, entry = self._last.spans[file.name], self._last.entries[file.name]
        self._old.seek(span.start)
        lines = self._old.read(span.end - span.start).splitlines(keepends=True)
        if not entry.dated:
            date = _date(file)
            lines = [_dated(line, date) for line in lines]
        return self._write(file, entry.sha256, lines, dated=entry.dated)

    def publish(self) -> None:
        """Put the draft in the place of the old corpus, then the state that names its checksum."""
        with storing(self._output):
            self._file.flush()
            os.fsync(self._file.fileno())
            self._path.replace(self._output / CORPUS)
            sync_folder(self._output)
        write_state(self._output, self._entries, self._digest.hexdigest())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        with suppress(OSError):  # what could not be flushed is not published either
            self._opened.close()
        with suppress(OSError):
            self._path.unlink(missing_ok=True)

    def _write(self, file: Found, sha256: str, lines: Sequence[bytes], *, dated: bool) -> int:
        with storing(self._path):
            self._file.writelines(lines)
        for line in lines:
            self._digest.update(line)
        self._entries[file.name] = entry_of(file, sha256, len(lines), dated=dated)
        return len(lines)


def _sweep(output: Path) -> None:
    """Remove the drafts of runs that were killed."""
    pattern = re.compile("|".join(map(temporary_of, (CORPUS, STATE))))
    with storing(output):
        for path in list(output.iterdir()):
            if pattern.fullmatch(path.name):
                path.unlink()


def _date(file: Found) -> str:
    """The day of the last change, UTC; a time stamp that is no date gives the first day of 1970."""
    try:
        return datetime.fromtimestamp(file.modified / 1e9, UTC).date().isoformat()
    except (ValueError, OverflowError, OSError):
        return "1970-01-01"


def _line(document: Document) -> bytes:
    document_id, title, text, metadata, _ = document
    record = {"_id": document_id, "title": title, "text": text, "metadata": metadata}
    return json.dumps(record, ensure_ascii=False).encode() + b"\n"


def _dated(line: bytes, date: str) -> bytes:
    """A line of a corpus with another date."""
    record = json.loads(line)
    if record["metadata"]["date"] == date:
        return line
    record["metadata"]["date"] = date
    return json.dumps(record, ensure_ascii=False).encode() + b"\n"
