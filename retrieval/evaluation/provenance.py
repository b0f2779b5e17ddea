"""Where a measurement comes from: machine, date, commit and command, for files of results.

Knows nothing of what was measured.
"""

from __future__ import annotations

import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from retrieval.indexing.parallel import cores


def provenance(command: str) -> dict[str, str]:
    """{"machine", "date", "commit", "command"}; commit is "unknown" outside a checkout, and ends in
    "-dirty" where tracked files were changed.
    """
    return {
        "machine": f"{cores()} cores, {cpu_model()}, {sys.platform}, Python {platform.python_version()}",
        "date": datetime.now(UTC).isoformat(timespec="minutes"),
        "commit": _commit(),
        "command": command,
    }


def cpu_model() -> str:
    """The processor's name, or its architecture where the system does not tell."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()


def _commit() -> str:
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:
        return "unknown"
    return done.stdout.strip() or "unknown"
