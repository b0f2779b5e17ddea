"""An application in this process, over a copy of the golden index."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from retrieval.serving.app import Application
from retrieval.serving.settings import Limits, Settings
from retrieval.serving.state import State

TOKEN = "a-token-of-some-length"  # noqa: S105


@dataclass
class Served:
    """An application that runs, and a client of it."""

    app: Application
    client: httpx.AsyncClient

    @property
    def state(self) -> State:
        assert self.app.state is not None
        return self.app.state


Scenario = Callable[[Served], Awaitable[None]]
Run = Callable[..., None]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An index folder to change."""
    golden = Path(__file__).parents[2] / "golden" / "index-2"
    return Path(shutil.copytree(golden, tmp_path / "index"))


@pytest.fixture
def run(folder: Path) -> Run:
    """Runs a scenario against an application with the given limits and settings."""

    def run(scenario: Scenario, *, limits: Limits | None = None, **options: object) -> None:
        settings = Settings(folder, limits or Limits(), **{"token": TOKEN, **options})  # type: ignore[arg-type]

        async def play() -> None:
            app = Application(settings)
            await app.start()
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://peephole") as client:
                try:
                    await scenario(Served(app, client))
                finally:
                    await app.stop()

        asyncio.run(play())

    return run
