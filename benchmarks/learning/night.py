"""One night: `learn` and `rollback` of an index while a server and its clients use it.

In: an index and its data set. Out: what the clients were answered, how long the server took to move to what
was published, and how fast it answered before and meanwhile.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from benchmarks.crash.world import COMMAND, verify_problems
from benchmarks.learning.people import Visits, people, record
from benchmarks.serving.load import server
from index.disk.folder import read_current
from index.errors import PeepholeError
from retrieval.data.dataset import Dataset
from retrieval.search.retriever import Retriever

_PORT = 8377
_SESSIONS = 6.0
# Each client waits so long between two searches, so that the machine has room for both.
_PAUSE_SECONDS = 0.1
_QUIET_SECONDS = 20.0
_LOOK_SECONDS = 0.01
_PATIENCE_SECONDS = 30.0


@dataclass
class Clients:
    """People who search; what they were answered, and seconds of each answer."""

    queries: Sequence[str]
    statuses: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def search(self, first: int) -> None:
        """Search until stopped, from the `first` query on."""
        connection = http.client.HTTPConnection("127.0.0.1", _PORT, timeout=30)
        number = first
        while not self.stop.wait(_PAUSE_SECONDS):
            start = time.perf_counter()
            try:
                connection.request("GET", f"/search?k=10&q={quote(self.queries[number % len(self.queries)])}")
                answer = connection.getresponse()
                found = json.loads(answer.read())
                whole = answer.status == 200 and len(found["hits"]) > 0
                self.statuses["answered" if whole else f"status {answer.status}"] += 1
            except (OSError, http.client.HTTPException, ValueError) as error:
                self.statuses[type(error).__name__] += 1
                connection.close()
            self.seconds.append(time.perf_counter() - start)
            number += 1

    def percentiles_ms(self) -> dict[str, float]:
        """Median and 99th percentile since the last call."""
        seconds, self.seconds = self.seconds, []
        return {f"p{p}_ms": round(float(np.percentile(seconds, p)) * 1000, 1) for p in (50, 99)}


def night(dataset: Dataset, source: Path, work: Path, clients: int) -> dict[str, Any]:
    """Serve a copy of an index, record what people click, learn and roll back while clients search.

    dataset: the data set, whose training queries are searched.
    source: the index, which stays as it is.
    work: a folder.
    clients: how many search at once.
    """
    index, log = work / "index", work / "clicks.jsonl"
    shutil.copytree(source, index)
    train = dataset.qrels("train")
    with Retriever.open(index) as retriever:
        record(log, retriever, dataset, train, Visits(people, _SESSIONS))
    command = [*COMMAND, "serve", str(index), "--port", str(_PORT), "--no-access-log"]
    found: dict[str, Any] = {"clients": clients}
    searching = Clients([dataset.queries[query] for query in train])
    url = f"http://127.0.0.1:{_PORT}"
    with server(command, url, work / "log", dict(os.environ)), _searching(searching, clients):
        time.sleep(_QUIET_SECONDS)
        found["before"] = searching.percentiles_ms()
        for verb, arguments in (("learn", ["--clicks", str(log)]), ("rollback", [])):
            found[verb] = _under_load(index, [verb, str(index), *arguments, "--json"])
            found[verb] |= searching.percentiles_ms()
    # What the server still held when it was to be removed stays until the next write.
    problems = verify_problems(index)
    return found | {"answers": dict(searching.statuses), "problems": problems}


@contextmanager
def _searching(clients: Clients, count: int) -> Iterator[None]:
    threads = [threading.Thread(target=clients.search, args=(97 * n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        clients.stop.set()
        for thread in threads:
            thread.join()


def _under_load(index: Path, arguments: list[str]) -> dict[str, Any]:
    """Run a verb; how long it took, what it said, and how long after publication the server had it."""
    before = read_current(index).generation
    start = time.perf_counter()
    process = subprocess.Popen(
        [*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    said: list[str] = []
    reader = threading.Thread(target=lambda: said.append(process.communicate()[0]))
    reader.start()
    published = _when(lambda: read_current(index).generation != before, lambda: process.poll() is None)
    served = None
    if published is not None:
        now = read_current(index).generation
        end = time.perf_counter() + _PATIENCE_SECONDS
        served = _when(lambda: _served() == now, lambda: time.perf_counter() < end)
    reader.join()
    result = json.loads(said[0])
    return {
        "took_s": round(time.perf_counter() - start, 1),
        "published": result.get("published", process.returncode == 0),
        "reason": result.get("reason", ""),
        "generation": result["generation"],
        "served_after_s": None if published is None or served is None else round(served - published, 2),
    }


def _when(holds: Callable[[], bool], waiting: Callable[[], bool]) -> float | None:
    """The moment at which something began to hold; None if it did not while one waited."""
    while True:
        waits = waiting()
        if holds():
            return time.perf_counter()
        if not waits:
            return None
        time.sleep(_LOOK_SECONDS)


def _served() -> str:
    """The generation that the server says it serves."""
    connection = http.client.HTTPConnection("127.0.0.1", _PORT, timeout=5)
    try:
        connection.request("GET", "/readyz")
        return str(json.loads(connection.getresponse().read())["generation"])
    except (OSError, http.client.HTTPException, ValueError, PeepholeError):
        return ""
    finally:
        connection.close()
