"""Commands killed before a step that changes the disk: the index holds what was acknowledged, and goes on."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from benchmarks.crash import kills, steps, world, writers

if TYPE_CHECKING:
    from retrieval.towers.two_tower import TwoTower


@pytest.fixture(scope="module")
def model(random_model: Callable[..., TwoTower], tmp_path_factory: pytest.TempPathFactory) -> Path:
    from retrieval.model.config import preset

    folder = tmp_path_factory.mktemp("life") / "model"
    texts = [world.record(f"d{number}", 1)["text"] for number in range(40)]
    random_model(preset("bag"), texts=texts).save(folder)
    return folder


# Strides without a common factor, so that the verbs are not all killed at the same steps.
@pytest.mark.parametrize(
    ("verb", "stride"), [("build", 11), ("resume", 9), ("add", 9), ("sync", 9), ("delete", 5), ("compact", 7)]
)
def test_command_killed_before_a_step_leaves_all_or_nothing(model: Path, verb: str, stride: int):
    (row,), failures = steps.steps(model, stride, [verb])
    assert failures == []
    assert row["killed"] >= 5


def test_command_killed_at_a_moment_leaves_all_or_nothing(tmp_path: Path, model: Path):
    life = kills.begin(tmp_path / "index", model, tmp_path, 120, random.Random(0))
    rows = kills.kills(life, len(kills.VERBS), lambda line: None)
    assert life.failures == []
    assert sum(row["killed"] for row in rows) == len(kills.VERBS)


def test_command_without_room_says_one_line_and_changes_nothing(tmp_path: Path, model: Path):
    life = kills.begin(tmp_path / "index", model, tmp_path, 50, random.Random(0))
    kills.full_disks(life, 4, lambda line: None)
    assert life.failures == []


def test_writers_and_readers_do_not_meet(tmp_path: Path, model: Path):
    base = {f"d{number}": 1 for number in range(100)}
    change = world.build(tmp_path / "index", model, tmp_path, base, 1)
    world.run([change.verb, *change.arguments], check=True)
    found = writers.write_and_read(tmp_path / "index", tmp_path, base, 2, 2, 2.0, 0, lambda line: None)
    assert found.failures == []
    assert all(int(str(row.get("changes") or row.get("reads"))) > 0 for row in found.rows)


def test_a_second_writer_is_told_in_a_line(tmp_path: Path, model: Path):
    change = world.build(tmp_path / "index", model, tmp_path, {"d1": 0}, 1)
    world.run([change.verb, *change.arguments], check=True)
    assert writers.told_to_wait(tmp_path / "index", tmp_path) == []


def test_a_lost_document_is_noticed(tmp_path: Path, model: Path):
    change = world.build(tmp_path / "index", model, tmp_path, {"d1": 0, "d2": 0}, 1)
    world.run([change.verb, *change.arguments], check=True)
    assert world.problems_of(tmp_path / "index", change.after) == (change.after, [])
    for wrong in ({**change.after, "d3": 1}, {"d1": 1}, {"d1": 1, "d2": 2}):
        assert world.problems_of(tmp_path / "index", wrong)[0] is None
    (tmp_path / "index" / "generation-000001" / "note").touch()
    assert world.strays(tmp_path / "index") == ["stray: generation-000001/note"]
    shutil.rmtree(tmp_path / "index" / "generation-000001")
    assert world.problems_of(tmp_path / "index", change.after)[1] != []
