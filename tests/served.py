"""`peephole serve` in processes of its own, for tests of what only happens there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

ROOT = Path(__file__).parents[1]


class Server:
    """`peephole serve` in a process; its log is in a file."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path, port: int) -> None:
        self.process, self.log, self.port = process, log, port
        self.url = f"http://127.0.0.1:{port}"

    def children(self) -> set[int]:
        """The worker processes."""
        tasks = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        found = {int(pid) for task in tasks for pid in task.read_text().split()}
        return {pid for pid in found if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()}

    def wait_for(self, condition: Callable[[], object], seconds: float = 120.0) -> None:
        """Wait until a condition holds; fail with the log if it never does, or the server ends."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, self.log.read_text()
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.05)

    def answers(self) -> bool:
        """Whether a search is answered."""
        try:
            return httpx.get(f"{self.url}/search?q=copy").status_code == 200
        except httpx.TransportError:
            return False


@contextmanager
def serving(folder: Path, *options: str) -> Iterator[Server]:
    """A server of an index, with options of the command, until the block ends; it may have ended before."""
    log = folder.parent / "log"
    with log.open("wb") as errors:
        command = [sys.executable, str(ROOT / "cli.py"), "serve", str(folder), "--port", "0", *options]
        process = subprocess.Popen(command, stderr=errors, env={**os.environ, "PYTHONPATH": str(ROOT)})
    try:
        server = Server(process, log, 0)
        server.wait_for(lambda: b'"listening"' in log.read_bytes())
        address = json.loads(log.read_text().splitlines()[0])["address"]
        server = Server(process, log, int(address.rpartition(":")[2]))
        server.wait_for(server.answers)
        yield server
    finally:
        process.kill()
        process.wait()
