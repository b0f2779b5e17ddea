"""`peephole build` with a look at each of its phases; run by `benchmarks.scale` in a process of its own.

    python -m benchmarks.scale.building CORPUS MODEL INDEX [--recall R]

Prints the JSON of `peephole build --json`, and in `phases` of each phase: seconds; processor seconds of the
process that reads and writes, and those of its workers; MiB that all of them had of their own at most.
"""

from __future__ import annotations

import json
import os
import resource
import threading
import time
from pathlib import Path
from typing import Any

from benchmarks.common import parser_of
from benchmarks.scale.processes import own_mb, processor_s, workers_of
from index.dense.tuning import Goal
from retrieval.commands.printing import manifest_json
from retrieval.indexing.build import build

_SAMPLE_SECONDS = 0.25


def _taken() -> dict[str, float]:
    """Seconds so far. Those of workers that ended count as the system says, those of others as they are."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "s": time.perf_counter(),
        "processor_s": time.process_time(),
        "workers_processor_s": ended.ru_utime
        + ended.ru_stime
        + sum(map(processor_s, workers_of(os.getpid()))),
    }


class Phases:
    """Told by a build what it does, it notes what that took. A phase lasts until the next one begins."""

    def __init__(self) -> None:
        self.found: dict[str, dict[str, float]] = {}
        self._lock = threading.Lock()
        self._phase = "start"
        self._before = _taken()
        self._peak_mb = 0.0
        threading.Thread(target=self._watch, daemon=True).start()

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        if stage != self._phase:
            self.end()
            self._phase = stage

    def end(self) -> None:
        """End a phase; it may come again, and then adds up."""
        with self._lock:
            peak, self._peak_mb = max(self._peak_mb, own_mb(os.getpid())), 0.0
        now = _taken()
        noted = self.found.setdefault(self._phase, dict.fromkeys((*now, "own_mb"), 0.0))
        for name, value in now.items():
            noted[name] = round(noted[name] + value - self._before[name], 2)
        noted["own_mb"] = round(max(noted["own_mb"], peak), 1)
        self._before = now

    def _watch(self) -> None:
        while True:
            with self._lock:
                self._peak_mb = max(self._peak_mb, own_mb(os.getpid()))
            time.sleep(_SAMPLE_SECONDS)


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("index", type=Path)
    parser.add_argument("--recall", type=float, default=Goal().recall)
    options = parser.parse_args()
    phases = Phases()
    manifest = build(options.corpus, options.model, options.index, goal=Goal(options.recall), progress=phases)
    phases.end()
    facts: dict[str, Any] = {**manifest_json(options.index, manifest), "phases": phases.found}
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
