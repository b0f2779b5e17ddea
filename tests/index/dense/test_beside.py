"""Tuning in a process of its own: the same result, also when that process fails, and none is left behind."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from index.dense import beside, tuning
from index.dense.beside import tuning_beside
from index.dense.tuning import Goal, tune
from index.dense.vectors import StoredVectors, to_halves, write_vectors
from index.errors import InputError
from index.values import no_progress

COUNT, DIMENSION = 1000, 16


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stored vectors, few as they are, on a machine of two cores."""
    monkeypatch.setattr(beside, "cores", lambda: 2)
    monkeypatch.setattr(beside, "SMALL", 0)
    rows = np.random.default_rng(0).standard_normal((COUNT, DIMENSION)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    (tmp_path / "raw").write_bytes(to_halves(rows).tobytes())
    write_vectors(tmp_path / "vectors.faiss", tmp_path / "raw", COUNT, DIMENSION)
    return tmp_path / "vectors.faiss"


def tuned(file: Path, goal: Goal, queries: np.ndarray | None = None) -> tuning.Tuning:
    path = file.with_name("compressed")
    with tuning_beside(file, COUNT, DIMENSION, queries, goal, path, no_progress) as wait:
        return wait()


@pytest.mark.parametrize("with_queries", [False, True])
def test_another_process_chooses_as_this_one_does(
    file: Path, with_queries: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = StoredVectors(file, COUNT, DIMENSION)
    queries = vectors.take(np.arange(100)) if with_queries else None
    goal = Goal(recall=0.9, max_bytes=COUNT * DIMENSION)  # of two bytes a number Flat has too many
    here = tune(vectors, queries, goal, file.with_name("here"))
    monkeypatch.setattr(beside, "tune", lambda *given: pytest.fail("tuned in this process"))
    there = tuned(file, goal, queries)
    assert [(each.name, each.depth, each.recall) for each in there.tried] == [
        (each.name, each.depth, each.recall) for each in here.tried
    ]
    assert there.chosen.parts > 0
    assert file.with_name("compressed").is_file()


def test_a_goal_that_nothing_meets_is_told_as_before(file: Path) -> None:
    with pytest.raises(InputError, match="no index meets the goal"):
        tuned(file, Goal(recall=0.99, max_bytes=1))
    assert not list(file.parent.glob("compressed*"))


def test_a_process_that_dies_is_replaced_by_this_one(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.with_name("compressed.8").write_bytes(b"half written")
    monkeypatch.setattr(sys, "executable", "/bin/false")
    assert tuned(file, Goal(recall=0.5, max_bytes=COUNT * DIMENSION)).chosen.parts > 0


def test_a_process_that_cannot_be_started_is_replaced_too(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/dev/null")
    assert tuned(file, Goal(recall=0.5, max_bytes=COUNT * DIMENSION)).chosen.parts > 0


def test_a_process_may_be_dead_before_it_is_asked(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start = subprocess.Popen

    def died(*given: Any, **named: Any) -> subprocess.Popen[bytes]:
        process = start(*given, **named)
        process.wait()
        return process

    monkeypatch.setattr(sys, "executable", "/bin/false")
    monkeypatch.setattr(subprocess, "Popen", died)
    assert tuned(file, Goal(recall=0.5, max_bytes=COUNT * DIMENSION)).chosen.parts > 0


def test_no_process_is_left_when_the_rest_fails(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []
    start = subprocess.Popen
    monkeypatch.setattr(
        subprocess, "Popen", lambda *given, **named: started.append(start(*given, **named)) or started[0]
    )
    path = file.with_name("compressed")
    with (
        pytest.raises(KeyboardInterrupt),
        tuning_beside(file, COUNT, DIMENSION, None, Goal(), path, no_progress),
    ):
        raise KeyboardInterrupt
    assert started[0].returncode is not None


def test_a_process_ends_with_its_input_as_when_its_parent_is_killed(file: Path) -> None:
    path = str(file.with_name("compressed"))
    asked = {"file": str(file), "count": COUNT, "dimension": DIMENSION, "queries": False, "path": path}
    asked |= {"goal": Goal().to_mapping(), "bytes": 0}
    command = [sys.executable, "-P", "-m", "index.dense.beside"]
    data = json.dumps(asked).encode() + b"\n"
    ended = subprocess.run(command, input=data, capture_output=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (1, b"", b"")


def test_a_process_whose_work_fails_ends_without_aborting(file: Path) -> None:
    path = str(file.with_name("compressed"))
    asked = {"file": f"{file}.none", "count": COUNT, "dimension": DIMENSION, "queries": False, "path": path}
    asked |= {"goal": Goal().to_mapping(), "bytes": 0}
    command = [sys.executable, "-P", "-m", "index.dense.beside"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdin.write(json.dumps(asked).encode() + b"\n")
        process.stdin.flush()
        assert process.wait(60) == 1  # while its standard input is open
        assert process.stdout.read() == b""
