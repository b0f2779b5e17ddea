"""Progress bars on standard error, and Ctrl-C as a request to stop at the next safe moment."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import click

from index.values import Progress, no_progress
from retrieval.commands.printing import print_line

if TYPE_CHECKING:
    from rich.progress import TaskID


# Seconds between two lines of progress where no terminal shows bars.
_SECONDS_A_LINE = 60
_NARROW = 75  # columns of a terminal; with fewer, count and time would be cut


@contextmanager
def progress_bars(verb: str, *, shown: bool = True) -> Iterator[Progress]:
    """A bar for each stage, with rate and remaining time; if standard error is no terminal, a line a minute.

    A narrow terminal has room for how much is done and the remaining time only.

    verb: what goes before the stage's name, such as "building".
    shown: whether this process shows them; of several that work together one does.
    """
    if not shown:
        yield no_progress
        return
    if not sys.stderr.isatty():
        yield progress_lines(verb)
        return
    from rich import progress
    from rich.console import Console
    from rich.table import Column

    console = Console(stderr=True)
    done, left = progress.MofNCompleteColumn(), progress.TimeRemainingColumn(compact=True)
    columns: tuple[progress.ProgressColumn, ...] = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(bar_width=None, table_column=Column(ratio=1)),
        done,
        progress.TextColumn("{task.fields[rate]}"),
        progress.TimeElapsedColumn(),
        left,
    )
    if console.width < _NARROW:
        columns = (progress.TextColumn("{task.description}", table_column=Column(ratio=1)), done, left)
    with progress.Progress(*columns, console=console, expand=True) as bars:
        tasks: dict[str, TaskID] = {}

        def report(stage: str, done: int, total: int | None) -> None:
            name = stage.partition(",")[0]
            if name not in tasks:
                tasks[name] = bars.add_task("", total=total, rate="")
            speed = bars.tasks[tasks[name]].speed
            rate = f"{speed:,.0f}/s" if speed else ""
            bars.update(tasks[name], description=f"{verb}: {stage}", completed=done, total=total, rate=rate)

        yield report


def progress_lines(verb: str, clock: Callable[[], float] = time.monotonic) -> Progress:
    """Progress as a line on standard error each minute, with the remaining time; short work prints nothing.

    verb: what goes before the stage's name.
    clock: seconds.
    """
    printed = clock()
    begun: dict[str, tuple[float, int]] = {}  # when each stage began, and how much was done then

    def report(stage: str, done: int, total: int | None) -> None:
        nonlocal printed
        now = clock()
        start, before = begun.setdefault(stage.partition(",")[0], (now, done))
        if now - printed < _SECONDS_A_LINE:
            return
        printed = now
        line = f"{verb}: {stage}: {done:,}"
        if total is not None:
            line += f" of {total:,}"
            if done > before:
                left = (now - start) / (done - before) * (total - done)
                line += f", {timedelta(seconds=round(left))} left"
        print_line(line, err=True)

    return report


@contextmanager
def resumable(*, told: bool = True) -> Iterator[None]:
    """Make Ctrl-C the error that tells how to go on, for verbs that have --resume.

    told: whether this process tells it; of several that work together one does.
    """
    try:
        yield
    except KeyboardInterrupt as error:
        if not told:
            raise click.exceptions.Exit(1) from error
        raise click.ClickException("interrupted; the same command with --resume goes on from here") from error


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
