"""Who works when: searches one after the other in the event loop, slow work in a few threads.

In: work. Out: its results, or a refusal when too many wait or one waits too long.

A search takes about a millisecond and holds Python's lock for most of it. Threads bring no more searches a
second than the loop (benchmarks/NOTES.md). So it runs in the loop, and between two searches the loop
takes in what has arrived: health checks are answered, and a full queue is seen at once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Generic, NamedTuple, TypeVar

from retrieval.serving.errors import RETRY, Refusal

T = TypeVar("T")
Item = TypeVar("Item")
Result = TypeVar("Result")


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


class _Waiting(NamedTuple, Generic[Item, Result]):
    item: Item
    arrived: float
    result: asyncio.Future[Result]


class Batches(Generic[Item, Result]):
    """Turns that are shared: whoever gets one does the work for others of its kind that wait.

    Several queries together cost half as much each as one by one (benchmarks/NOTES.md), so the rate grows
    with the load, and nobody waits for a batch to fill.

    turns: the turns.
    seconds: how long an item may wait.
    most: items of a batch.
    """

    def __init__(self, turns: Turns, seconds: float, most: int) -> None:
        self._turns = turns
        self._seconds = seconds
        self._most = most
        self._kinds: dict[object, list[_Waiting[Item, Result]]] = {}

    async def result(self, kind: object, item: Item, work: Callable[[list[Item]], list[Result]]) -> Result:
        """The result for an item. work: gives the results for items of one kind, in order.

        Raises what the work raises, a 503 if too many wait, TimeoutError.
        """
        own = _Waiting[Item, Result](item, time.monotonic(), asyncio.get_running_loop().create_future())
        own.result.add_done_callback(lambda future: future.cancelled() or future.exception())
        group = self._kinds.setdefault(kind, [])
        group.append(own)
        try:
            async with self._turns.turn():
                if not own.result.done():
                    self._work(group, work)
                return own.result.result()
        finally:
            if own in group:
                group.remove(own)
            if not group:
                self._kinds.pop(kind, None)

    def _work(self, group: list[_Waiting[Item, Result]], work: Callable[[list[Item]], list[Result]]) -> None:
        """Take the first of a group, the oldest first, and give each its result."""
        batch, group[:] = group[: self._most], group[self._most :]
        oldest = time.monotonic() - self._seconds
        for each in [each for each in batch if each.arrived < oldest]:
            batch.remove(each)
            each.result.set_exception(TimeoutError())
        try:
            results = work([each.item for each in batch]) if batch else []
        except Exception as error:  # it belongs to all whose work this was
            for each in batch:
                each.result.set_exception(error)
            return
        for each, result in zip(batch, results, strict=True):
            each.result.set_result(result)


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
