"""What the handlers of one process share: settings, the engine once it is open, turns, threads, metrics.

Knows nothing of requests.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from retrieval.serving.engine import Engine
from retrieval.serving.errors import RETRY, Refusal
from retrieval.serving.settings import Settings
from retrieval.serving.telemetry import log
from retrieval.serving.telemetry.metrics import Metrics
from retrieval.serving.telemetry.recorder import Recorder
from retrieval.serving.turns import Threads, Turns


def _tell_of_lost_loops() -> None:
    """Log why compiled loops are not used although numba is there: searches take half as long again."""
    with suppress(ImportError):
        try:
            import index.dense.compiled  # noqa: F401
        except RuntimeError:
            log.event(
                "not_compiled",
                problem="numba can keep its loops nowhere, so searches do without it; set NUMBA_CACHE_DIR to "
                "a folder that this user may write to",
            )


class State:
    """The parts of one serving process. `count` comes before the first request."""

    metrics: Metrics
    recorder: Recorder | None  # None if nothing is recorded

    def __init__(self, settings: Settings) -> None:
        limits = settings.limits
        self.settings = settings
        self.limits = limits
        self.turns = Turns(limits.waiting, limits.seconds)
        self.slow = Threads(2, limits.slow, limits.seconds, "slow requests")
        self.writes = Threads(1, limits.writes, limits.write_seconds, "writes")
        self.refused: str | None = None  # why the generation that CURRENT names is not served
        self._engine: Engine | None = None

    def count(self, routes: Sequence[str]) -> None:
        """Begin to count requests, and to record clicks. routes: the paths that are counted apart."""
        self.metrics = Metrics(routes, self.settings.board)
        clicks = self.settings.clicks
        self.recorder = None if clicks is None else Recorder(clicks, self.metrics)

    @property
    def engine(self) -> Engine:
        """The open index. Raises a 503 before it is open."""
        if self._engine is None:
            raise Refusal(503, "no index is open yet", headers=RETRY)
        return self._engine

    def open(self) -> None:
        """Open the index. Raises what `Retriever.open` raises."""
        self._engine = Engine(self.settings.index)
        _tell_of_lost_loops()  # once: opening is tried again and again until there is an index
        with suppress(Exception):  # whatever it is, whoever searches is told
            # Loads and compiles what the first query would wait for.
            self._engine.retriever.search("first words", k=1)

    @property
    def is_open(self) -> bool:
        """Whether an index is open."""
        return self._engine is not None

    def refresh_gauges(self) -> None:
        """Write the gauges of this process onto the board."""
        queue = self.turns.waiting + self.slow.waiting + self.writes.waiting
        if self._engine is None:
            self.metrics.refresh(0, 0, queue)
            return
        index = self._engine.index
        self.metrics.refresh(int(index.generation.removeprefix("generation-")), index.count, queue)

    def close(self) -> None:
        """Finish the writes that run, record what waits, and close the index."""
        self.slow.close()
        self.writes.close()
        if self.recorder is not None:
            self.recorder.close()
        if self._engine is not None:
            self._engine.close()
