"""What the last run read, so that the next one reads only what has changed.

In: the folder that a run wrote. Out: for each file, the lines of corpus.jsonl that it gave. `files.json`
holds the files in the order of corpus.jsonl, with the checksum of that file; if this differs, nothing is
reused.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from pathlib import Path
from typing import Any

from index.disk.checksums import sha256_of
from index.disk.files import write_atomically
from index.disk.opening import open_to_read, read_file
from retrieval.data.files.find import Found

CORPUS = "corpus.jsonl"
STATE = "files.json"
_MADE_BY = "peephole corpus files"
# Raise it with every change of what a file is turned into.
_VERSION = 4
_LIBRARIES = ("docutils", "lxml", "mammoth", "markdown-it-py", "pypdfium2", "python-calamine", "python-pptx")
# A file that changed so shortly before it was looked at may change again within the same time stamp.
_SETTLED_NANOSECONDS = 2_000_000_000


@dataclass(frozen=True, slots=True)
class Entry:
    """A file that was read."""

    size: int
    modified: int | None  # nanoseconds since 1970, as in `Found`; None if the file was changing
    changed: int | None
    sha256: str
    documents: int
    dated: bool  # by its author: the documents keep their date when the file gets another


@dataclass(frozen=True, slots=True)
class Span:
    """Where the lines of a file stand in corpus.jsonl, in bytes."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class LastRun:
    """The entries and lines of the last run; nothing if there was none, or it cannot be reused."""

    entries: Mapping[str, Entry]
    spans: Mapping[str, Span]

    def unchanged(self, file: Found) -> Entry | None:
        """The entry of a file whose content is the same; it is read only if its time stamp has changed."""
        entry = self.entries.get(file.name)
        if entry is None or entry.size != file.size:
            return None
        if (entry.modified, entry.changed) == (file.modified, file.changed):
            return entry
        try:
            return entry if sha256_of(file.path, links=True) == entry.sha256 else None
        except OSError:
            return None


def entry_of(file: Found, sha256: str, documents: int, *, dated: bool) -> Entry:
    """The entry of a file that was just read, or found unchanged."""
    if max(file.modified, file.changed) + _SETTLED_NANOSECONDS < time.time_ns():
        return Entry(file.size, file.modified, file.changed, sha256, documents, dated)
    return Entry(file.size, None, None, sha256, documents, dated)


def is_ours(output: Path) -> bool:
    """Whether this command wrote the folder."""
    return _read(output).get("made_by") == _MADE_BY


def last_run(output: Path) -> LastRun:
    """What can be reused of the folder that a run wrote."""
    nothing = LastRun({}, {})
    state = _read(output)
    try:
        if state.get("made_by") != _MADE_BY or state["readers"] != readers():
            return nothing
        if state["corpus_sha256"] != sha256_of(output / CORPUS):
            return nothing
        entries = {str(name): Entry(**entry) for name, entry in state["files"].items()}
        return LastRun(entries, _spans(output / CORPUS, entries))
    except (OSError, KeyError, TypeError, AttributeError, ValueError):
        return nothing


def write_state(output: Path, entries: Mapping[str, Entry], corpus_sha256: str) -> None:
    """Write what the next run needs, durable on return. Raises StorageError."""
    state = {
        "made_by": _MADE_BY,
        "readers": readers(),
        "corpus_sha256": corpus_sha256,
        "files": {name: asdict(entry) for name, entry in entries.items()},
    }
    write_atomically(output / STATE, json.dumps(state, indent=0).encode() + b"\n")


def readers() -> dict[str, str]:
    """What a file's documents depend on besides its content: this program's readers and their libraries."""
    return {"peephole": str(_VERSION)} | {name: _installed(name) for name in _LIBRARIES}


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _read(output: Path) -> dict[str, Any]:
    try:
        state = json.loads(read_file(output / STATE))
    except (OSError, ValueError, RecursionError):
        return {}
    return state if isinstance(state, dict) else {}


def _spans(corpus: Path, entries: Mapping[str, Entry]) -> dict[str, Span]:
    spans, position = {}, 0
    with open_to_read(corpus) as file:
        for name, entry in entries.items():
            start = position
            position += _length(list(islice(file, entry.documents)), entry.documents)
            spans[name] = Span(start, position)
    return spans


def _length(lines: Sequence[bytes], expected: int) -> int:
    if len(lines) != expected:
        raise ValueError("the corpus ends early")
    return sum(map(len, lines))
