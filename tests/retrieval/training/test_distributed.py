"""Training in several processes: the steps of one, the same weights everywhere, and an end for all."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np
import pytest
import torch
from torch import distributed
from torch.distributed import TCPStore

FOLDER = Path(__file__).parent
sys.path.insert(0, str(FOLDER))  # the processes that these tests start import this module and the next

from test_loop import CONFIG, RECIPE, found, new_trainer, weights  # noqa: E402

from index.errors import InputError, PeerError  # noqa: E402
from retrieval.model.config import ModelConfig  # noqa: E402
from retrieval.text.vocabulary import ragged  # noqa: E402
from retrieval.training import distributed as module  # noqa: E402
from retrieval.training.distillation import TeacherVectors  # noqa: E402
from retrieval.training.distributed import ALONE, Ranks, joined_ranks  # noqa: E402
from retrieval.training.loop import Trainer  # noqa: E402

pytestmark = pytest.mark.skipif(
    not (hasattr(os, "fork") and distributed.is_available()), reason="needs fork and torch.distributed"
)

CONFIGS = {
    "lstm none": CONFIG,
    "lstm table": CONFIG._replace(tie="table"),
    "cnn all": ModelConfig("cnn", 8, 8, 8, "max", tie="all"),
}


RunRanks = Callable[..., list["Ended"]]


class Ended(NamedTuple):
    """How a process ended."""

    status: int  # its exit status, or minus the signal that ended it
    output: str  # what it wrote to standard output and standard error


def take_step(trainer: Trainer) -> None:
    """Take one step with five pairs."""
    for given in trainer._inputs([np.arange(5)]):
        trainer._train_step(given, 0.1)


def fork_ranks() -> None:
    """Read calls of functions of this module; run each in processes that are started as torchrun does it.

    The processes are forks of this one, so that torch is imported and kernels are compiled once.
    """
    take_step(trainer_of(Path("unused"), "lstm none", ALONE))
    for line in sys.stdin:
        size, function, arguments, folder = json.loads(line)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            common = {"MASTER_PORT": str(free.getsockname()[1]), "WORLD_SIZE": str(size)}
        children = []
        for rank in range(size):
            child = os.fork()
            if child == 0:
                os.environ.update(common | {"MASTER_ADDR": "127.0.0.1", "RANK": str(rank)})
                output = os.open(f"{folder}/output {rank}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
                os.dup2(output, 1)
                os.dup2(output, 2)
                run_forked(function, arguments)
            children.append(child)
        statuses = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        sys.stdout.write(json.dumps(statuses) + "\n")
        sys.stdout.flush()


def run_forked(function: str, arguments: list[object]) -> NoReturn:
    """Run a function of this module and end the process."""
    status = 1
    try:
        globals()[function](*arguments)
        status = 0
    except SystemExit as error:
        status = int(error.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunRanks]:
    """Runs a function of this module in several processes and says how each ended."""
    folder = tmp_path_factory.mktemp("outputs")
    process = subprocess.Popen(
        [sys.executable, "-c", "import test_distributed as t; t.fork_ranks()"],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(FOLDER), *sys.path])},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None

        def run(size: int, function: str, *arguments: object) -> list[Ended]:
            process.stdin.write(json.dumps([size, function, arguments, str(folder)]) + "\n")
            process.stdin.flush()
            statuses = json.loads(process.stdout.readline())
            return [Ended(s, (folder / f"output {rank}").read_text()) for rank, s in enumerate(statuses)]

        yield run
        process.stdin.close()


def well(processes: list[Ended]) -> list[str]:
    """What each process printed, all of which ended well."""
    assert [process.status for process in processes] == [0] * len(processes), processes
    return [process.output for process in processes]


def trainer_of(folder: Path, name: str, ranks: Ranks, **changed: object):
    """A training with a teacher, given negatives and batches that leave ranks unequal shares, or none."""
    trainer = new_trainer(folder, CONFIGS[name], replace(RECIPE, batch=5, clip=0.5, **changed))
    trainer.ranks = ranks
    negatives = ragged([[7], [], [5, 6], [], [], [0], [], []])
    trainer.data = replace(trainer.data, negatives=negatives, grades=np.arange(1, 9, dtype=np.float32))
    vectors = np.random.default_rng(0).normal(size=(2, 8, 4)).astype(np.float32)
    trainer.teacher = TeacherVectors(*(vectors / np.linalg.norm(vectors, axis=2, keepdims=True)))
    return trainer


def trained(folder: Path, name: str, ranks: Ranks = ALONE):
    trainer = trainer_of(folder, name, ranks)
    steps: list[float] = []
    trainer.follow_first()
    trainer.train(found, lambda step: steps.append(step.loss))
    return trainer, steps


def train_all(folder: str) -> None:
    """Train every configuration and leave the outcome of each rank."""
    with joined_ranks() as ranks:
        for name in CONFIGS:
            trainer, steps = trained(Path(folder), name, ranks)
            state = trainer.state
            facts = {"steps": steps, "history": state.history, "curve": state.curve}
            place = Path(folder) / f"{name} {ranks.rank} of {ranks.size}"
            np.savez(place.with_suffix(".npz"), **weights(trainer))
            place.with_suffix(".json").write_text(json.dumps(facts))


def test_several_processes_take_the_steps_of_one(tmp_path: Path, ranks: RunRanks) -> None:
    size = 4  # the second batch of an epoch has three pairs
    well(ranks(size, "train_all", str(tmp_path)))
    for name in CONFIGS:
        alone, steps = trained(tmp_path, name)
        paths = [tmp_path / f"{name} {rank} of {size}" for rank in range(size)]
        facts = [json.loads(path.with_suffix(".json").read_text()) for path in paths]
        assert len(facts[0]["steps"]) == len(steps) == 8
        np.testing.assert_allclose(facts[0]["steps"], steps, rtol=1e-4)
        np.testing.assert_allclose(facts[0]["curve"], alone.state.curve, rtol=1e-3, atol=1e-5)
        arrays = [dict(np.load(path.with_suffix(".npz"), allow_pickle=False)) for path in paths]
        for parameter, expected in weights(alone).items():
            np.testing.assert_allclose(arrays[0][parameter], expected, atol=2e-3, err_msg=parameter)
        for other, told in zip(arrays[1:], facts[1:], strict=True):
            assert told == facts[0]
            for parameter, values in arrays[0].items():
                np.testing.assert_array_equal(other[parameter], values, err_msg=parameter)


def compare_gradients() -> None:
    """Compare the gradients of the first step with those of one process."""
    with joined_ranks() as ranks:
        trainers = [trainer_of(Path("unused"), "lstm table", one, dropout=0.3) for one in (ALONE, ranks)]
        for trainer in trainers:
            # No step, so that what is left are the gradients.
            trainer.optimiser.step = lambda: None  # type: ignore[method-assign]
            take_step(trainer)
        alone, shared = (dict(trainer.model.named_parameters()) for trainer in trainers)
        for name, parameter in shared.items():
            torch.testing.assert_close(parameter.grad, alone[name].grad, rtol=1e-4, atol=1e-6, msg=name)
            assert parameter.grad.abs().max() > 0
        sys.stdout.write("equal")


def test_gradients_are_those_of_the_whole_batch(ranks: RunRanks) -> None:
    assert well(ranks(3, "compare_gradients")) == ["equal"] * 3


def train_until(folder: str, steps: int | None, stopping: int) -> None:
    """Train, resumed if there is a checkpoint; the rank `stopping` asks for a stop after so many steps."""
    with joined_ranks() as ranks:
        trainer = trainer_of(Path(folder), "lstm none", ranks)
        if ranks.is_first and trainer.checkpoint.exists():
            trainer.resume()
        trainer.follow_first()
        done: list[object] = []
        stop = (lambda: len(done) == steps) if ranks.rank == stopping else (lambda: False)
        try:
            trainer.train(found, done.append, stop, checkpoint_seconds=0)
        except KeyboardInterrupt:
            assert len(done) == steps
            return
        np.savez(Path(folder) / f"{ranks.rank}.npz", **weights(trainer))
        (Path(folder) / "history.json").write_text(json.dumps(trainer.state.history))


def assert_same_outcome(first: Path, second: Path) -> None:
    assert (first / "history.json").read_text() == (second / "history.json").read_text()
    for rank in (0, 1):
        one, other = (np.load(folder / f"{rank}.npz", allow_pickle=False) for folder in (first, second))
        for name in one.files:
            np.testing.assert_array_equal(one[name], other[name], err_msg=name)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, ranks: RunRanks) -> Path:
    """The outcome of two processes that were not interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    well(ranks(2, "train_until", str(folder), None, 0))
    return folder


