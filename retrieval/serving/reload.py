"""Move to a new generation as soon as it is published, and stay with the old one if the new one is damaged.

In: the shared state. Out: an engine that serves what CURRENT names. Not in the path of any request.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from index.disk.folder import CURRENT
from index.errors import PeepholeError, one_line
from retrieval.serving.state import State
from retrieval.serving.telemetry import log

# Seconds between two looks at CURRENT.
_LOOK = 0.1
# Seconds until a generation that was refused is tried again: its files may have been restored.
_AGAIN = 5.0
_GAUGES = 1.0

Signature = tuple[int, ...]


async def open_when_possible(state: State) -> None:
    """Open the index, waiting for one as long as it takes: a worker must not end while others serve."""
    while True:
        try:
            await asyncio.to_thread(state.open)
        except Exception as error:  # whatever it is, the next look may find it mended
            problem = one_line(error)
            if state.refused != problem:
                state.refused = problem
                log.event("index_refused", problem=problem)
            await asyncio.sleep(_LOOK)
        else:
            state.refused = None
            return


async def watch(state: State) -> None:
    """Look for new generations until cancelled, and keep the gauges fresh."""
    seen, tried, written = _signature(state.settings.index), 0.0, 0.0
    await _refresh(state)
    while True:
        await asyncio.sleep(_LOOK)
        now, signature = time.monotonic(), _signature(state.settings.index)
        if signature != seen or (state.refused is not None and now - tried > _AGAIN):
            seen, tried = signature, now
            await _refresh(state)
        if now - written > _GAUGES:
            written = now
            state.refresh_gauges()


async def _refresh(state: State) -> None:
    try:
        changed = await asyncio.to_thread(state.engine.refresh)
    except Exception as error:  # whatever is wrong with the new generation, the old one serves on
        problem = str(error) if isinstance(error, PeepholeError) else f"{type(error).__name__}: {error}"
        if problem != state.refused:
            state.refused = problem
            state.metrics.refused_generation()
            log.event("generation_refused", serves=state.engine.index.generation, problem=problem)
        return
    state.refused = None
    if changed:
        state.refresh_gauges()
        log.event("generation", serves=state.engine.index.generation, documents=state.engine.index.count)


def _signature(folder: Path) -> Signature:
    """What changes when CURRENT is replaced; one call of the system. Empty if it is not there."""
    try:
        status = (folder / CURRENT).stat()
    except OSError:
        return ()
    return status.st_ino, status.st_mtime_ns, status.st_size
