"""The click log that `peephole serve --clicks` records: its events as lines of JSON, and as a `ClickLog`.

    {"time":"2026-11-28T12:00:00Z","search":"9f86d081884c7d65","query":"list files","mode":"hybrid",
     "offset":0,"shown":["ls(1)","find(1)"]}
    {"time":"2026-11-28T12:00:07Z","search":"9f86d081884c7d65","clicked":"find(1)","rank":2}

In: events, or the path of the log. Out: lines, or sightings. Each result of a search is one impression at the
rank offset + position. Several clicks of a search on a document are one. A click counts if its search is in
the log and showed the document. Nothing else is known of who searched. Knows nothing of HTTP.

Queries on which nobody ever clicked are left out. They tell nothing of which of their documents is better,
and they would be most of what is held in memory.
"""

from __future__ import annotations

import json
import re
import time
from array import array
from collections.abc import Collection, Container, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TypeVar

from index.errors import InputError
from retrieval.data.clicks.known import Known
from retrieval.data.clicks.log import ReadLog, Sighting, click_log, query_key
from retrieval.data.clicks.rotation import Part, opened
from retrieval.data.lines import LONGEST_LINE_BYTES, Place
from retrieval.data.records import Record, json_record

# Clicks that are held in memory while the searches are read, in about a gigabyte.
MOST_CLICKS = 5_000_000
_HIGHEST = 10**9  # ranks and offsets
_TIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z", re.ASCII)
# How every event begins, as `encode` writes it.
FIRST_BYTES = b'{"time":"'
_SEARCH = re.compile(r"[0-9a-f]{16}", re.ASCII)
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Shown:
    """An answer that was shown."""

    time: str  # UTC, as in 2026-11-28T12:00:00Z; texts of this form sort by time
    search: str  # 16 hexadecimal digits, new for each answer
    query: str
    mode: str
    offset: int  # results that came before the first one shown
    shown: tuple[str, ...]  # ids of documents, the first result first


@dataclass(frozen=True, slots=True)
class Clicked:
    """A click on a result."""

    time: str
    search: str  # of the answer that showed it
    clicked: str  # the document's id
    rank: int | None = None  # from 1, as the page that showed it says; None if it does not


Event = Shown | Clicked


def encode(event: Event) -> bytes:
    """The line of an event, with its line end. Half of a surrogate pair becomes a question mark."""
    fields = {name: getattr(event, name) for name in event.__slots__}
    if isinstance(event, Clicked) and event.rank is None:
        del fields["rank"]
    return _ENCODER.encode(fields).encode("utf-8", "replace") + b"\n"


def decode(place: Place, line: bytes) -> Event:
    """The event of a line; keys beyond those of `Shown` and `Clicked` are ignored. Raises InputError."""
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise place.error(f"not UTF-8 (byte {error.start} of the line); remove the line") from error
    record = json_record(place, text)
    at, search = _field(record, "time", str), _field(record, "search", str)
    if not _TIME.fullmatch(at):
        raise place.error(f'"time" is {at[:40]!r}, not as 2026-11-28T12:00:00Z; remove the line')
    if not is_search_id(search):
        raise place.error(f'"search" is {search[:40]!r}, not 16 hexadecimal digits; remove the line')
    if "clicked" in record.fields:
        rank = _whole(record, "rank", 1) if "rank" in record.fields else None
        return Clicked(at, search, _field(record, "clicked", str), rank)
    query, mode = _field(record, "query", str), _field(record, "mode", str)
    shown = _field(record, "shown", list)
    if not all(isinstance(each, str) for each in shown):
        raise place.error('"shown" is not a list of texts; remove the line')
    return Shown(at, search, query, mode, _whole(record, "offset", 0), tuple(shown))


def time_text(seconds: float) -> str:
    """The time of an event. seconds: since 1970.

    >>> time_text(0)
    '1970-01-01T00:00:00Z'
    """
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def check_clicks(count: int, place: Place) -> None:
    """Raise InputError for more clicks, up to this place of a log, than are held in memory."""
    if count > MOST_CLICKS:
        raise place.error(
            f"more than {MOST_CLICKS:,} clicks; forget old ones: peephole clicks forget --older-than DAYS"
        )


def is_search_id(text: str) -> bool:
    """Whether a text has the form of a search's id."""
    return _SEARCH.fullmatch(text) is not None


def has_keys_of_an_event(names: Collection[str]) -> bool:
    """Whether the keys of a line are those of an event."""
    return "search" in names and ("shown" in names or "clicked" in names)


def is_recorded(path: Path) -> bool:
    """Whether a file, or the newest one put aside if it is gone or empty, begins as a recorded log."""
    try:
        with opened(path) as parts:
            for part in reversed(parts):
                for _, line in lines_of(part):
                    return _looks_recorded(line)
    except InputError:  # whoever reads it next will say what is wrong
        return False
    return False


def may_begin_log(head: bytes) -> bool:
    """Whether these bytes, at least `FIRST_BYTES` of them if the file has as many, are how a log begins.

    A crash may have cut it anywhere, and a power cut leaves zeros.
    """
    return FIRST_BYTES.startswith(head[: len(FIRST_BYTES)].rstrip(b"\0"))