@pytest.mark.parametrize("stopping", [0, 1])
def test_a_stop_of_one_stops_all_and_resumed_they_end_the_same(
    tmp_path: Path, whole: Path, ranks: RunRanks, stopping: int
) -> None:
    well(ranks(2, "train_until", str(tmp_path), 3, stopping))
    assert not (tmp_path / "0.npz").exists()
    well(ranks(2, "train_until", str(tmp_path), None, 0))
    assert_same_outcome(tmp_path, whole)


def train_and_die(folder: str, dying: int, after: int) -> None:
    """Train; one rank kills itself, and the others say how they ended."""
    with joined_ranks() as ranks:
        trainer = trainer_of(Path(folder), "lstm none", ranks)
        trainer.follow_first()
        done: list[object] = []

        def step(report: object) -> None:
            done.append(report)
            if ranks.rank == dying and len(done) == after:
                os.kill(os.getpid(), signal.SIGKILL)

        try:
            trainer.train(found, step, checkpoint_seconds=0)
        except PeerError as error:
            sys.stdout.write(str(error))


@pytest.mark.parametrize("dying", [0, 1])
def test_when_one_is_killed_the_others_end_with_one_line_and_resumed_all_end_the_same(
    tmp_path: Path, whole: Path, ranks: RunRanks, dying: int
) -> None:
    processes = ranks(2, "train_and_die", str(tmp_path), dying, 4)
    assert processes[dying].status == -signal.SIGKILL
    said = processes[1 - dying].output
    assert said.startswith("another process of this training has ended or cannot be reached (")
    assert said.endswith("; see what it said, and start all again with --resume")
    assert "\n" not in said
    well(ranks(2, "train_until", str(tmp_path), None, 0))
    assert_same_outcome(tmp_path, whole)


