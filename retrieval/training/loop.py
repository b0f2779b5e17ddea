"""The training loop: epochs of steps, the dev score after each epoch, early stopping, checkpoints.

In: a TwoTower, a TrainingSet, and a function that scores the model on dev. Out: the model with the weights
of its best epoch, and the history. Everything random is drawn from (seed, epoch) or (seed, step), and
checkpoints are written between two steps. So a training that is killed and resumed takes the same steps as
one that is not, to the last bit on one machine and thread count. Knows nothing of data folders.

Several processes take every step together. Each encodes its share of the batch, all embeddings are gathered,
each computes its part of the loss, and the gradients are summed: those of one process with the whole batch,
to rounding. The first rank alone writes checkpoints and scores the model on dev.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from index.errors import InputError
from retrieval.model.config import Side
from retrieval.text.vocabulary import Ragged
from retrieval.towers.two_tower import TwoTower
from retrieval.training.checkpoint import read_checkpoint, write_checkpoint
from retrieval.training.contexts import CONTEXT_SHARE, rarely_trained, turn_to_contexts
from retrieval.training.curve import Point, add_point
from retrieval.training.distillation import TeacherVectors
from retrieval.training.distributed import ALONE, Ranks
from retrieval.training.examples.batches import Batch, draw_pseudo_queries, plan_batches
from retrieval.training.examples.positives import (
    candidate_passages,
    has_choice,
    with_nearest_positives,
    with_positives,
)
from retrieval.training.examples.step_inputs import StepInput, StepSeeds, made_ahead, step_input
from retrieval.training.examples.training_set import TrainingSet
from retrieval.training.long_forms import following_long_forms
from retrieval.training.loss import distillation_loss, hard_negative_statistics, softmax_loss
from retrieval.training.optimiser import adam
from retrieval.training.recipe import Recipe, epochs_of, teaching_of


@dataclass(frozen=True)
class StepReport:
    """Where training stands after a step."""

    epoch: int  # from 0
    epochs: int
    step: int  # of this epoch, from 1
    steps: int  # of this epoch
    loss: float
    dev: float | None  # the dev score of the last epoch, None before the first


@dataclass
class TrainingState:
    """The resumable state besides tensors. The names of the fields are keys of the checkpoint's JSON."""

    epoch: int = 0  # the one to train next
    step: int = 0  # the one to take next in this epoch
    total_steps: int = 0  # taken so far
    losses: list[float] = field(default_factory=list)  # of the steps of this epoch
    curve: list[Point] = field(default_factory=list)  # the learning curve over all steps
    history: list[dict[str, float]] = field(default_factory=list)  # epoch, steps, loss and dev of each epoch
    best_epoch: int = -1  # without dev the last one; -1 before the first
    seconds: float = 0.0  # of training, interruptions left out


