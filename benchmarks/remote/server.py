"""A server of Milvus-lite on this machine."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

from index.errors import PeepholeError
from index.remote.address import Address
from index.remote.client import Server

_PATIENCE_SECONDS = 120


class Lite:
    """A server of Milvus-lite that can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.parent.mkdir(exist_ok=True)
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [str(Path(sys.executable).with_name("milvus-lite")), "server", "--host", "127.0.0.1"]
        with (self._folder.parent / "milvus.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--port", str(self.port), "--data-dir", str(self._folder)], stdout=log, stderr=log
            )
        until = time.monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                with closing(Server(Address("127.0.0.1", self.port, "any"))) as server:
                    server.collections()
                return
            except PeepholeError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.1)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def free_port() -> int:
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port
