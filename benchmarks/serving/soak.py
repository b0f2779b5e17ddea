"""Ten clients ask without a pause while documents are added, deleted, compacted and built anew.

In: an index, of which a copy is served and changed. Out: how many answers failed, were torn or were stale.

Ten documents carry the number of the change that wrote them, all ten the same. An answer that shows two
numbers comes from two generations: it is torn. An answer whose number was replaced more than a second before
the request is stale.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from itertools import cycle
from pathlib import Path
from typing import Any

from benchmarks.common import ROOT
from benchmarks.serving.load import memory_mb, open_files, server
from index.reader import Index

_PORT = 18471
_CLIENTS = 10
_MARKED = 10
_STALE_SECONDS = 1.0
_TOKEN = "soak-" + "0" * 16
_COMMAND = (sys.executable, str(ROOT / "cli.py"))
_BUILT = 1500  # documents of a build anew, besides the marked ones
_QUERIES = ("list files", "copy a directory", "stop a service", "unpack an archive")


def marked(number: int) -> list[dict[str, Any]]:
    """The documents of one change."""
    return [{"_id": f"soak/{n}", "text": f"zebrafish marker {number}"} for n in range(_MARKED)]


class Clients:
    """What all clients saw."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.problems: list[str] = []
        self.published: list[tuple[float, int]] = []  # when a change was acknowledged, and its number
        self.stop = threading.Event()
        self.lock = threading.Lock()

    def least(self, started: float) -> int:
        """The lowest number that an answer to a request of this time may show."""
        return max((number for at, number in self.published if at < started - _STALE_SECONDS), default=0)

    def count(self, what: str, problem: str = "") -> None:
        """Count an answer; keep a few problems."""
        with self.lock:
            self.counts[what] += 1
            if problem and len(self.problems) < 20:
                self.problems.append(f"{what}: {problem}")

    def ask(self) -> None:
        """Ask until stopped, over one connection."""
        connection = http.client.HTTPConnection("127.0.0.1", _PORT, timeout=30)
        choice = random.Random(threading.get_ident())
        while not self.stop.is_set():
            is_marked = choice.random() < 0.5
            query = "zebrafish" if is_marked else choice.choice(_QUERIES)
            mode = "lexical" if is_marked else choice.choice(("hybrid", "dense"))
            started = time.monotonic()
            try:
                connection.request("GET", f"/search?k=10&mode={mode}&q={query.replace(' ', '+')}")
                got = connection.getresponse()
                data = got.read()
            except (OSError, http.client.HTTPException) as error:
                self.count("failed", repr(error))
                connection.close()
                continue
            self._judge(got.status, data, is_marked, started)
        connection.close()

    def _judge(self, status: int, data: bytes, is_marked: bool, started: float) -> None:
        if status != 200:
            self.count("failed", f"{status} {data[:200]!r}")
            return
        hits = json.loads(data)["hits"]
        numbers = {int(hit["text"].split()[-1]) for hit in hits} if is_marked else set()
        if len(hits) != 10 or (is_marked and len(numbers) != 1):
            self.count("torn", f"{len(hits)} hits, numbers {sorted(numbers)}")
        elif is_marked and min(numbers) < self.least(started):
            self.count("stale", f"{min(numbers)} where at least {self.least(started)}")
        else:
            self.count("right")


class Changes:
    """The changes, one after the other."""

    def __init__(self, index: Path, clients: Clients, work: Path) -> None:
        self.index, self.clients, self.work = index, clients, work
        self.counts: Counter[str] = Counter()
        self.number = 0
        with Index.open(index) as opened:
            documents = opened.documents(opened.rows()[:_BUILT].tolist())
        self.corpus = [
            {"_id": each.id, "title": each.title, "text": each.text, "metadata": dict(each.metadata)}
            for each in documents
        ]
        shutil.copytree(index / opened.generation / "model", work / "model")

    def run(self, seconds: int) -> None:
        """Change until the time is over."""
        end = time.monotonic() + seconds
        changes = {"add": self._add, "delete": self._delete, "compact": self._compact, "build": self._build}
        for kind in cycle(["add", "delete", "add", "compact", "add", "build"]):
            if time.monotonic() >= end:
                return
            changes[kind]()
            self.counts[kind] += 1
            time.sleep(0.2)

    def _published(self) -> None:
        self.clients.published.append((time.monotonic(), self.number))

    def _write(self, method: str, path: str, body: object | None) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", _PORT, timeout=60)
        headers = {"Authorization": f"Bearer {_TOKEN}", "Content-Type": "application/json"}
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        got = connection.getresponse()
        data = got.read()
        connection.close()
        if got.status != 200:
            self.clients.count("failed write", f"{got.status} {data[:200]!r}")

    def _add(self) -> None:
        self.number += 1
        self._write("POST", "/documents", {"documents": marked(self.number)})
        self._published()

    def _delete(self) -> None:
        self._write("PUT", "/documents/soak-gone", {"text": "soon gone"})
        self._write("DELETE", "/documents/soak-gone", None)

    def _compact(self) -> None:
        self._command("compact", str(self.index), "--wait", "60")

    def _build(self) -> None:
        self.number += 1
        corpus = self.work / "corpus.jsonl"
        lines = [json.dumps(each) for each in (*self.corpus, *marked(self.number))]
        corpus.write_text("\n".join(lines) + "\n", "utf-8")
        self._command(
            "build", str(corpus), "-m", str(self.work / "model"), "-o", str(self.index), "--wait", "60"
        )
        self._published()

    def _command(self, *arguments: str) -> None:
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [*_COMMAND, *arguments], env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            self.clients.count("failed write", done.stderr.strip()[-200:])


def soak(source: Path, seconds: int, work: Path) -> dict[str, Any]:
    """Serve a copy of an index with two workers, ask and change it, and tell what the clients saw."""
    index = work / "index"
    shutil.copytree(source, index)
    options = ["--port", str(_PORT), "--workers", "2", "--no-access-log"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PEEPHOLE_TOKEN": _TOKEN}
    clients, samples = Clients(), []
    log = work / "log"
    url = f"http://127.0.0.1:{_PORT}"
    with server([*_COMMAND, "serve", str(index), *options], url, log, environment) as process:
        changes = Changes(index, clients, work)
        changes._add()
        time.sleep(_STALE_SECONDS)
        threads = [threading.Thread(target=clients.ask) for _ in range(_CLIENTS)]
        writer = threading.Thread(target=changes.run, args=(seconds,))
        for thread in (*threads, writer):
            thread.start()
        started = time.monotonic()
        while writer.is_alive():
            writer.join(5)
            sample = {"second": round(time.monotonic() - started), **memory_mb(process.pid)}
            samples.append({**sample, "open_files": open_files(process.pid)})
        clients.stop.set()
        for thread in threads:
            thread.join()
        process.terminate()
        code = process.wait(60)
    result = {
        "seconds": seconds,
        "answers": dict(clients.counts),
        "problems": clients.problems,
        "changes": dict(changes.counts),
        "generations": max(int(path.name.rpartition("-")[2]) for path in index.glob("generation-*")),
        "exit_code": code,
        "tracebacks": log.read_text("utf-8").count("Traceback"),
        "samples": samples,
    }
    print(json.dumps({name: value for name, value in result.items() if name != "samples"}, indent=1))
    for sample in samples[:: max(1, len(samples) // 8)]:
        print(f"  {sample}")
    return result
