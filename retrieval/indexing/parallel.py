"""Many documents encoded on all cores: texts out to worker processes, vectors back in order.

In: a model folder, shards of texts. Out: their vectors. The workers (`retrieval.indexing.worker`) hold the model
and nothing else; reading and storing stay with the caller, and go on meanwhile. Knows nothing of indexes.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import IO, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from retrieval.model.folder import TrainedModel

T = TypeVar("T")
Array = NDArray[np.float32]

# Documents that are worth the start of processes: about two seconds of encoding.
_FEWEST_DOCUMENTS = 16384
# More would wait for the one process that reads and stores.
_MOST_WORKERS = 8
# Two processes with threads of their own on two cores take turns waiting for each other.
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def encode_shards(
    model: TrainedModel, shards: Iterable[Sequence[T]], texts: Callable[[Sequence[T]], Sequence[str]]
) -> Generator[tuple[Sequence[T], Array], None, None]:
    """Each shard with the unit embeddings of its documents, float32 (n, dimension), in order.

    texts: the texts of a shard. Few documents are encoded in this process, all are on one core, and so is a
    shard whose worker died. Vectors are the same to rounding wherever they come from. At most two shards a
    worker are held at a time.
    """
    encoder = model.encoder("document")
    stream = iter(shards)
    first: list[Sequence[T]] = []
    while sum(map(len, first)) < _FEWEST_DOCUMENTS and (shard := next(stream, None)) is not None:
        first.append(shard)
    count = min(cores(), _MOST_WORKERS)
    if sum(map(len, first)) < _FEWEST_DOCUMENTS or count < 2:
        for shard in chain(first, stream):
            yield shard, encoder.encode(texts(shard))
        return
    with _Workers(model.folder, model.config.dimension, count) as workers:
        asked: deque[tuple[Sequence[T], Future[Array | None]]] = deque()
        for shard in chain(first, stream):
            if len(asked) == 2 * count:
                yield _answer(*asked.popleft(), texts, encoder.encode)
            asked.append((shard, workers.ask(texts(shard))))
        while asked:
            yield _answer(*asked.popleft(), texts, encoder.encode)


def _answer(
    shard: Sequence[T],
    vectors: Future[Array | None],
    texts: Callable[[Sequence[T]], Sequence[str]],
    encode: Callable[[Sequence[str]], Array],
) -> tuple[Sequence[T], Array]:
    found = vectors.result()
    return shard, encode(texts(shard)) if found is None else found


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Workers:
    """Processes that encode, each with a thread here that writes to it and waits for its answer."""

    def __init__(self, model: Path, dimension: int, count: int) -> None:
        self._dimension = dimension
        command = [sys.executable, "-P", "-m", "retrieval.indexing.worker", str(model)]
        self._processes = [
            subprocess.Popen(
                command,
                env=os.environ | _ONE_THREAD,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,  # whatever fails there is done again here, and fails aloud
            )
            for _ in range(count)
        ]
        self._idle: queue.SimpleQueue[subprocess.Popen[bytes]] = queue.SimpleQueue()
        for process in self._processes:
            self._idle.put(process)
        self._threads = ThreadPoolExecutor(count)

    def ask(self, texts: Sequence[str]) -> Future[Array | None]:
        """The embeddings of the texts; None if the worker died."""
        return self._threads.submit(self._encode, texts)

    def _encode(self, texts: Sequence[str]) -> Array | None:
        process = self._idle.get()
        try:
            to, back = cast(IO[bytes], process.stdin), cast(IO[bytes], process.stdout)
            data = json.dumps(texts).encode()
            to.write(len(data).to_bytes(8, "little") + data)
            to.flush()
            size = 4 * len(texts) * self._dimension
            answer = back.read(size)
        except OSError:
            return None
        finally:
            self._idle.put(process)
        if len(answer) < size:
            return None
        return np.frombuffer(answer, np.float32).reshape(len(texts), self._dimension)

    def __enter__(self) -> _Workers:
        return self

    def __exit__(self, *error: object) -> None:
        for process in self._processes:
            process.kill()  # nothing in a worker is worth waiting for
        self._threads.shutdown(cancel_futures=True)
        for process in self._processes:
            process.wait()
            for pipe in (process.stdin, process.stdout):
                with suppress(OSError):  # what was not flushed to a process that is gone
                    cast(IO[bytes], pipe).close()
