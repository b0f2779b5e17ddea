"""Load on a server by wrk, and servers in processes of their own.

In: a command that serves, queries. Out: rates and latencies as wrk measured them.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

WRK = shutil.which("wrk")
_PATIENCE = 180

_SCRIPT = """
local targets = {}
for line in io.lines(os.getenv("TARGETS")) do targets[#targets + 1] = line end
local at = math.random(#targets)
request = function() at = at % #targets + 1; return wrk.format("GET", targets[at]) end
local pause = tonumber(os.getenv("PAUSE_MS") or "0")
if pause > 0 then delay = function() return pause end end
done = function(summary, latency, requests)
  local bad = summary.errors
  io.write(string.format('{"requests": %d, "seconds": %f, "p50_ms": %f, "p99_ms": %f, "failed": %d}\\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    bad.connect + bad.read + bad.write + bad.status + bad.timeout))
end
"""


def targets(queries: Sequence[str]) -> list[str]:
    """The paths of searches."""
    return [f"/search?k=10&q={quote(query)}" for query in queries]


def load(
    url: str, paths: Sequence[str], clients: int, seconds: int, work: Path, pause_ms: float = 0
) -> dict[str, Any]:
    """What wrk measured: requests a second, p50 and p99 in milliseconds, failed requests.

    pause_ms: what each client waits before a request, for a load below the highest.
    """
    (work / "load.lua").write_text(_SCRIPT, "utf-8")
    (work / "targets").write_text("\n".join(paths) + "\n", "utf-8")
    command = [str(WRK), "-t1", f"-c{clients}", f"-d{seconds}s", "-s", str(work / "load.lua"), url]
    environment = {"TARGETS": str(work / "targets"), "PAUSE_MS": str(round(pause_ms))}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(
        next(line for line in done.stdout.splitlines() if line.startswith("{"))
    )
    found["requests_per_s"] = round(found["requests"] / found["seconds"], 1)
    return {"clients": clients, **found}


@contextmanager
def server(
    command: Sequence[str], url: str, log: Path, environment: Mapping[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """A server that answers, ended by SIGTERM afterwards. Raises RuntimeError with the end of its log."""
    with log.open("wb") as errors:
        process = subprocess.Popen(command, stdout=errors, stderr=errors, env=environment)
    try:
        end = time.monotonic() + _PATIENCE
        while not answers(url):
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(log.read_text("utf-8", "replace")[-400:])
            time.sleep(0.2)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(40)
        except subprocess.TimeoutExpired:
            process.kill()


def answers(url: str) -> bool:
    """Whether a search is answered."""
    try:
        with urllib.request.urlopen(f"{url}/search?q=list", timeout=10) as got:  # noqa: S310 (127.0.0.1)
            return bool(got.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def memory_mb(process: int) -> dict[str, float]:
    """The proportional and the private memory of a process and its children together, in MiB."""
    total = {"pss_mb": 0.0, "private_mb": 0.0}
    for pid in family(process):
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text("ascii").splitlines()
        values = {line.split(":")[0]: float(line.split()[1]) for line in lines[1:]}
        total["pss_mb"] += values["Pss"] / 1024
        total["private_mb"] += (values["Private_Clean"] + values["Private_Dirty"]) / 1024
    return {name: round(value, 1) for name, value in total.items()}


def family(process: int) -> list[int]:
    """A process and all below it."""
    tasks = Path(f"/proc/{process}/task").glob("*/children")
    below = [int(pid) for task in tasks for pid in task.read_text("ascii").split()]
    return [process, *(pid for child in below for pid in family(child))]


def open_files(process: int) -> int:
    """Open file descriptors of a process and its children."""
    return sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in family(process))
