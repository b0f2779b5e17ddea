"""A Milvus-lite server for tests, and the mark of tests that need one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import count
from pathlib import Path

import pytest

from benchmarks.remote.server import Lite

needs_milvus = pytest.mark.skipif(
    find_spec("pymilvus") is None or find_spec("milvus_lite") is None,
    reason="pymilvus or milvus-lite is not installed; `make test-adapters` brings both",
)
_numbers = count(1)


class LiteServer(Lite):
    """A server on a free port of this machine; it can be killed and started again with the same data."""

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