def lines_of(part: Part) -> Iterator[tuple[Place, bytes]]:
    """The lines of a file of the log, each with its place and its line end, blank lines left out.

    A last line without line end is what a crash left, and is passed over unless it is a whole event.
    Raises InputError, also for a single such line that begins otherwise than an event.
    """
    part.file.seek(0)
    number, rest = 0, part.size_bytes
    while line := _line(part, number + 1, rest):
        number, rest = number + 1, rest - len(line)
        place = Place(part.path, number)
        if not line.endswith(b"\n"):
            try:
                decode(place, line)
            except InputError as error:
                if number == 1 and not may_begin_log(line):  # whose file must not be cut or rewritten
                    raise place.error("no event of a click log; give the file of a click log") from error
                return
            line += b"\n"
        if not line.isspace():
            yield place, line


def _line(part: Part, number: int, rest: int) -> bytes:
    try:
        line = part.file.readline(min(rest, LONGEST_LINE_BYTES + 1)) if rest else b""
    except OSError as error:
        raise Place(part.path, number).error(
            f"cannot be read on ({error.strerror}); check the disk"
        ) from error
    if len(line) > LONGEST_LINE_BYTES:
        raise Place(part.path, number).error(f"longer than {LONGEST_LINE_BYTES} bytes; remove the line")
    return line


def events(parts: Sequence[Part]) -> Iterator[tuple[Place, Event]]:
    """All events, the oldest first, each with its place. Raises InputError for a damaged line."""
    for part in parts:
        for place, line in lines_of(part):
            yield place, decode(place, line)


def read_recorded(
    path: Path, document_ids: Container[str] | None = None, *, missing_ok: bool = False
) -> ReadLog:
    """Read a recorded log whole.

    path: FILE; the files FILE.1, FILE.2, ... beside it are read before it.
    document_ids: the documents of the corpus; None takes those of any.
    missing_ok: pass over results that are other documents. Without it they are an error.
    A server may go on recording. Raises InputError with file and line for a damaged line, and for more than
    `MOST_CLICKS` clicks; what `opened` raises.
    """
    with opened(path) as parts:
        clicks = _clicks_of(parts)
        rows = Known(_sightings(parts, clicks), document_ids)
        log = click_log(rows)
    if not missing_ok:
        rows.check()
    return ReadLog(log, rows.count, rows.passed_over)


@dataclass
class _Clicks:
    """What was clicked, and which lines of the log matter. The query of a line is a hash; 0 for a click."""

    documents: dict[int, set[str]] = field(default_factory=dict)  # by search, those that it showed
    queries: set[int] = field(default_factory=set)  # on which something was clicked
    line_searches: array[int] = field(default_factory=lambda: array("Q"))  # by line
    line_queries: array[int] = field(default_factory=lambda: array("q"))


def _clicks_of(parts: Sequence[Part]) -> _Clicks:
    """Two passes: a search and its clicks may stand in any order, since several processes write them.

    The second one decodes only the searches that have a click.
    """
    found, names, clicks = _Clicks(), dict[str, str](), 0
    for place, event in events(parts):
        search = int(event.search, 16)
        found.line_searches.append(search)
        found.line_queries.append(0 if isinstance(event, Clicked) else hash(query_key(event.query)) or 1)
        if isinstance(event, Shown):
            continue
        clicks += 1
        check_clicks(clicks, place)
        name = names.setdefault(event.clicked, event.clicked)
        found.documents.setdefault(search, set()).add(name)
    clicked, found.documents = found.documents, {}
    lines = chain.from_iterable(map(lines_of, parts))
    # A server that starts meanwhile cuts off what a crash left at the end, and other lines may stand there.
    for (place, line), search, query in zip(lines, found.line_searches, found.line_queries, strict=False):
        if query and search in clicked:
            event = decode(place, line)
            counted = clicked.pop(search).intersection(event.shown) if isinstance(event, Shown) else None
            if counted:
                found.documents[search] = counted
                found.queries.add(query)
    return found


def _sightings(parts: Sequence[Part], clicks: _Clicks) -> Iterator[tuple[Place, Sighting]]:
    """The results of each search whose query has a click."""
    lines = chain.from_iterable(map(lines_of, parts))
    for (place, line), query in zip(lines, clicks.line_queries, strict=False):  # as in `_clicks_of`
        if query not in clicks.queries:
            continue
        event = decode(place, line)
        if isinstance(event, Shown):
            clicked = clicks.documents.pop(int(event.search, 16), ())
            for rank, document in enumerate(event.shown, event.offset + 1):
                yield place, Sighting(event.query, document, rank, int(document in clicked), 1)


def _looks_recorded(line: bytes) -> bool:
    try:
        record = json_record(Place("-"), line.decode())
    except (InputError, UnicodeDecodeError):
        return False
    return has_keys_of_an_event(record.fields)


def _field(record: Record, name: str, kind: type[Value]) -> Value:
    value = record.fields.get(name)
    if not isinstance(value, kind):
        what = "missing" if name not in record.fields else "of the wrong type"
        raise record.place.error(f'"{name}" is {what}, so this is no event of a click log; remove the line')
    return value


def _whole(record: Record, name: str, least: int) -> int:
    value = _field(record, name, int)
    if isinstance(value, bool) or not least <= value <= _HIGHEST:
        raise record.place.error(f'"{name}" must be a whole number from {least}; remove the line')
    return value
