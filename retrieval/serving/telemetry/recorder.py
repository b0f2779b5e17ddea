"""What is shown and clicked, on its way to the click log: a queue, and a thread that appends it.

In: answers and clicks. Out: lines of `retrieval.data.clicks.recorded`. No query waits for the disk.
Of a request nothing arrives here but the query, how it was searched, and ids of documents. A log that cannot
be written loses events, which are counted, and stops no answer.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from index.errors import InputError, PeepholeError, StorageError
from retrieval.data.clicks.recorded import (
    FIRST_BYTES,
    Clicked,
    Event,
    Shown,
    encode,
    is_recorded,
    may_begin_log,
    time_text,
)
from retrieval.data.clicks.rotation import append, held
from retrieval.serving.telemetry import log
from retrieval.serving.telemetry.metrics import Metrics

# Results of an answer that are recorded; nobody looks at more.
MOST_SHOWN = 200
# Seconds for which events gather. A worker that is killed loses them.
_GATHER = 0.1
# Bytes that wait while the log is held or the disk is slow, a worker; what is beyond them is lost.
_MOST_BYTES = 32 << 20
# Seconds that the thread waits for the log while somebody forgets a query in it.
_PATIENCE = 600.0
_LAST_WAIT = 5.0  # seconds, at the end


def check_log(path: Path) -> None:
    """Raise InputError or StorageError unless events can be appended to this file, which is made.

    A file that is something else than a click log must not be cut or put aside.
    """
    if path.is_dir():
        raise InputError("is a folder; name a file for the clicks", path=path)
    if not path.parent.is_dir():
        raise InputError("its folder does not exist; make it first", path=path)
    if not os.access(path.parent, os.W_OK):
        raise StorageError(f"{path}: its folder cannot be written; older files are put aside there")
    with held(path) as handle:
        head = os.pread(handle, len(FIRST_BYTES), 0)
    if not may_begin_log(head) and not is_recorded(path):
        raise InputError("holds something else than a click log; name another file", path=path)


class Recorder:
    """The queue and the thread of one worker.

    path: FILE of the log.
    metrics: where events are counted.
    """

    def __init__(self, path: Path, metrics: Metrics) -> None:
        self._path = path
        self._metrics = metrics
        self._lock = threading.Lock()
        self._waiting: list[tuple[Event, bytes]] = []
        self._waiting_bytes = self._lost = 0
        self._problem: str | None = None
        self._arrived, self._closing = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="clicks", daemon=True)
        self._thread.start()

    def shown(self, query: str, mode: str, offset: int, documents: Iterable[str]) -> str:
        """Record an answer, and return the id of its search."""
        search = os.urandom(8).hex()
        self._put(
            Shown(time_text(time.time()), search, query, mode, offset, tuple(islice(documents, MOST_SHOWN)))
        )
        return search

    def clicked(self, search: str, document: str, rank: int | None) -> None:
        """Record a click."""
        self._put(Clicked(time_text(time.time()), search, document, rank))

    def close(self) -> None:
        """Append what waits, and end."""
        self._closing.set()
        self._arrived.set()
        self._thread.join(_LAST_WAIT)

    def _put(self, event: Event) -> None:
        line = encode(event)  # here, a few microseconds each, and not for many at a time while a query waits
        with self._lock:
            if self._waiting_bytes + len(line) > _MOST_BYTES:
                self._lost += 1
            else:
                self._waiting.append((event, line))
                self._waiting_bytes += len(line)
        self._arrived.set()

    def _run(self) -> None:
        while not self._closing.is_set():
            self._arrived.wait()
            self._closing.wait(_GATHER)
            self._arrived.clear()
            self._append_all()
        self._append_all()

    def _append_all(self) -> None:
        with self._lock:
            batch, lost = self._waiting, self._lost
            self._waiting, self._waiting_bytes, self._lost = [], 0, 0
        if not batch and not lost:
            return
        problem = "more arrives than can be written" if lost else None
        try:
            if batch:
                append(self._path, b"".join(line for _, line in batch), wait=_PATIENCE)
        except PeepholeError as error:
            problem, lost, batch = str(error), lost + len(batch), []
        except Exception as error:  # the thread must go on whatever happens to the file
            problem, lost, batch = f"{type(error).__name__}: {error}", lost + len(batch), []
        searches = sum(isinstance(event, Shown) for event, _ in batch)
        self._metrics.recorded(searches, len(batch) - searches, lost)
        if problem is not None and problem != self._problem:
            log.event("clicks_not_recorded", problem=problem)
        self._problem = problem
