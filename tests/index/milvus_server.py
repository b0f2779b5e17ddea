"""A Milvus-lite server for tests, and the mark of tests that need one."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib.util import find_spec
from itertools import count
from pathlib import Path

import pytest

from index.errors import RemoteError
from index.remote.address import Address
from index.remote.client import Server

needs_milvus = pytest.mark.skipif(
    find_spec("pymilvus") is None or find_spec("milvus_lite") is None,
    reason="pymilvus or milvus-lite is not installed; `make test-adapters` brings both",
)
_numbers = count(1)
_PATIENCE_SECONDS = 60


class LiteServer:
    """A server on a free port of this machine; it can be killed and started again with the same data."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.parent.mkdir(exist_ok=True)
        with closing(socket.socket()) as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [str(Path(sys.executable).with_name("milvus-lite")), "server"]
        options = ["--data-dir", str(self._folder), "--host", "127.0.0.1", "--port", str(self.port)]
        with (self._folder.parent / "milvus.log").open("ab") as log:
            self._process = subprocess.Popen([*command, *options], stdout=log, stderr=log)
        until = time.monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                with closing(Server(Address("127.0.0.1", self.port, "any"))) as server:
                    server.collections()
                return
            except RemoteError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.1)

    def kill(self) -> None:
        if self._process is not None:
            os.kill(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def new_store(self) -> str:
        """The address of a collection that nobody has."""
        return f"milvus://127.0.0.1:{self.port}/c{next(_numbers)}"


@contextmanager
def running(folder: Path) -> Iterator[LiteServer]:
    server = LiteServer(folder / "data")
    server.start()
    try:
        yield server
    finally:
        server.kill()
