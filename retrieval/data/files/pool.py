"""Converts many files at once in processes of their own, each with a limit on time and memory.

In: paths and kinds. Out: what the files hold, in order. A file that crashes or hangs its process costs that
process and no more. Knows nothing of formats.
"""

from __future__ import annotations

import json
import os
import queue
import select
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar, cast

from index.cores import cores
from index.errors import InputError, MissingExtraError, StorageError
from retrieval.data.files.sections import Extract, Section

T = TypeVar("T")

# Two took 14 s for the docs of a framework where one took 24 (benchmarks/NOTES.md); more were not measured.
_MAX_WORKERS = 4
_LONGEST_ANSWER = 1 << 30
_SECONDS_TO_START = 60.0


@dataclass(frozen=True, slots=True)
class Converted:
    """What a file held when it was read."""

    extract: Extract
    sha256: str


class ConverterPool:
    """Worker processes, and a thread for each that waits for its answers. They start with the first file."""

    def __init__(self, seconds: float) -> None:
        """seconds: the longest time for a file."""
        count = max(1, min(cores(), _MAX_WORKERS))
        self._workers = [_Worker(seconds) for _ in range(count)]
        self._idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        for worker in self._workers:
            self._idle.put(worker)
        self._threads = ThreadPoolExecutor(count)

    def convert(
        self, files: Iterable[tuple[T, Path, str | None]]
    ) -> Iterator[tuple[T, Future[Converted] | None]]:
        """Each file with the future of its content, in order, a few files ahead.

        files: anything, a path, and its kind; None for a file that need not be converted.
        The future raises InputError for a file that cannot be read, and MissingExtraError.
        """
        pending: deque[tuple[T, Future[Converted] | None]] = deque()
        for item, path, kind in files:
            pending.append((item, self._threads.submit(self._convert, path, kind) if kind else None))
            if len(pending) > 4 * len(self._workers):
                yield pending.popleft()
        yield from pending

    def _convert(self, path: Path, kind: str) -> Converted:
        worker = self._idle.get()
        try:
            return worker.convert(path, kind)
        finally:
            self._idle.put(worker)

    def __enter__(self) -> ConverterPool:
        return self

    def __exit__(self, *error: object) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        for worker in self._workers:
            worker.kill()
        self._threads.shutdown()
        for worker in self._workers:  # a thread may have started one after the first kill
            worker.close()


class _Worker:
    """A process that is started when it is needed, and again after a file has ended it."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._ended = False

    def convert(self, path: Path, kind: str) -> Converted:
        process = self._process = self._process or self._start()
        request = json.dumps({"path": str(path), "kind": kind, "seconds": self._seconds}).encode()
        until = time.monotonic() + self._seconds
        try:
            to_worker = cast(IO[bytes], process.stdin)
            to_worker.write(len(request).to_bytes(8, "little") + request)
            to_worker.flush()
            answer = self._answer(until)
        except TimeoutError as error:
            self.close()
            limit = f"{self._seconds:g} seconds"
            raise InputError(
                f"takes longer than {limit} to read; leave it out, or raise --time-limit", path=path
            ) from error
        except (EOFError, OSError) as error:
            self.close()
            raise InputError(
                "ended the process that read it (broken, or it needs too much memory); leave it out",
                path=path,
            ) from error
        return _converted(answer, path)

    def _start(self) -> subprocess.Popen[bytes]:
        """Start a process and wait until it is ready. Raises StorageError."""
        process = self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "retrieval.data.files.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
        )
        if self._ended:  # `kill` came while it started
            process.kill()
        try:
            self._answer(time.monotonic() + _SECONDS_TO_START)
        except (TimeoutError, EOFError) as error:
            self.close()
            raise StorageError(
                "a process that reads files does not start; free some memory, or see what "
                "`python -m retrieval.data.files.worker` says"
            ) from error
        return process

    def kill(self) -> None:
        """End the process, and any that a thread may be about to start."""
        self._ended = True
        if self._process is not None:
            self._process.kill()

    def close(self) -> None:
        """End the process and forget it. It holds nothing that has to be saved."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                with suppress(OSError):  # a request that could not be written to a dead worker
                    cast(IO[bytes], pipe).close()

    def _answer(self, until: float) -> dict[str, Any]:
        size = int.from_bytes(self._read(8, until), "little")
        if size > _LONGEST_ANSWER:
            raise EOFError
        answer: dict[str, Any] = json.loads(self._read(size, until))
        return answer

    def _read(self, size: int, until: float) -> bytes:
        """Exactly so many bytes. Raises TimeoutError, EOFError if the process has ended."""
        handle = cast(IO[bytes], cast("subprocess.Popen[bytes]", self._process).stdout).fileno()
        ready = select.poll()  # `select.select` refuses a number above 1,023
        ready.register(handle, select.POLLIN)
        data = bytearray()
        while len(data) < size:
            if not ready.poll(max(0.0, until - time.monotonic()) * 1000):
                raise TimeoutError
            chunk = os.read(handle, min(size - len(data), 1 << 20))
            if not chunk:
                raise EOFError
            data += chunk
        return bytes(data)


def _converted(answer: dict[str, Any], path: Path) -> Converted:
    if "missing" in answer:
        raise MissingExtraError(f"{path}: {answer['missing']}")
    if "problem" in answer:
        raise InputError(answer["problem"], path=path)
    extract = answer["extract"]
    sections = [
        Section(tuple(each["headings"]), each["text"], each["anchor"], each["fields"])
        for each in extract["sections"]
    ]
    return Converted(Extract(sections, extract["title"], extract["fields"]), answer["sha256"])