class Trainer:
    """One training: model, optimiser, state, best weights, and their checkpoint."""

    def __init__(
        self,
        model: TwoTower,
        data: TrainingSet,
        recipe: Recipe,
        checkpoint: Path,
        fingerprint: str,
        teacher: TeacherVectors | None = None,
        ranks: Ranks = ALONE,
        *,
        trained_before: bool = False,
    ) -> None:
        """Begin a training; `resume` goes on with the one in the checkpoint.

        model: the model with its initial weights; trained in place.
        data: the texts and pairs.
        recipe: how to train.
        checkpoint: the file to write checkpoints to.
        fingerprint: a digest of data and settings; a checkpoint with another one is refused.
        teacher: vectors by rows of `data`, those of the pseudo-queries included.
        ranks: the processes that train together, all with the same model, data and recipe.
        trained_before: whether the model was trained before. Then its rare rows were already turned towards
            their contexts. Turning them in every training would make them all alike.
        """
        self.model = model
        self.data = data
        self.teacher = teacher
        self.recipe = recipe
        self.checkpoint = checkpoint
        self.fingerprint = fingerprint
        self.ranks = ranks
        self.epochs = epochs_of(recipe, data)
        self.trained_before = trained_before
        if not recipe.peepholes:
            for name, parameter in model.named_parameters():
                if name.endswith(".peepholes"):
                    nn.init.zeros_(parameter).requires_grad_(False)
        self._tables = [table for name, table in model.named_parameters() if name.endswith(".table")]
        self.optimiser = adam(model, recipe)
        self.state = TrainingState()
        self.best: dict[str, Tensor] = {}

    def resume(self) -> None:
        """Go on from the checkpoint.

        Raises InputError if it belongs to other data or settings, CorruptError if it is damaged.
        """
        tensors, state = read_checkpoint(self.checkpoint)
        if state.pop("fingerprint", None) != self.fingerprint:
            raise InputError(
                "begun with other data or settings; repeat those, or train without --resume",
                path=self.checkpoint,
            )
        self._restore(tensors, state)

    def follow_first(self) -> None:
        """Take over the weights and the state of the first rank."""
        if self.ranks.size == 1:
            return
        from safetensors.torch import load, save

        state = json.loads(self.ranks.from_first(json.dumps(asdict(self.state)).encode()))
        self._restore(load(self.ranks.from_first(save(self._tensors()))), state)

    def _restore(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        self.state = TrainingState(**state)
        self.state.curve = [Point(*point) for point in self.state.curve]
        self.model.load_state_dict(_with_prefix(tensors, "model."))
        self.best = _with_prefix(tensors, "best.")
        for name, parameter in self.model.named_parameters():
            self.optimiser.state[parameter] = _with_prefix(tensors, f"adam.{name}/")
        self.data = with_positives(self.data, tensors["positives"].numpy())

    def save(self) -> None:
        """Write the checkpoint, if this is the first rank. Raises StorageError."""
        if self.ranks.is_first:
            state = asdict(self.state) | {"fingerprint": self.fingerprint}
            write_checkpoint(self.checkpoint, self._tensors(), state)

    def _tensors(self) -> dict[str, Tensor]:
        """The resumable state that is tensors, by name."""
        tensors = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        tensors |= {f"best.{name}": tensor for name, tensor in self.best.items()}
        for name, parameter in self.model.named_parameters():
            for key, value in self.optimiser.state[parameter].items():
                tensors[f"adam.{name}/{key}"] = value
        return tensors | {"positives": torch.from_numpy(self._positives())}

    def _positives(self) -> NDArray[np.int64]:
        """The passages of the judged pairs, int64 (judged pairs,)."""
        return self.data.pairs[: self.data.judged_pairs, 1].copy()

    def train(
        self,
        dev_score: Callable[[TwoTower], float] | None,
        on_step: Callable[[StepReport], None] = lambda step: None,
        stop: Callable[[], bool] = lambda: False,
        checkpoint_seconds: float = 60.0,
        *,
        chooses: bool = True,
    ) -> None:
        """Train to the end, and leave the model with the weights of its best epoch.

        dev_score: the model's score on dev, higher is better; None if there is no dev.
        on_step: called after each step, before its checkpoint.
        stop: called after each step; True saves the checkpoint and raises KeyboardInterrupt. (A signal could
            interrupt a step half way, and no checkpoint may hold half a step.)
        checkpoint_seconds: seconds between two checkpoints; the last epoch ends with one as well.
        chooses: whether dev says which epoch is the best one; else it is the last.
        With several ranks the first one's score counts, and a stop of any of them stops all.
        Raises KeyboardInterrupt, StorageError, InputError if the loss is no longer finite, PeerError.
        """
        clock = _Clock(self.state, checkpoint_seconds)
        while not self._is_over():
            self._train_epoch(clock, on_step, stop)
            self._finish_epoch(dev_score, chooses)
            due = clock.tick()
            if due or self._is_over():
                self.save()
        if self.best:
            self.model.load_state_dict(self.best)

    def _is_over(self) -> bool:
        """Whether all epochs are trained, or no better one is to be expected."""
        state = self.state
        patience_ended = bool(self.best) and state.epoch - 1 - state.best_epoch >= self.recipe.patience
        return patience_ended or state.epoch >= self.epochs

    def _train_epoch(
        self, clock: _Clock, on_step: Callable[[StepReport], None], stop: Callable[[], bool]
    ) -> None:
        state = self.state
        batches = self._epoch_batches()
        dev = state.history[-1].get("dev") if state.history else None
        for given in self._inputs(batches):
            point = self._train_step(given, self._learning_rate(len(batches)))
            add_point(state.curve, point)
            state.losses.append(point.loss)
            state.step += 1
            state.total_steps += 1
            on_step(StepReport(state.epoch, self.epochs, state.step, len(batches), point.loss, dev))
            due, stopped = clock.tick(), self.ranks.any(stop())
            if due or stopped:
                self.save()
            if stopped:
                raise KeyboardInterrupt

    def _epoch_batches(self) -> list[NDArray[np.int64]]:
        """The batches of this epoch, of judged pairs and of pseudo-queries, in random order."""
        if self.state.step == 0 and self.state.epoch > 0:
            self._choose_positives()
            if self.state.epoch == 3 * self.epochs // 4 and not self.trained_before:
                self._turn_rare_rows()
        data, size = self.data, self.recipe.batch
        rng = np.random.default_rng((self.recipe.seed, self.state.epoch))
        batches = plan_batches(data, size, rng)
        batches += plan_batches(data, size, rng, draw_pseudo_queries(data, rng))
        return [batches[number] for number in rng.permutation(len(batches))]

    def _choose_positives(self) -> None:
        """Make the passage that is now nearest to the query the positive of each judged pair."""
        if not has_choice(self.data):
            return
        queries = self._embeddings("query", self.data.queries, np.arange(len(self.data.relevant)))
        passages = self._embeddings("document", self.data.documents, candidate_passages(self.data))
        self.data = with_nearest_positives(self.data, queries, passages)

    def _turn_rare_rows(self) -> None:
        """Turn the rows of rare features towards their contexts, which have learned since the start."""
        rare = rarely_trained(self.data, len(self.model.vocabulary))
        share = CONTEXT_SHARE * rare[:, None].float()
        with following_long_forms(self._tables, self.data):
            for table in self._tables:
                turn_to_contexts(table.data, self.data, share)

    def _embeddings(self, side: Side, texts: Ragged, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        own = texts.take(rows[self.ranks.share(len(rows))])
        embeddings = torch.from_numpy(self.model.encode_words(side, own, self.data.features))
        return self.ranks.gather(embeddings, len(rows)).numpy()

    def _learning_rate(self, steps: int) -> float:
        """The learning rate of the next step, with `steps` in this epoch."""
        recipe, state = self.recipe, self.state
        done = (state.epoch + state.step / steps) / self.epochs
        warmup = min(recipe.warmup, self.epochs * steps // 10)
        rising = min(1.0, (state.total_steps + 1) / max(1, warmup))
        return recipe.learning_rate * rising * max(recipe.floor, 1 - done)

    def _inputs(self, batches: Sequence[NDArray[np.int64]]) -> Iterator[StepInput]:
        """The inputs of the steps that are left of an epoch."""
        recipe, state = self.recipe, self.state
        first = state.total_steps - state.step
        sides: tuple[Side, ...] = ("query", "document")
        widths = {side: self.model.tower(side).body.row_width for side in sides}

        def maker(step: int) -> Callable[[], StepInput]:
            # A seed of torch has 32 bits. The factor, 2^32 over the golden ratio, keeps the steps of two
            # seeds of a recipe apart.
            dropout = (recipe.seed * 0x9E3779B1 + first + step) % 2**32
            seeds = StepSeeds((recipe.seed, state.epoch, step), dropout)
            return partial(step_input, self.data, batches[step], seeds, recipe.dropout, widths, self.ranks)

        return made_ahead(map(maker, range(state.step, len(batches))))

    def _train_step(self, given: StepInput, rate: float) -> Point:
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group["share"]
        batch = given.batch
        queries, documents = self._encode(given)
        gamma, false_negatives = self.model.config.gamma, torch.from_numpy(batch.false_negatives)
        rows, weights = self.ranks.share(len(queries)), torch.from_numpy(batch.weights)
        loss = softmax_loss(queries, documents, gamma, false_negatives, weights, rows)
        if self.teacher is not None:
            distilled = self._distillation_loss(self.teacher, batch, queries, documents)
            loss = loss + teaching_of(self.recipe, self.data) * distilled
        whole = self.ranks.sum(loss.detach().clone())
        if not torch.isfinite(whole):
            raise InputError("the loss is no longer finite; train again with a lower learning rate")
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self._sum_gradients(given)
        nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip)
        with following_long_forms(self._tables, self.data):
            self.optimiser.step()
        statistics = hard_negative_statistics(
            queries, documents, gamma, false_negatives, rows, self.ranks.sum
        )
        return Point(1, float(whole), rate, *statistics)

    def _encode(self, given: StepInput) -> list[Tensor]:
        """Embeddings of the texts of a batch by side, with dropout. Each rank encodes its share."""
        towers = [self.model.tower(side) for side in given.sides]
        inputs = list(given.sides.values())
        rows = (
            towers[0].word_rows(*(side.own for side in inputs))
            if towers[0].reads_table_of(towers[1])
            else [tower.word_rows(side.own)[0] for tower, side in zip(towers, inputs, strict=True)]
        )
        embeddings = []
        for tower, side, own_rows in zip(towers, inputs, rows, strict=True):
            encoded = tower.embed(own_rows, side.own, side.noise)
            embeddings.append(self.ranks.gather(encoded[: side.count], len(side.texts)))
        return embeddings

    def _distillation_loss(
        self, teacher: TeacherVectors, batch: Batch, queries: Tensor, documents: Tensor
    ) -> Tensor:
        student = torch.cat((queries, documents))
        vectors = np.concatenate((teacher.queries[batch.queries], teacher.documents[batch.documents]))
        return distillation_loss(student, torch.from_numpy(vectors), self.ranks.share(len(student)))

    def _sum_gradients(self, given: StepInput) -> None:
        """Sum the gradients over the ranks.

        Of a table only rows of features of the batch are sent: the others are zero on every rank.
        """
        if self.ranks.size == 1:
            return
        words = np.unique(np.concatenate([side.texts.values for side in given.sides.values()]))
        features = torch.from_numpy(np.unique(self.data.features.take(words.astype(np.int64)).values))
        rows = {name: features.long() for name, _ in self.model.named_parameters() if name.endswith(".table")}
        gradients = [
            (p.grad, rows.get(name)) for name, p in self.model.named_parameters() if p.grad is not None
        ]
        parts = [gradient if chosen is None else gradient[chosen] for gradient, chosen in gradients]
        flat = self.ranks.sum(torch.cat([part.flatten() for part in parts]))
        summed = torch.split(flat, [part.numel() for part in parts])
        for (gradient, chosen), part, values in zip(gradients, parts, summed, strict=True):
            gradient[... if chosen is None else chosen] = values.view_as(part)

    def _finish_epoch(self, dev_score: Callable[[TwoTower], float] | None, chooses: bool) -> None:
        state = self.state
        loss = float(np.mean(state.losses)) if state.losses else 0.0
        entry = {"epoch": float(state.epoch), "steps": float(state.total_steps), "loss": loss}
        if dev_score is not None:
            score = dev_score(self.model) if self.ranks.is_first else 0.0
            entry["dev"] = float(self.ranks.sum(torch.tensor(score, dtype=torch.float64)))
        if dev_score is not None and chooses:
            best = state.history[state.best_epoch]["dev"] if self.best else -1.0
            if entry["dev"] > best:
                state.best_epoch = state.epoch
                self.best = {name: tensor.clone() for name, tensor in self.model.state_dict().items()}
        else:
            state.best_epoch = state.epoch
        state.history.append(entry)
        state.epoch += 1
        state.step = 0
        state.losses = []


class _Clock:
    """Adds the time since the last tick to the state's seconds, and says when a checkpoint is due."""

    def __init__(self, state: TrainingState, interval: float) -> None:
        self._state = state
        self._interval = interval
        self._last = self._saved = time.monotonic()

    def tick(self) -> bool:
        now = time.monotonic()
        self._state.seconds += now - self._last
        self._last = now
        due = now - self._saved >= self._interval
        if due:
            self._saved = now
        return due


def _with_prefix(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