def begin_with_other_settings() -> None:
    """Begin with settings that differ between the ranks, and say how that ends."""
    try:
        with joined_ranks() as ranks:
            ranks.check_same(f"settings of {ranks.rank}".encode())
            ranks.any(True)
    except (InputError, PeerError) as error:
        sys.stdout.write(f"{type(error).__name__}: {error}")


def test_processes_with_other_settings_are_refused(ranks: RunRanks) -> None:
    first, second = well(ranks(2, "begin_with_other_settings"))
    assert first.startswith("PeerError")
    assert second == "InputError: process 1 has other settings than process 0; give the same command to all"


@pytest.mark.parametrize(("total", "size"), [(512, 2), (7, 3), (2, 4), (0, 2)])
def test_shares_are_disjoint_and_hold_all_rows(total: int, size: int) -> None:
    shares = [np.arange(total)[Ranks(rank, size).share(total)] for rank in range(size)]
    assert np.concatenate(shares).tolist() == list(range(total))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_half_of_what_torchrun_sets_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with (
        pytest.raises(InputError, match=r"WORLD_SIZE is set as torchrun does, but .*RANK.* torchrun$"),
        joined_ranks(),
    ):
        pass


@pytest.mark.parametrize("taken", [False, True])
def test_processes_that_do_not_come_and_a_port_that_is_taken_are_told(
    monkeypatch: pytest.MonkeyPatch, taken: bool
) -> None:
    monkeypatch.setattr(module, "_JOINED_WITHIN", timedelta(seconds=1))
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        if taken:
            other.listen()
        else:
            other.close()
        addresses = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        for name, value in ({"RANK": "0", "WORLD_SIZE": "2"} | addresses).items():
            monkeypatch.setenv(name, value)
        with pytest.raises(PeerError) as caught, joined_ranks():
            pass
    reason = "The server socket has failed to listen" if taken else "Timed out after "
    assert str(caught.value).startswith(
        f"the 2 processes of this training did not meet at 127.0.0.1:{port} ({reason}"
    )
    assert str(caught.value).endswith("and that its port is free")


