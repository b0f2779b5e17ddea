"""The members of a training: models that differ in their first weights, trained side by side.

In: what a training starts from. Out: the trained members, which `retrieval.training.merging` makes one model
of. One training keeps two cores busy for two thirds of the time. Members that train side by side, each on its
own core, keep them busy all the time. So two members take a third longer than one (benchmarks/NOTES.md).

Each member has its own checkpoint, and keeps it when it is done until all are.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch

from index.cores import cores
from index.values import Progress
from retrieval.model.config import ModelConfig
from retrieval.towers.two_tower import TwoTower
from retrieval.training.distributed import Ranks
from retrieval.training.examples.numbered import Numbered
from retrieval.training.loop import StepReport, Trainer
from retrieval.training.merging import can_merge
from retrieval.training.output import checkpoint_of
from retrieval.training.recipe import Recipe
from retrieval.training.start import initial_model


class Members(NamedTuple):
    """The trainings of all members. Reports show the first one."""

    trainers: list[Trainer]
    seconds: float  # that it took to train them

    @property
    def first(self) -> Trainer:
        """The first one."""
        return self.trainers[0]

    def models(self) -> list[TwoTower]:
        """The trained models."""
        return [trainer.model for trainer in self.trainers]


def train_members(
    start: TwoTower | None,
    config: ModelConfig,
    recipe: Recipe,
    numbered: Numbered,
    output: Path,
    resume: bool,
    ranks: Ranks,
    dev_score: Callable[[TwoTower], float] | None,
    chooses: bool,
    progress: Progress,
    on_step: Callable[[StepReport], None] | None,
    stop: Callable[[], bool],
) -> Members:
    """Train as many members as the recipe says, or a single one if it has a start or cannot be merged.

    start: the model to start from, if there is one.
    config: the configuration of the members.
    recipe: how to train each.
    numbered: the data.
    output: the folder of the checkpoints.
    resume: go on from those that are there.
    ranks: the processes that train together. They take the members one after another, for all have to
        exchange the same tensors at the same time.
    dev_score, chooses: as for `Trainer.train`.
    progress: called after each step, of the first member if they go side by side.
    on_step: called after each step of any member, in place of `progress`.
    stop: as for `Trainer.train`; all members stop.
    Raises what `Trainer.train` and `Trainer.resume` raise.
    """
    count = recipe.members if start is None and can_merge(config) else 1
    trainers = []
    for member in range(count):
        seed = recipe.seed * count + member
        torch.manual_seed(seed)
        model = start or initial_model(config, numbered.vocabulary, numbered.data)
        trainer = Trainer(
            *(model, numbered.data, replace(recipe, seed=seed), checkpoint_of(output, member)),
            *(numbered.fingerprint, numbered.teacher, ranks),
            trained_before=start is not None,
        )
        if ranks.is_first and resume and trainer.checkpoint.exists():
            trainer.resume()
        trainer.follow_first()
        trainers.append(trainer)

    def train(member: int, report: Callable[[StepReport], None], stop: Callable[[], bool]) -> None:
        trainers[member].train(dev_score, on_step or report, stop, chooses=chooses)

    if count == 1 or ranks.size > 1:
        for member in range(count):
            train(
                member,
                _reporting_to(progress, f" of member {member + 1} of {count}" if count > 1 else ""),
                stop,
            )
        return Members(trainers, sum(trainer.state.seconds for trainer in trainers))
    reports = [_reporting_to(progress, ""), *[_silent] * (count - 1)]
    _side_by_side([partial(train, member, report) for member, report in enumerate(reports)], stop)
    return Members(trainers, max(trainer.state.seconds for trainer in trainers))


def _side_by_side(
    trainings: Sequence[Callable[[Callable[[], bool]], None]], stop: Callable[[], bool]
) -> None:
    """Run each training in a thread. When one fails or is stopped, the others stop after their step.

    trainings: each is called with what tells it to stop.
    stop: tells all to stop.
    Raises what one of them raised, KeyboardInterrupt only if that is all.
    """
    ended = threading.Event()

    def run(training: Callable[[Callable[[], bool]], None]) -> None:
        try:
            training(lambda: ended.is_set() or stop())
        except BaseException:
            ended.set()
            raise

    before = torch.get_num_threads()
    own = (max(1, cores() // len(trainings)),)
    try:
        with ThreadPoolExecutor(len(trainings), initializer=torch.set_num_threads, initargs=own) as threads:
            running = [threads.submit(run, training) for training in trainings]
            wait(running)
    finally:
        torch.set_num_threads(before)  # of threads that start from now on
    errors = [error for each in running if (error := each.exception()) is not None]
    if errors:  # of the cause; members that were told to stop end with KeyboardInterrupt
        raise min(errors, key=lambda error: isinstance(error, KeyboardInterrupt))


def _reporting_to(progress: Progress, member: str) -> Callable[[StepReport], None]:
    """Report each step as progress of the whole training, with a note of its epoch."""

    def report(step: StepReport) -> None:
        dev = "" if step.dev is None else f", dev {step.dev:.3f}"
        stage = f"steps{member}, epoch {step.epoch + 1} of {step.epochs}{dev}"
        progress(stage, step.epoch * step.steps + step.step, step.epochs * step.steps)

    return report


def _silent(step: StepReport) -> None:
    """Report nothing: another member stands for this one."""
