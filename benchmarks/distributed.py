"""Training in several processes beside training in one: the same losses, and how much sooner.

    python -m benchmarks.distributed DATA [--epochs 2] [--processes 2] [--repeats 3]

DATA: a data set with a training split. One process and several train in turn, REPEATS times each, with the
recipe's settings but for the epochs, one thread a process, and without dev, which one process scores alone.
Times are those of the steps after the first ten; on a machine that others use too only their ratio means
anything, and the load is recorded. The ratio of the processor's seconds that a process takes for a step is
an upper bound of the speed-up: what it would be if no process waited for a core or for another.

The losses of all steps are compared: in float32, as trained; and in float64, where rounding errors stay too
small to see. For comparison with the first, one process is also run with one and with two threads, which
differ in nothing but the order of sums, too.
Prints a table and writes benchmarks/results/distributed.json.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import distributed

from benchmarks.common import RESULTS, ROOT, command_of, parser_of, write_result
from retrieval.evaluation.provenance import provenance
from retrieval.model.config import preset
from retrieval.training.distributed import joined_ranks
from retrieval.training.examples.dataset import read_training_data
from retrieval.training.examples.numbering import vocabulary_and_training_set
from retrieval.training.loop import Trainer
from retrieval.training.machine import fast_training
from retrieval.training.recipe import Recipe
from retrieval.training.start import initial_model

WARM_STEPS = 10


class Exchanges:
    """Counts the bytes and the seconds of all sums over the processes."""

    def __init__(self) -> None:
        self.bytes = 0
        self.seconds = 0.0
        self._all_reduce = distributed.all_reduce
        distributed.all_reduce = self

    def __call__(self, tensor: torch.Tensor) -> None:
        start = time.perf_counter()
        self._all_reduce(tensor)
        self.seconds += time.perf_counter() - start
        self.bytes += tensor.numel() * tensor.element_size()


def train(data: Path, epochs: int, output: Path, double: bool) -> None:
    """Train as one of the processes; the first leaves its weights and what it measured."""
    exchanges = Exchanges()
    if double:
        torch.set_default_dtype(torch.float64)
    with joined_ranks() as ranks, nullcontext() if double else fast_training():
        config, recipe = preset("lstm"), replace(Recipe(), epochs=epochs)
        vocabulary, training = vocabulary_and_training_set(read_training_data(data), config)
        torch.manual_seed(recipe.seed)
        model = initial_model(config, vocabulary, training)
        trainer = Trainer(model, training, recipe, output / "checkpoint", "benchmark", ranks=ranks)
        trainer.follow_first()
        losses: list[float] = []
        times: list[tuple[float, float, float, int]] = []

        def step(report: Any) -> None:
            losses.append(report.loss)
            times.append((time.perf_counter(), time.process_time(), exchanges.seconds, exchanges.bytes))

        trainer.train(None, step, checkpoint_seconds=1e9)
        if ranks.is_first:
            elapsed, busy, exchanging, sent = np.subtract(times[-1], times[WARM_STEPS - 1]).tolist()
            steps = len(times) - WARM_STEPS
            np.savez(output / "weights.npz", **{n: t.numpy() for n, t in model.state_dict().items()})
            facts = {
                "losses": losses,
                "step_s": elapsed / steps,
                "processor_s": busy / steps,
                "exchange_s": exchanging / steps,
                "exchange_bytes": sent / steps,
                "table_bytes": sum(p.numel() * 4 for p in model.parameters()),
            }
            (output / "facts.json").write_text(json.dumps(facts))


def run_training(
    data: Path, epochs: int, processes: int, output: Path, threads: int = 1, double: bool = False
) -> dict[str, Any]:
    """What the first of so many processes measured, and its weights."""
    output.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(processes)}
    command = [sys.executable, "-m", "benchmarks.distributed", "--train", data, output, "--epochs", epochs]
    command += ["--double"] if double else []
    running = [
        subprocess.Popen(
            list(map(str, command)),
            cwd=ROOT,
            env=os.environ | common | {"RANK": str(rank), "OMP_NUM_THREADS": str(threads)},
        )
        for rank in range(processes)
    ]
    assert [one.wait() for one in running] == [0] * processes
    with np.load(output / "weights.npz", allow_pickle=False) as weights:
        return json.loads((output / "facts.json").read_text()) | {"weights": dict(weights)}


def compare_all(
    data: Path, processes: int, one: dict[str, Any], several: dict[str, Any], work: Path
) -> dict[str, Any]:
    """Differences as trained, in float64 over an epoch, and between two numbers of threads."""
    exact = [run_training(data, 1, count, work / f"double-{count}", double=True) for count in (1, processes)]
    epochs = len(one["losses"]) // len(exact[0]["losses"])
    threads = run_training(data, epochs, 1, work / "threads", threads=2)
    return {
        "float64": compare(*exact),
        "float32": compare(one, several),
        "float32_one_process_two_threads": compare(one, threads),
    }


def compare(one: dict[str, Any], several: dict[str, Any]) -> dict[str, float]:
    """The largest differences between two trainings."""
    first, second = np.array(one["losses"]), np.array(several["losses"])
    pairs = [(one["weights"][name], several["weights"][name]) for name in one["weights"]]
    length = sum(float((a**2).sum()) for a, _ in pairs) ** 0.5
    apart = sum(float(((a - b) ** 2).sum()) for a, b in pairs) ** 0.5
    return {
        "loss_relative_first_10_steps": float((np.abs(first - second) / first)[:10].max()),
        "loss_relative": float((np.abs(first - second) / first).max()),
        "weights_relative": apart / length,
    }


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("paths", type=Path, nargs="+", metavar="DATA")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--train", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--double", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.train:
        train(options.paths[0], options.epochs, options.paths[1], options.double)
        return
    (data,) = (path.resolve() for path in options.paths)
    loads = [os.getloadavg()[0]]
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        runs = []
        for repeat in range(options.repeats):
            counts = (1, options.processes) if repeat % 2 == 0 else (options.processes, 1)
            by_count = {
                count: run_training(data, options.epochs, count, work / f"{repeat}-{count}")
                for count in counts
            }
            runs.append((by_count[1], by_count[options.processes]))
            loads.append(os.getloadavg()[0])
        one, several = runs[0]
        differences = compare_all(data, options.processes, one, several, work)
    facts = {
        "processes": options.processes,
        "steps": len(one["losses"]),
        "batch": Recipe().batch,
        "differences": differences,
        "repeated_is_the_same": all(run[0]["losses"] == one["losses"] for run in runs)
        and all(run[1]["losses"] == several["losses"] for run in runs),
        "ratio_of_seconds_a_step": [round(a["step_s"] / b["step_s"], 2) for a, b in runs],
        "speed_up": round(statistics.median(a["step_s"] / b["step_s"] for a, b in runs), 2),
        "ratio_of_processor_seconds_a_step": round(
            statistics.median(a["processor_s"] / b["processor_s"] for a, b in runs), 2
        ),
        "share_of_exchange_and_waiting": round(
            statistics.median(b["exchange_s"] / b["step_s"] for _, b in runs), 2
        ),
        "exchanged_mb_a_step": round(several["exchange_bytes"] / 1e6, 2),
        "parameters_mb": round(several["table_bytes"] / 1e6, 2),
        "load_averages": [round(load, 1) for load in loads],
    }
    write_result(RESULTS / "distributed.json", {**provenance(command_of("benchmarks.distributed")), **facts})
    for name, value in facts.items():
        print(f"{name:30} {value}")


if __name__ == "__main__":
    main()
