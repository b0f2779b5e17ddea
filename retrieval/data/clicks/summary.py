"""What a recorded click log holds, in numbers.

In: the path of the log. Out: counts and times.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from retrieval.data.clicks.log import query_key
from retrieval.data.clicks.recorded import Shown, events
from retrieval.data.clicks.rotation import opened


@dataclass(frozen=True)
class Summary:
    """A recorded log in numbers."""

    files: int
    bytes: int
    searches: int
    clicks: int  # as they were sent, those that will not count included
    queries: int  # texts, apart from case and white space
    first: str | None  # time of the earliest event, UTC; None if there is none
    last: str | None


def summary_of(path: Path) -> Summary:
    """Read a log and count. Raises InputError with file and line for a damaged line; what `opened` raises."""
    searches = clicks = 0
    queries: set[int] = set()  # hashes, for the texts of millions would fill the memory
    first = last = None
    with opened(path) as parts:
        for _, event in events(parts):
            first, last = min(first or event.time, event.time), max(last or event.time, event.time)
            if isinstance(event, Shown):
                searches += 1
                queries.add(hash(query_key(event.query)))
            else:
                clicks += 1
        size = sum(part.size_bytes for part in parts)
    return Summary(len(parts), size, searches, clicks, len(queries), first, last)
