"""What a server counts and measures, in the text format of Prometheus.

In: finished requests. Out: the text of /metrics, over all workers. Knows nothing of HTTP.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from retrieval.serving.telemetry.board import Board

SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
HITS = (0.0, 1.0, 5.0, 10.0, 50.0, 100.0, 1000.0)
PHASES = ("tokenise", "encode", "dense", "lexical", "fuse", "rescore", "probability", "documents")
STATUSES = (200, 201, 304, 400, 401, 403, 404, 405, 408, 409, 413, 414, 415, 421, 422, 500, 503)
OTHER = "other"
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class _Family(NamedTuple):
    """Series of one name: labels to their first place in a row of the board."""

    name: str
    kind: str
    help: str
    places: Mapping[tuple[tuple[str, str], ...], int]
    buckets: tuple[float, ...] = ()


class Metrics:
    """The metrics of this process on the board of all.

    routes: the paths whose requests are counted apart; all others are "other".
    path: the board's file; None for a single process.
    """

    def __init__(self, routes: Sequence[str], path: Path | None = None) -> None:
        self._size = 0
        self._families: list[_Family] = []
        named = [(route,) for route in (*routes, OTHER)]
        answers = [(route, str(status)) for (route,) in named for status in STATUSES]
        self._requests = self._add("requests_total", "Requests.", ("route", "status"), answers)
        self._seconds = self._add(
            "request_seconds", "From request to response.", ("route",), named, "histogram", SECONDS
        )
        phases = [(phase,) for phase in PHASES]
        self._phases = self._add(
            "phase_seconds", "Phases of a search.", ("phase",), phases, "histogram", SECONDS
        )
        self._hits = self._add("hits", "Hits of a search.", (), [()], "histogram", HITS)
        self._zero = self._add("zero_result_searches_total", "Searches that found nothing.", (), [()])
        self._rejected = self._add("rejected_total", "Requests turned away with a 503.", (), [()])
        self._refused = self._add(
            "refused_generations_total", "New generations that could not be opened.", (), [()]
        )
        self._recorded = {
            name: self._add(f"{name}_total", text, (), [()])
            for name, text in (
                ("recorded_searches", "Searches written into the click log."),
                ("recorded_clicks", "Clicks written into the click log."),
                ("unrecorded_events", "Searches and clicks that could not be written into the click log."),
            )
        }
        self._gauges = {
            name: self._add(name, text, (), [()], "gauge")
            for name, text in (
                ("generation", "Number of the generation that is served, the highest of all workers."),
                ("documents", "Documents that a search can find."),
                ("queue", "Searches and slow requests that wait or run, of all workers."),
                ("resident_memory_bytes", "Resident memory, of all workers."),
                ("open_fds", "Open file descriptors, of all workers."),
                ("workers", "Workers that live."),
            )
        }
        self.board = Board(self._size, path)

    def request(self, route: str, status: int, seconds: float) -> None:
        """Count a finished request. route: its path in the table of routes, or "other"."""
        own = self.board.own
        place = self._requests.places.get((("route", route), ("status", str(status))))
        if place is not None:
            own[place] += 1
        self._observe(self._seconds, (("route", route),), seconds)
        if status == 503:
            own[self._rejected.places[()]] += 1

    def search(self, hits: int, phases: Mapping[str, float]) -> None:
        """Count a search. hits: how many it found. phases: seconds by phase."""
        for phase, seconds in phases.items():
            self._observe(self._phases, (("phase", phase),), seconds)
        self._observe(self._hits, (), hits)
        if not hits:
            self.board.own[self._zero.places[()]] += 1

    def refused_generation(self) -> None:
        """Count a generation that could not be opened."""
        self.board.own[self._refused.places[()]] += 1

    def recorded(self, searches: int, clicks: int, lost: int) -> None:
        """Count what went into the click log, and what was lost. Called by one thread only."""
        counts = {"recorded_searches": searches, "recorded_clicks": clicks, "unrecorded_events": lost}
        for name, count in counts.items():
            self.board.own[self._recorded[name].places[()]] += count

    def refresh(self, generation: int, documents: int, queue: int) -> None:
        """Write the gauges of this process."""
        values = {
            "generation": generation,
            "documents": documents,
            "queue": queue,
            "resident_memory_bytes": _resident_bytes(),
            "open_fds": _open_files(),
            "workers": 1,
        }
        self.board.refresh([(self._gauges[name].places[()], value) for name, value in values.items()])

    def text(self) -> str:
        """All metrics in the text format of Prometheus, version 0.0.4."""
        return "".join(f"{line}\n" for family in self._families for line in self._lines(family))

    def _lines(self, family: _Family) -> Iterator[str]:
        name = f"peephole_{family.name}"
        yield f"# HELP {name} {family.help}"
        yield f"# TYPE {name} {family.kind}"
        for labels, place in family.places.items():
            if family.kind == "histogram":
                yield from self._buckets(name, labels, place, family.buckets)
            elif family.kind == "gauge":
                of_workers = self.board.gauges(place)
                highest = family.name in ("generation", "documents")
                yield f"{name} {_number(max(of_workers, default=0) if highest else sum(of_workers))}"
            else:
                count = self.board.counted(place)
                if count or not labels:
                    yield f"{name}{_labels(labels)} {_number(count)}"

    def _buckets(
        self,
        name: str,
        labels: tuple[tuple[str, str], ...],
        place: int,
        buckets: tuple[float, ...],
    ) -> Iterator[str]:
        counts = [self.board.counted(place + at) for at in range(len(buckets) + 1)]
        if not sum(counts):
            return
        total = 0.0
        for bound, count in zip((*map(_number, buckets), "+Inf"), counts, strict=True):
            total += count
            yield f"{name}_bucket{_labels((*labels, ('le', bound)))} {_number(total)}"
        yield f"{name}_sum{_labels(labels)} {self.board.counted(place + len(buckets) + 1)!r}"
        yield f"{name}_count{_labels(labels)} {_number(total)}"

    def _observe(self, family: _Family, labels: tuple[tuple[str, str], ...], value: float) -> None:
        place = family.places.get(labels)
        if place is not None:
            own = self.board.own
            own[place + bisect_left(family.buckets, value)] += 1
            own[place + len(family.buckets) + 1] += value

    def _add(
        self,
        name: str,
        text: str,
        labels: tuple[str, ...],
        values: Sequence[tuple[str, ...]],
        kind: str = "counter",
        buckets: tuple[float, ...] = (),
    ) -> _Family:
        width = len(buckets) + 2 if buckets else 1  # the last bucket is +Inf; then the sum
        places = {
            tuple(zip(labels, each, strict=True)): self._size + number * width
            for number, each in enumerate(values)
        }
        self._size += width * len(values)
        family = _Family(name, kind, text, places, buckets)
        self._families.append(family)
        return family


def _labels(labels: tuple[tuple[str, str], ...]) -> str:
    """Labels as Prometheus writes them. Their values are ours: paths, numbers, names of phases."""
    return "{" + ",".join(f'{name}="{value}"' for name, value in labels) + "}" if labels else ""


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)


def _open_files() -> int:
    try:
        return sum(1 for _ in Path("/proc/self/fd").iterdir())
    except OSError:
        return 0


def _resident_bytes() -> int:
    try:
        return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * _PAGE_BYTES
    except OSError:
        return 0
