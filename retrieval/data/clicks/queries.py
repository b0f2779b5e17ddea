"""What the queries of a recorded click log came to: searches, searches that showed nothing, clicks, ranks.

In: the path of the log. Out: counts by query. Texts count as one query if their `query_key` is the same, and
clicks as in `retrieval.data.clicks.recorded`. An answer that shows further results (`offset`) is no further
search, but a click on one of them counts. Nor is a search that is half typed, see `half_typed`.

The log is read twice: for its clicks, and for its searches. Held in memory are the clicks, `MOST_CLICKS` at
most in about a gigabyte, and of each query some 200 bytes and its text; of two that have one hash the first.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from index.values import Progress, no_progress
from retrieval.data.clicks.half_typed import TYPING_SECONDS, Search, marked_half_typed
from retrieval.data.clicks.log import query_key
from retrieval.data.clicks.recorded import Clicked, Shown, check_clicks, decode, lines_of, time_text
from retrieval.data.clicks.rotation import Part, opened
from retrieval.data.lines import Place

_REPORTED = 10_000  # lines between two reports of progress
# Keys of a click and of a search. Only lines that may be what is looked for are decoded, which takes most of
# the time. In a text of the log a quotation mark has a backslash before it.
_CLICKED, _SHOWN = b'"clicked"', b'"shown"'


@dataclass(frozen=True)
class QueryCount:
    """What a query came to."""

    query: str  # as it was typed first, with one blank for each run of white space
    searches: int
    empty: int  # searches that showed nothing
    clicks: int  # documents of a search that were clicked, each once
    clicked_searches: int  # with a click; more than `searches` if further results were clicked too
    clicked_share: float  # of the searches, 0 to 1
    mean_first_rank: float | None  # of what was clicked first in each of them, from 1; None without a click
    last: str  # time of the last search, UTC


@dataclass(frozen=True)
class QueryCounts:
    """Counts of n queries, in the order in which the log has them; int64 (n,) each."""

    texts: bytes | bytearray  # UTF-8, one after the other
    ends: NDArray[np.int64]  # where each text ends, in bytes
    searches: NDArray[np.int64]  # 0 if only further results were seen
    empty: NDArray[np.int64]
    clicks: NDArray[np.int64]
    clicked_searches: NDArray[np.int64]
    first_ranks: NDArray[np.int64]  # the sum of the ranks clicked first
    last: NDArray[np.int64]  # seconds since 1970
    half_typed: int  # searches that are not among these
    first: str | None  # time of the earliest search, UTC; None if there is none

    def latest(self) -> str | None:
        """Time of the latest search, UTC; None if there is none."""
        return time_text(int(self.last.max())) if len(self.last) else None

    def at(self, row: int) -> QueryCount:
        """The counts of one query, which was searched for."""
        start = int(self.ends[row - 1]) if row else 0
        searches, clicked = int(self.searches[row]), int(self.clicked_searches[row])
        return QueryCount(
            query=self.texts[start : int(self.ends[row])].decode(),
            searches=searches,
            empty=int(self.empty[row]),
            clicks=int(self.clicks[row]),
            clicked_searches=clicked,
            clicked_share=min(1.0, clicked / searches),
            mean_first_rank=int(self.first_ranks[row]) / clicked if clicked else None,
            last=time_text(int(self.last[row])),
        )


def count_queries(
    path: Path,
    *,
    since: str | None = None,
    typing_seconds: float = TYPING_SECONDS,
    progress: Progress = no_progress,
) -> QueryCounts:
    """Read a log and count by query. A server may go on recording.

    path: FILE; the files FILE.1, FILE.2, ... beside it belong to it.
    since: a time as in `Shown`; earlier searches are left out, with their clicks.
    typing_seconds: within which a search with a longer text makes one half typed; 0 counts all.
    progress: called after some thousand lines.
    Raises InputError with file and line for a damaged line, and for more than `MOST_CLICKS` clicks; what
    `opened` raises.
    """
    counting = _Counting()
    with opened(path) as parts:
        clicks = _clicks_of(parts, progress)
        searches = _searches_of(parts, clicks, since or "", progress)
        for search in marked_half_typed(searches, typing_seconds):
            counting.add(search)
    return counting.counts()


def _lines(parts: Sequence[Part], stage: str, progress: Progress) -> Iterator[tuple[Place, bytes]]:
    size, done = sum(part.size_bytes for part in parts), 0
    for number, (place, line) in enumerate((each for part in parts for each in lines_of(part)), 1):
        done += len(line)
        if number % _REPORTED == 0:
            progress(f"{stage}, MB", done // 1_000_000, size // 1_000_000)
        yield place, line


def _clicks_of(parts: Sequence[Part], progress: Progress) -> dict[int, list[str]]:
    """The documents that were clicked, by search, in the order of the log."""
    clicked: dict[int, list[str]] = {}
    names: dict[str, str] = {}
    count = 0
    for place, line in _lines(parts, "clicks", progress):
        if _CLICKED not in line:
            continue
        event = decode(place, line)
        if isinstance(event, Shown):
            continue
        count += 1
        check_clicks(count, place)
        search, name = int(event.search, 16), names.setdefault(event.clicked, event.clicked)
        if search in clicked:
            clicked[search].append(name)
        else:
            clicked[search] = [name]  # of nearly all searches there is one, and it takes less memory so
    return clicked


def _searches_of(
    parts: Sequence[Part],
    clicks: dict[int, list[str]],
    since: str,
    progress: Progress,
) -> Iterator[Search]:
    """The searches with their clicks, which are taken out of `clicks`."""
    for place, line in _lines(parts, "searches", progress):
        if _CLICKED in line and _SHOWN not in line:
            continue  # a click, which was read before
        event = decode(place, line)
        if isinstance(event, Clicked) or event.time < since:
            continue
        ranks = _ranks_of(event, clicks.pop(int(event.search, 16), ()))
        yield Search(
            query=event.query,
            key=query_key(event.query),
            seconds=_seconds(place, event.time),
            is_first=event.offset == 0,
            is_empty=not event.shown,
            clicks=len(ranks),
            first_rank=ranks[0] if ranks else 0,
        )


def _ranks_of(search: Shown, clicked: Collection[str]) -> list[int]:
    """The ranks of the documents that were clicked and shown, each once, what was clicked first in front."""
    if not clicked:
        return []  # as of most
    ranks: dict[str, int] = {}
    for rank, document in enumerate(search.shown, search.offset + 1):
        ranks.setdefault(document, rank)
    return [ranks[each] for each in dict.fromkeys(clicked) if each in ranks]


def _seconds(place: Place, at: str) -> int:
    try:
        return int(datetime.fromisoformat(at).timestamp())
    except ValueError as error:
        raise place.error(f'"time" is {at!r}, which is no date and time; remove the line') from error


class _Counting:
    """Adds up searches by query."""

    def __init__(self) -> None:
        self._rows: dict[int, int] = {}  # by hash, for the texts of millions as keys would take twice as much
        self._texts, self._ends = bytearray(), array("q")
        self._searches, self._empty, self._last = array("q"), array("q"), array("q")
        self._clicks, self._clicked, self._ranks = array("q"), array("q"), array("q")
        self._half_typed = 0
        self._first: int | None = None

    def add(self, search: Search) -> None:
        """Add a search; one that is half typed is only counted."""
        if search.half_typed:
            self._half_typed += 1
            return
        if not search.is_first and not search.clicks:
            return
        row = self._rows.setdefault(hash(search.key), len(self._ends))
        if row == len(self._ends):
            self._begin(search.query)
        self._first = search.seconds if self._first is None else min(self._first, search.seconds)
        self._last[row] = max(self._last[row], search.seconds)
        self._searches[row] += search.is_first
        self._empty[row] += search.is_first and search.is_empty
        self._clicks[row] += search.clicks
        self._clicked[row] += search.clicks > 0
        self._ranks[row] += search.first_rank

    def _begin(self, query: str) -> None:
        self._texts += " ".join(query.split()).encode()
        self._ends.append(len(self._texts))
        for counts in (self._searches, self._empty, self._last, self._clicks, self._clicked, self._ranks):
            counts.append(0)

    def counts(self) -> QueryCounts:
        """What was added."""
        return QueryCounts(
            texts=self._texts,
            ends=_array(self._ends),
            searches=_array(self._searches),
            empty=_array(self._empty),
            clicks=_array(self._clicks),
            clicked_searches=_array(self._clicked),
            first_ranks=_array(self._ranks),
            last=_array(self._last),
            half_typed=self._half_typed,
            first=None if self._first is None else time_text(self._first),
        )


def _array(numbers: array[int]) -> NDArray[np.int64]:
    return np.frombuffer(numbers, np.int64)