def test_a_process_that_came_and_connects_to_no_other_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_JOINED_WITHIN", timedelta(seconds=5))
    monkeypatch.setattr(module, "_TIMEOUT", timedelta(seconds=200))
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
    for name, value in {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("RANK", "0")
    with ThreadPoolExecutor(1) as pool:
        silent = pool.submit(TCPStore, "127.0.0.1", port, 2, False, timedelta(seconds=60))
        with (
            pytest.raises(PeerError, match=f"did not meet at 127.0.0.1:{port} .*after 5000ms"),
            joined_ranks(),
        ):
            pass
        assert silent.result() is not None  # it came


def test_a_process_alone_exchanges_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with joined_ranks() as ranks:
        assert (ranks, distributed.is_initialized()) == (ALONE, False)
        rows = torch.ones(2, 3)
        assert ranks.gather(rows, 2) is rows
        assert ranks.from_first(b"told") == b"told"
        assert (ranks.any(True), ranks.any(False)) == (True, False)


def run_command(*arguments: str) -> None:
    """Run the command line."""
    from cli import main

    sys.argv = ["peephole", *arguments]
    main()


def run_command_without_data(*arguments: str) -> None:
    """Run the command line with data that only the first process finds."""
    run_command(*(arguments if os.environ["RANK"] == "0" else map(_elsewhere, arguments)))


def _elsewhere(argument: str) -> str:
    return f"{argument}-missing" if argument.endswith("data") else argument


def test_one_process_reads_the_data_for_all(made, tmp_path: Path, ranks: RunRanks) -> None:
    arguments = ["train", str(made.data), "--epochs", "2", "--batch", "6", "--json", "-o"]
    well(ranks(2, "run_command_without_data", *arguments, str(tmp_path / "apart")))
    well(ranks(2, "run_command", *arguments, str(tmp_path / "model")))
    for name in ("weights.safetensors", "vocabulary.json"):
        assert (tmp_path / "apart" / name).read_bytes() == (tmp_path / "model" / name).read_bytes()


def test_the_command_prints_once_and_writes_one_model(made, tmp_path: Path, ranks: RunRanks) -> None:
    model = tmp_path / "model"
    arguments = ["train", str(made.data), "-o", str(model), "--epochs", "4", "--batch", "6", "--json"]
    first, second = well(ranks(2, "run_command", *arguments))
    assert json.loads(first)["dev"]
    assert second == ""
    assert json.loads((model / "training.json").read_text())["recipe"]["batch"] == 6
    assert not list(model.glob(".check*"))


def test_a_failure_of_all_is_told_by_each_in_one_line(made, tmp_path: Path, ranks: RunRanks) -> None:
    arguments = ["train", str(made.data), "-o", str(tmp_path), "--init", str(tmp_path / "missing")]
    told = f"Error: {tmp_path}/missing: not a model folder (no config.json); `peephole train` makes one\n"
    for process in ranks(2, "run_command", *arguments):
        assert process.status == 1
        assert process.output.endswith(told)
        assert process.output.count("Error") == 1
