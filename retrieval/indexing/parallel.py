"""Encode many documents on all cores: texts out to worker processes, vectors back in order.

In: a model and shards of documents. Out: their vectors. The workers (`retrieval.indexing.worker`, or those of
a Ray cluster) hold the model and nothing else; the caller reads and stores while they encode. Knows nothing
of indexes.

concurrent.futures.ProcessPoolExecutor was tried instead (benchmarks/NOTES.md, 2026-11-24). Its workers
outlive a parent that is killed. One dead worker ends the whole pool. Each worker runs the caller's main
script again, and fails if the script has no `if __name__ == "__main__"`.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import IO, Protocol, TypeVar, cast

import numpy as np

from index.cores import cores
from index.values import Vectors
from retrieval.model.config import Side
from retrieval.model.folder import TrainedModel

T = TypeVar("T")

# With fewer documents the start of processes costs more than it saves: about two seconds of encoding.
_MIN_DOCUMENTS = 16384
# More workers would wait for the one process that reads and stores.
_MAX_WORKERS = 8
# As many processes as cores, each with one thread: with more threads they wait for each other.
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


class Workers(Protocol):
    """Processes that encode texts with a tower."""

    @property
    def count(self) -> int:
        """How many lists of texts are encoded at the same time."""

    def submit(self, texts: Sequence[str]) -> Future[Vectors | None]:
        """The embeddings of the texts; None if the worker died."""


def encode_shards(
    model: TrainedModel,
    shards: Iterable[Sequence[T]],
    texts: Callable[[Sequence[T]], Sequence[str]],
    side: Side = "document",
    workers: Workers | None = None,
) -> Generator[tuple[Sequence[T], Vectors], None, None]:
    """Yield each shard with the embeddings of its documents, float32 (n, dimension), unit length, in order.

    model: the model.
    shards: the documents; at most two shards a worker are held at a time.
    texts: gives the texts of a shard.
    side: whose tower encodes.
    workers: encode all shards; None for processes of this machine.

    Without `workers` this process encodes by itself if there are few documents or one core. It also encodes a
    shard whose worker died. The vectors are the same to rounding.
    """
    encoder = model.encoder(side)
    encoder.expect_many()
    if workers is not None:
        yield from _encoded_by(workers, shards, texts, encoder.encode)
        return
    stream = iter(shards)
    first: list[Sequence[T]] = []
    while sum(map(len, first)) < _MIN_DOCUMENTS and (shard := next(stream, None)) is not None:
        first.append(shard)
    count = min(cores(), _MAX_WORKERS)
    if sum(map(len, first)) < _MIN_DOCUMENTS or count < 2:
        for shard in chain(first, stream):
            yield shard, encoder.encode(texts(shard))
        return
    with _Workers(model.folder, side, model.config.dimension, count) as own:
        yield from _encoded_by(own, chain(first, stream), texts, encoder.encode)


def _encoded_by(
    workers: Workers,
    shards: Iterable[Sequence[T]],
    texts: Callable[[Sequence[T]], Sequence[str]],
    encode: Callable[[Sequence[str]], Vectors],
) -> Generator[tuple[Sequence[T], Vectors], None, None]:
    pending: deque[tuple[Sequence[T], Future[Vectors | None]]] = deque()
    for shard in shards:
        if len(pending) >= 2 * workers.count:
            yield _encoded(*pending.popleft(), texts, encode)
        pending.append((shard, workers.submit(texts(shard))))
    while pending:
        yield _encoded(*pending.popleft(), texts, encode)


def _encoded(
    shard: Sequence[T],
    future: Future[Vectors | None],
    texts: Callable[[Sequence[T]], Sequence[str]],
    encode: Callable[[Sequence[str]], Vectors],
) -> tuple[Sequence[T], Vectors]:
    """A shard with its vectors, encoded here if its worker died."""
    vectors = future.result()
    return shard, encode(texts(shard)) if vectors is None else vectors


class _Workers:
    """Worker processes here, and a thread for each that writes texts to it and reads the vectors."""

    def __init__(self, model: Path, side: Side, dimension: int, count: int) -> None:
        self.count = count
        self._dimension = dimension
        command = [sys.executable, "-P", "-m", "retrieval.indexing.worker", str(model), side]
        self._processes = [
            subprocess.Popen(
                command,
                env=os.environ | _ONE_THREAD,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,  # a shard that fails there is encoded here, where errors show
            )
            for _ in range(count)
        ]
        self._idle: queue.SimpleQueue[subprocess.Popen[bytes]] = queue.SimpleQueue()
        for process in self._processes:
            self._idle.put(process)
        self._living = count
        self._lock = threading.Lock()  # of `_living`
        self._threads = ThreadPoolExecutor(count)

    def submit(self, texts: Sequence[str]) -> Future[Vectors | None]:
        """The embeddings of the texts; None if the worker died."""
        return self._threads.submit(self._encode, texts)

    def _encode(self, texts: Sequence[str]) -> Vectors | None:
        process = self._idle.get()
        to_worker, from_worker = cast(IO[bytes], process.stdin), cast(IO[bytes], process.stdout)
        size = 4 * len(texts) * self._dimension
        answer = b""
        try:
            with suppress(OSError):  # the worker is dead
                data = json.dumps(texts).encode()
                to_worker.write(len(data).to_bytes(8, "little") + data)
                to_worker.flush()
                answer = from_worker.read(size)
        finally:
            self._give_back(process, is_dead=len(answer) < size)
        if len(answer) < size:
            return None
        return np.frombuffer(answer, np.float32).reshape(len(texts), self._dimension)

    def _give_back(self, process: subprocess.Popen[bytes], *, is_dead: bool) -> None:
        """Let the next shard have this worker. A dead one would fail at once and take most of the shards."""
        with self._lock:
            self._living -= is_dead
            if is_dead and self._living > 0:
                return
        self._idle.put(process)  # if all are dead, a dead one: nobody may wait for ever

    def __enter__(self) -> _Workers:
        return self

    def __exit__(self, *error: object) -> None:
        for process in self._processes:
            process.kill()  # a worker holds nothing that has to be saved
        self._threads.shutdown(cancel_futures=True)
        for process in self._processes:
            process.wait()
            for pipe in (process.stdin, process.stdout):
                with suppress(OSError):  # texts that could not be written to a dead worker
                    cast(IO[bytes], pipe).close()
