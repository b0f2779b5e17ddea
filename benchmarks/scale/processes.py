"""What the processes of this machine take, by /proc: memory in MiB, processor time in seconds."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def with_workers(process: int) -> list[int]:
    """The process and those it started."""
    return [process, *workers_of(process)]


def workers_of(process: int) -> list[int]:
    """The processes that the main thread or another one of a process started, and that still run."""
    found: list[int] = []
    with suppress(OSError):
        for thread in Path(f"/proc/{process}/task").iterdir():
            found += map(int, (thread / "children").read_text().split())
    return found


def memory_mb(process: int, what: str) -> float:
    """A line of the process' status, for the kernel's ru_maxrss begins with the parent's; 0 if it is gone.

    what: RssAnon for memory of its own, VmHWM for all that it ever had at once.
    """
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((round(int(line.split()[1]) / 1024, 1) for line in lines if line.startswith(what)), 0.0)


def own_mb(process: int) -> float:
    """Memory of their own, of a process and its workers."""
    return sum(memory_mb(one, "RssAnon") for one in with_workers(process))


def processor_s(process: int) -> float:
    """Processor time of a process, of all its threads and of no worker; 0 if it is gone."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICKS
