"""A small index whose model knows nothing yet."""

from __future__ import annotations

from pathlib import Path

import pytest
from clicked_world import World, make_world


@pytest.fixture
def world(tmp_path: Path, random_model, write_beir) -> World:
    return make_world(tmp_path, random_model, write_beir)
