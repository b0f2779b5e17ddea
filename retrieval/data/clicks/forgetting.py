"""Take searches out of a recorded click log, with their clicks.

In: the path of the log, and which searches. Out: the files without them, and counts. Each file is replaced in
one step, while the lock is held: a server that records waits, and writes on into the new file.
"""

from __future__ import annotations

import os
import re
from array import array
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from index.disk.files import storing, sync_folder
from index.errors import InputError
from index.values import Progress, no_progress
from retrieval.data.clicks.log import query_key
from retrieval.data.clicks.recorded import Clicked, Event, decode, lines_of
from retrieval.data.clicks.rotation import WAIT, Part, held, open_parts, put_aside

# What is kept of a line between two passes: whether it is a click, and whether it goes by itself.
_GONE, _CLICK = 1, 2
_GONE_CLICK = _GONE | _CLICK


@dataclass(frozen=True)
class Forgotten:
    """What was taken out of a log."""

    searches: int
    clicks: int


@dataclass(frozen=True)
class Wanted:
    """Which searches to forget: those that fit all that is given. Give one at least.

    query: text; case and white space do not matter, as `query_key` has it.
    before: a time as in `Shown`, before which they were made.
    """

    query: str | None = None
    before: str | None = None


def forget(
    path: Path,
    wanted: Wanted,
    *,
    wait: float = WAIT,
    progress: Progress = no_progress,
) -> Forgotten:
    """Take searches and their clicks out of FILE and the files beside it.

    path: FILE.
    wanted: which searches. Without a query, clicks from before the time go too whose search is gone already.
    wait: seconds to wait for another process.
    progress: called after each file.
    What a crash left of a last line goes too. Raises InputError for a log that is not there, and with file
    and line for a damaged one, which is then left as it is; BusyError, StorageError.
    """
    if not path.exists() and not (path.parent.is_dir() and put_aside(path)):
        raise InputError("no such file; check the path", path=path)
    with held(path, wait), storing(path), ExitStack() as stack:
        _remove_leftovers(path)
        parts = open_parts(path, stack)
        rule = _Rule(wanted, parts)
        for done, part in enumerate(parts, 1):  # FILE is the last: who opens the new one may lock it
            _rewrite(part, rule, is_live=part.path == path)
            progress("files", done, len(parts))
        return Forgotten(rule.searches, rule.clicks)


class _Rule:
    """Which lines of a log are forgotten, and how many were."""

    def __init__(self, wanted: Wanted, parts: list[Part]) -> None:
        self._before = wanted.before
        self._key = None if wanted.query is None else query_key(wanted.query)
        self.searches = self.clicks = 0
        self._gone: set[int] = set()  # searches; a click may stand before its search
        searches, flags = array("Q"), bytearray()
        for part in parts:
            for place, line in lines_of(part):
                event = decode(place, line)
                searches.append(int(event.search, 16))
                flags.append(self._flag(event))
                if flags[-1] == _GONE:
                    self._gone.add(searches[-1])
        self._lines = zip(searches, flags, strict=True)

    def _flag(self, event: Event) -> int:
        is_old = self._before is None or event.time < self._before
        if isinstance(event, Clicked):
            return _GONE_CLICK if is_old and self._key is None else _CLICK
        return _GONE if is_old and self._key in (None, query_key(event.query)) else 0

    def kept(self, part: Part) -> Iterator[bytes]:
        """The lines of the next file that stay; the others are counted."""
        for _, line in lines_of(part):
            search, flag = next(self._lines)
            if flag != _GONE_CLICK and search not in self._gone:
                yield line
            elif flag & _CLICK:
                self.clicks += 1
            else:
                self.searches += 1


def _rewrite(part: Part, rule: _Rule, *, is_live: bool) -> None:
    """Replace a file by one without what is forgotten; remove it if nothing stays, unless it is FILE."""
    status = os.fstat(part.file.fileno())
    temporary = part.path.with_name(f".{part.path.name}.{os.urandom(8).hex()}.tmp")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            for line in rule.kept(part):
                file.write(line)
            size = file.tell()
            file.flush()
            _take_over(handle, status)
            os.fsync(handle)
        if size == part.size_bytes:
            temporary.unlink()
            return
        temporary.replace(part.path)
        if not size and not is_live:
            part.path.unlink()
        sync_folder(part.path.parent)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def _take_over(handle: int, status: os.stat_result) -> None:
    """Give a file the owner and the permissions of another: the server must be able to write on."""
    own = os.fstat(handle)
    if (own.st_uid, own.st_gid) != (status.st_uid, status.st_gid):
        os.fchown(handle, status.st_uid, status.st_gid)
    os.fchmod(handle, status.st_mode & 0o777)


def _remove_leftovers(path: Path) -> None:
    """Remove what this function left when it was killed: it may hold what is to be forgotten."""
    name = re.compile(rf"\.{re.escape(path.name)}(\.\d+)?\.[0-9a-f]{{16}}\.tmp", re.ASCII)
    for each in path.parent.iterdir():
        if name.fullmatch(each.name):
            each.unlink()
