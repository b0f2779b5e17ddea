"""Progress bars on standard error, and Ctrl-C as a request to stop at the next safe moment."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from index.values import Progress, no_progress

if TYPE_CHECKING:
    from rich.progress import TaskID


@contextmanager
def progress_bars(verb: str, *, shown: bool = True) -> Iterator[Progress]:
    """A bar for each stage, with rate and remaining time, if standard error is a terminal; otherwise silence.

    verb: what goes before the stage's name, such as "building".
    shown: whether this process shows them; of several that work together one does.
    """
    if not shown or not sys.stderr.isatty():
        yield no_progress
        return
    from rich import progress
    from rich.console import Console

    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TextColumn("{task.fields[rate]}"),
        progress.TimeElapsedColumn(),
        progress.TimeRemainingColumn(),
    )
    with progress.Progress(*columns, console=Console(stderr=True)) as bars:
        tasks: dict[str, TaskID] = {}

        def report(stage: str, done: int, total: int | None) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(f"{verb}: {stage}", total=total, rate="")
            speed = bars.tasks[tasks[stage]].speed
            bars.update(tasks[stage], completed=done, total=total, rate=f"{speed:,.0f}/s" if speed else "")

        yield report


@contextmanager
def interrupt_requests() -> Iterator[Callable[[], bool]]:
    """Yield a function that says whether Ctrl-C was pressed; a second Ctrl-C interrupts at once."""
    requested = False

    def request(number: int, frame: object) -> None:
        nonlocal requested
        requested = True
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, request)
    try:
        yield lambda: requested
    finally:
        signal.signal(signal.SIGINT, before)
