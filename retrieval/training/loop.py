"""The training loop: batches through both towers, the loss, the step, dev after each epoch, the best weights
kept.

In: a TwoTower, a TrainingSet, a function that scores the model on dev. Out: the model at its best epoch, and
the history. Everything random is drawn from (seed, epoch) or (seed, step), and a checkpoint is taken between
two steps: a run that is killed and resumed takes the same steps as one that was not, to the last bit on one
machine and thread count.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from index.errors import InputError
from retrieval.towers.bodies import text_batch
from retrieval.towers.two_tower import TwoTower
from retrieval.training.batches import FULL_EPOCH, Rows, TrainingSet, batch, cut, draw, plan
from retrieval.training.checkpoint import read_checkpoint, write_checkpoint
from retrieval.training.curve import Point, add
from retrieval.training.loss import hardness, likeness_loss, softmax_loss

# What a teacher has to say in any case, as a share of the recipe's `teaching`.
LEAST_TAUGHT = 0.05


@dataclass(frozen=True)
class Recipe:
    """How to train. The defaults are the measured ones, see benchmarks/NOTES.md.

    batch: pairs a step. learning_rate: Adam's, at its peak; it rises over `warmup` steps, or a tenth of
        the run if that is shorter, and falls linearly to `floor` of it.
    body: the body's learning rate as a multiple of the word rows', where it weighs them. teaching: weight of
        the likeness to a teacher in the loss, if there is one; less with many pairs.
    dropout: share of word row entries dropped. clip: largest gradient norm. patience: epochs without a better
        dev before stopping.
    """

    epochs: int = 12
    batch: int = 512
    learning_rate: float = 3e-3
    warmup: int = 50
    floor: float = 0.02
    body: float = 3.0
    teaching: float = 100.0
    dropout: float = 0.2
    clip: float = 5.0
    patience: int = 6
    seed: int = 0


class Taught(NamedTuple):
    """A teacher's vectors of a training set's queries, spans included, and documents, rows of unit length."""

    queries: Tensor
    documents: Tensor


@dataclass(frozen=True)
class Step:
    """Where training stands, for whoever shows progress. dev: the last dev measure, None before the first."""

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    dev: float | None


@dataclass
class Progress:
    """The resumable state besides tensors. epoch and step are those to take next; history has one entry an
    epoch.
    """

    epoch: int = 0
    step: int = 0
    total_steps: int = 0
    losses: list[float] = field(default_factory=list)
    curve: list[Point] = field(default_factory=list)
    history: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = -1
    seconds: float = 0.0


Score = Callable[[TwoTower], float]
Report = Callable[[Step], None]


class Run:
    """One training run: model, optimiser, progress, best weights, and their checkpoint."""

    def __init__(
        self,
        model: TwoTower,
        data: TrainingSet,
        recipe: Recipe,
        checkpoint: Path,
        fingerprint: str,
        taught: Taught | None = None,
    ) -> None:
        self.model = model
        self.data = data
        self.taught = taught
        self.recipe = recipe
        self.checkpoint = checkpoint
        self.fingerprint = fingerprint
        self.optimiser = torch.optim.Adam(_groups(model, recipe), betas=(0.9, 0.98), fused=True)
        self.progress = Progress()
        self.best: dict[str, Tensor] = {}

    def resume(self) -> None:
        """Take up the checkpoint. Raises InputError if it belongs to other data or settings, CorruptError if
        it is damaged.
        """
        tensors, state = read_checkpoint(self.checkpoint)
        if state.pop("fingerprint", None) != self.fingerprint:
            raise InputError(
                "begun with other data or settings; repeat those, or train without --resume",
                path=self.checkpoint,
            )
        self.progress = Progress(**state)
        self.progress.curve = [Point(*point) for point in self.progress.curve]
        self.model.load_state_dict(_part(tensors, "model."))
        self.best = _part(tensors, "best.")
        for name, parameter in self.model.named_parameters():
            self.optimiser.state[parameter] = _part(tensors, f"adam.{name}/")

    def save(self) -> None:
        """Write the checkpoint."""
        tensors = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        tensors |= {f"best.{name}": tensor for name, tensor in self.best.items()}
        for name, parameter in self.model.named_parameters():
            for key, value in self.optimiser.state[parameter].items():
                tensors[f"adam.{name}/{key}"] = value
        write_checkpoint(self.checkpoint, tensors, asdict(self.progress) | {"fingerprint": self.fingerprint})

    def learn(
        self,
        score: Score | None,
        report: Report | None = None,
        stop: Callable[[], bool] = lambda: False,
        checkpoint_seconds: float = 60.0,
    ) -> None:
        """Train to the end, and leave the model with the weights of its best epoch (of its last, without a
        `score`).

        stop: asked after each step; if it says so, the checkpoint is saved and KeyboardInterrupt raised. (An
        interrupt raised by the signal itself could fall into the middle of an optimiser's step, which no
        checkpoint may hold.)
        """
        clock = _Clock(self.progress, checkpoint_seconds)
        while self.progress.epoch < self.recipe.epochs and not self._is_stale():
            self._epoch(clock, report, stop)
            self._finish_epoch(score)
            clock.tick()
            self.save()
        if self.best:
            self.model.load_state_dict(self.best)

    def _is_stale(self) -> bool:
        return bool(self.best) and self.progress.epoch - 1 - self.progress.best_epoch >= self.recipe.patience

    def _epoch(self, clock: _Clock, report: Report | None, stop: Callable[[], bool]) -> None:
        progress, recipe = self.progress, self.recipe
        planned = self._plan()
        dev = progress.history[-1].get("dev") if progress.history else None
        while progress.step < len(planned):
            rate = self._rate(len(planned))
            taken = self._step(planned[progress.step], rate)
            add(progress.curve, taken)
            progress.losses.append(taken.loss)
            progress.step += 1
            progress.total_steps += 1
            if report is not None:
                report(Step(progress.epoch, recipe.epochs, progress.step, len(planned), taken.loss, dev))
            due, stopped = clock.tick(), stop()
            if due or stopped:
                self.save()
            if stopped:
                raise KeyboardInterrupt

    def _plan(self) -> list[Rows]:
        """The batches of this epoch: those of given pairs and those of spans, in random order."""
        data, size = self.data, self.recipe.batch
        rng = np.random.default_rng((self.recipe.seed, self.progress.epoch))
        planned = plan(data, size, rng) + plan(data, size, rng, draw(data, rng))
        return [planned[number] for number in rng.permutation(len(planned))]

    def _rate(self, steps: int) -> float:
        """The learning rate of the next step, with `steps` in this epoch."""
        recipe, progress = self.recipe, self.progress
        done = (progress.epoch + progress.step / steps) / recipe.epochs
        warmup = min(recipe.warmup, recipe.epochs * steps // 10)
        rising = min(1.0, (progress.total_steps + 1) / max(1, warmup))
        return recipe.learning_rate * rising * max(recipe.floor, 1 - done)

    def _step(self, chosen: np.ndarray[Any, Any], rate: float) -> Point:
        # Dropout draws from torch's generator: seeded by the step, it repeats after a resume.
        torch.manual_seed((self.recipe.seed << 32) + self.progress.total_steps)
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group["share"]
        pairs = batch(self.data, chosen)
        data, dropout = self.data, self.recipe.dropout
        queries: Tensor = self.model.tower("query")(
            text_batch(data.queries.take(pairs.queries), data.features), dropout
        )
        documents = self.model.tower("document")(
            text_batch(cut(data.documents.take(pairs.documents), pairs.cuts), data.features), dropout
        )
        known, weights = torch.from_numpy(pairs.known), torch.from_numpy(pairs.weights)
        loss = softmax_loss(queries, documents, self.model.config.gamma, known, weights)
        if self.taught is not None:
            theirs = torch.cat((self.taught.queries[pairs.queries], self.taught.documents[pairs.documents]))
            loss = loss + self._teaching() * likeness_loss(torch.cat((queries, documents)), theirs)
        if not torch.isfinite(loss):
            raise InputError("the loss is no longer finite; train again with a lower learning rate")
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip)
        self.optimiser.step()
        hard = hardness(queries, documents, self.model.config.gamma, known)
        return Point(1, float(loss.detach()), rate, *hard)

    def _teaching(self) -> float:
        """The weight of the teacher: the more pairs are given, the less it has to say."""
        return self.recipe.teaching * max(LEAST_TAUGHT, 1 - self.data.given / FULL_EPOCH)

    def _finish_epoch(self, score: Score | None) -> None:
        progress = self.progress
        loss = float(np.mean(progress.losses)) if progress.losses else 0.0
        entry = {"epoch": float(progress.epoch), "steps": float(progress.total_steps), "loss": loss}
        if score is not None:
            entry["dev"] = score(self.model)
            best = progress.history[progress.best_epoch]["dev"] if self.best else -1.0
            if entry["dev"] > best:
                progress.best_epoch = progress.epoch
                self.best = {name: tensor.clone() for name, tensor in self.model.state_dict().items()}
        else:
            progress.best_epoch = progress.epoch
        progress.history.append(entry)
        progress.epoch += 1
        progress.step = 0
        progress.losses = []


def _groups(model: TwoTower, recipe: Recipe) -> list[dict[str, Any]]:
    """The word rows, and the rest with a learning rate of its own."""
    named = list(model.named_parameters())
    rows = [parameter for name, parameter in named if name.endswith(".table")]
    body = [parameter for name, parameter in named if not name.endswith(".table")]
    rates = [(rows, 1.0), (body, recipe.body if model.config.pooling == "attention" else 1.0)]
    return [
        {"params": some, "share": share, "lr": recipe.learning_rate * share} for some, share in rates if some
    ]


class _Clock:
    """Adds the time since the last tick to the run's seconds, and says when a checkpoint is due."""

    def __init__(self, progress: Progress, interval: float) -> None:
        self._progress = progress
        self._interval = interval
        self._last = self._saved = time.monotonic()

    def tick(self) -> bool:
        now = time.monotonic()
        self._progress.seconds += now - self._last
        self._last = now
        due = now - self._saved >= self._interval
        if due:
            self._saved = now
        return due


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
