"""Who works when: searches one after the other in the event loop, slow work in a few threads.

In: work. Out: its results, or a refusal when too many wait or one waits too long.

A search takes about a millisecond and holds Python's lock for most of it. In a thread it would take as long,
and wait for the lock besides (benchmarks/NOTES.md). So it runs in the loop, and between two searches the loop
takes in what has arrived: health checks are answered, and a full queue is seen at once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TypeVar

from retrieval.serving.errors import RETRY, Refusal

T = TypeVar("T")


def _full(what: str) -> Refusal:
    return Refusal(503, f"too many {what} are waiting; try again", headers=RETRY)


class Turns:
    """Turns in the event loop, in the order of arrival.

    most: how many may wait.
    seconds: how long one may wait.
    """

    def __init__(self, most: int, seconds: float) -> None:
        self._most = most
        self._seconds = seconds
        self._lock = asyncio.Lock()
        self.waiting = 0

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a turn. Raises a 503 if too many wait already, or after too long a wait."""
        if self.waiting >= self._most:
            raise _full("searches")
        self.waiting += 1
        arrived = time.monotonic()
        try:
            await asyncio.sleep(0)  # all that has arrived is counted before the first of it runs
            async with self._lock:
                if time.monotonic() - arrived > self._seconds:
                    raise TimeoutError
                yield
                if self.waiting > 1:
                    await asyncio.sleep(0)  # the loop reads what has arrived before the next turn
        finally:
            self.waiting -= 1


class Threads:
    """A few threads for work that would hold up the loop.

    threads: how many work at a time.
    most: how much work may wait or run.
    seconds: how long a request waits for its work, which then goes on without it.
    what: a name for the refusal.
    """

    def __init__(self, threads: int, most: int, seconds: float, what: str) -> None:
        self._pool = ThreadPoolExecutor(threads, what)
        self._most = most
        self._seconds = seconds
        self._what = what
        self.waiting = 0

    async def run(self, work: Callable[..., T], *arguments: object) -> T:
        """The result of the work. Raises what it raises, a 503 if too much waits, TimeoutError."""
        if self.waiting >= self._most:
            raise _full(self._what)
        self.waiting += 1
        future = asyncio.get_running_loop().run_in_executor(self._pool, lambda: work(*arguments))
        future.add_done_callback(self._done)
        return await asyncio.wait_for(asyncio.shield(future), self._seconds)

    def _done(self, future: asyncio.Future[T]) -> None:
        self.waiting -= 1
        if not future.cancelled():
            future.exception()  # looked at, also when nobody waits any more

    def close(self) -> None:
        """Let the work that runs end, and start no other."""
        self._pool.shutdown(cancel_futures=True)
