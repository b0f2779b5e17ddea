"""The log: one JSON object a line on standard error, for each request and for each event.

In: what happened. Out: lines. A line of a request holds no address, and no query text unless the server was
told to.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from typing import Any

import msgspec

from index.phases import Phases
from retrieval.text.terminal import json_visible

_STANDARD_ERROR = 2
_LONGEST = 1000


@dataclass(slots=True)
class Record:
    """What the log tells of one request; handlers fill it in."""

    started: float = field(default_factory=time.perf_counter)
    route: str = "other"
    status: int = 0
    hits: int | None = None
    generation: str | None = None
    phases: Phases = field(default_factory=dict)  # seconds
    queries: list[str] = field(default_factory=list)
    problem: str | None = None  # what only the operator may read


def request_line(method: str, record: Record, seconds: float, log_queries: bool) -> dict[str, Any]:
    """The line of a finished request."""
    line: dict[str, Any] = {
        "time": round(time.time(), 3),
        "method": method,
        "route": record.route,
        "status": record.status,
        "ms": round(seconds * 1000, 3),
    }
    if record.hits is not None:
        line |= {"hits": record.hits, "generation": record.generation}
        line["phases_ms"] = {name: round(taken * 1000, 3) for name, taken in record.phases.items()}
    if record.problem is not None:
        line["problem"] = record.problem
    if log_queries and record.queries:
        line["queries"] = [query[:_LONGEST] for query in record.queries]
    return line


def event(name: str, **facts: object) -> None:
    """Write an event, such as a generation that was picked up."""
    write({"time": round(time.time(), 3), "event": name, **facts})


def write(line: dict[str, Any]) -> None:
    """Write one line in one call, so that lines of several workers do not mix. A lost log stops nothing."""
    text = json_visible(msgspec.json.encode(line).decode())
    try:
        os.write(_STANDARD_ERROR, text.encode() + b"\n")
    except OSError:
        return
