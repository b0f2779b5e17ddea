"""Encoding by worker processes: the same vectors, in order, whatever happens to a worker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from retrieval.indexing import parallel as bulk
from retrieval.model.config import preset
from retrieval.model.folder import TrainedModel, read_model

if TYPE_CHECKING:
    from retrieval.towers.two_tower import TwoTower

SHARDS = [
    [f"list files {number} {extra}" for extra in ("by size", "\ud800", "", "显示文件")] for number in range(9)
]


@pytest.fixture(scope="module")
def model(random_model: Callable[..., TwoTower], tmp_path_factory: pytest.TempPathFactory) -> TrainedModel:
    folder = tmp_path_factory.mktemp("bulk") / "model"
    random_model(preset("lstm"), texts=["list files by size", "显示文件"]).save(folder)
    return read_model(folder)


@pytest.fixture
def two_cores(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[bytes]]:
    """Two cores, whatever the machine has; the processes started."""
    monkeypatch.setattr(bulk, "cores", lambda: 2)
    monkeypatch.setattr(bulk, "_MIN_DOCUMENTS", 16)
    started: list[subprocess.Popen[bytes]] = []
    start = subprocess.Popen

    def noted(*arguments: Any, **options: Any) -> subprocess.Popen[bytes]:
        started.append(start(*arguments, **options))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", noted)
    return started


def texts(shard: Sequence[str]) -> list[str]:
    return list(shard)


def expected(model: TrainedModel, shards: Sequence[Sequence[str]]) -> list[Any]:
    encoder = model.encoder("document")
    return [encoder.encode(shard) for shard in shards]


def check(model: TrainedModel, got: Sequence[tuple[Sequence[str], Any]], shards: Sequence[Sequence[str]]):
    assert [shard for shard, _ in got] == list(shards)
    for (_, vectors), wanted in zip(got, expected(model, shards), strict=True):
        np.testing.assert_allclose(vectors, wanted, atol=1e-6)


def test_workers_give_the_vectors_of_one_process_in_order(
    model: TrainedModel, two_cores: list[subprocess.Popen[bytes]]
):
    check(model, list(bulk.encode_shards(model, iter(SHARDS), texts)), SHARDS)
    assert len(two_cores) == 2
    assert all(process.returncode is not None for process in two_cores)


def test_few_documents_start_no_process(model: TrainedModel, two_cores: list[subprocess.Popen[bytes]]):
    check(model, list(bulk.encode_shards(model, iter(SHARDS[:3]), texts)), SHARDS[:3])
    assert two_cores == []


def test_one_core_starts_no_process(
    model: TrainedModel, two_cores: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(bulk, "cores", lambda: 1)
    check(model, list(bulk.encode_shards(model, iter(SHARDS), texts)), SHARDS)
    assert two_cores == []


def test_shards_of_a_dead_worker_are_encoded_here(
    model: TrainedModel, two_cores: list[subprocess.Popen[bytes]]
):
    encoded = bulk.encode_shards(model, iter(SHARDS), texts)
    got = [next(encoded)]
    os.kill(two_cores[0].pid, signal.SIGKILL)
    check(model, [*got, *encoded], SHARDS)


def test_a_dead_worker_takes_no_further_shards(model: TrainedModel, two_cores: list[subprocess.Popen[bytes]]):
    with bulk._Workers(model.folder, "document", model.config.dimension, 2) as workers:
        os.kill(two_cores[0].pid, signal.SIGKILL)
        two_cores[0].wait()
        vectors = [future.result() for future in [workers.submit(shard) for shard in SHARDS]]
        assert sum(encoded is None for encoded in vectors) == 1
        os.kill(two_cores[1].pid, signal.SIGKILL)
        two_cores[1].wait()
        assert [future.result() for future in [workers.submit(shard) for shard in SHARDS]] == [None] * 9


def test_a_caller_that_stops_leaves_no_process(model: TrainedModel, two_cores: list[subprocess.Popen[bytes]]):
    encoded = bulk.encode_shards(model, iter(SHARDS), texts)
    next(encoded)
    encoded.close()
    assert [process.returncode for process in two_cores] == [-signal.SIGKILL] * 2


@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
def test_a_worker_ends_with_its_input(model: TrainedModel, tmp_path: Path):
    script = tmp_path / "parent.py"
    script.write_text(
        "import os, sys\nfrom pathlib import Path\nfrom retrieval.indexing import parallel as bulk\n"
        "workers = bulk._Workers(Path(sys.argv[1]), 'document', 1, 1)\n"
        "print(workers._processes[0].pid, flush=True)\nos.kill(os.getpid(), 9)\n"
    )

    parent = subprocess.run([sys.executable, str(script), str(model.folder)], capture_output=True, text=True)
    worker = int(parent.stdout)
    # Its standard output is a pipe of the parent's: once nobody holds the other end of its input, it goes.
    for _ in range(2000):
        try:
            if Path(f"/proc/{worker}/stat").read_text().split()[2] == "Z":
                return
        except FileNotFoundError:
            return

        time.sleep(0.01)
    pytest.fail("the worker outlived its parent")
