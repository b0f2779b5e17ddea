"""The origin of a measurement: machine, date, commit and command.

In: the command that measured. Out: strings for a report or a file of results. Knows nothing of what was
measured.
"""

from __future__ import annotations

import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from index.cores import cores


def provenance(command: str) -> dict[str, str]:
    """The values "machine", "date", "commit" and "command" of a file of results.

    The commit is "unknown" outside a checkout. It ends in "-dirty" if tracked files were changed.
    """
    return {
        "machine": f"{machine()}, {sys.platform}, Python {platform.python_version()}",
        "date": datetime.now(UTC).isoformat(timespec="minutes"),
        "commit": _commit(),
        "command": command,
    }


def machine() -> str:
    """The cores that this process may use, and their model."""
    return f"{cores()} cores, {cpu_model()}"


def cpu_model() -> str:
    """The processor's name, or its architecture if the system does not give one."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()


def _commit() -> str:
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty"],  # noqa: S607 (whichever git the user runs)
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:
        return "unknown"
    return done.stdout.strip() or "unknown"
