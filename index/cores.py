"""The processor cores that this process may use.

In: nothing. Out: their number. Knows nothing of what they are for.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_MEMBERSHIP = Path("/proc/self/cgroup")
_GROUPS = Path("/sys/fs/cgroup")


def cores() -> int:
    """How many cores this process may use: those it may run on, but no more than its control groups pay for.

    A container with `--cpus 2`, or a unit with CPUQuota=, runs on all cores of the machine and is stopped
    when it has used its share of time; a process for each core would only take more memory.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    paid = min(map(_paid, _groups()), default=math.inf)
    return allowed if paid >= allowed else max(1, math.ceil(paid))


def _groups() -> Iterator[Path]:
    """The control groups that limit this process: its own and those above it, of version 1 or 2."""
    try:
        lines = _MEMBERSHIP.read_text().splitlines()
    except OSError:  # no Linux
        return
    for line in lines:
        _, controllers, own = line.split(":", 2)
        if not controllers or "cpu" in controllers.split(","):
            root = _GROUPS / "cpu" if controllers else _GROUPS
            group = root / own.lstrip("/")
            # Inside a container the path may be that of the host, and then the container's own is the root.
            yield from (each for each in (group, *group.parents) if each.is_relative_to(root))


def _paid(group: Path) -> float:
    """How many cores a control group pays for; infinite without a limit."""
    with suppress(OSError, ValueError, ZeroDivisionError):  # version 2: "max 100000" without a limit
        quota, period = (group / "cpu.max").read_text().split()
        return int(quota) / int(period)
    with suppress(OSError, ValueError, ZeroDivisionError):  # version 1: -1 without a limit
        quota_us = int((group / "cpu.cfs_quota_us").read_text())
        if quota_us > 0:
            return quota_us / int((group / "cpu.cfs_period_us").read_text())
    return math.inf
