"""Steps of training, and a state from which they go on.

In: an encoder, texts, settings. Out: scores.json, runs, the model of the best epoch. Knows nothing of where
the encoder comes from.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers.finetune.bases import Trained
from benchmarks.peers.finetune.progress import say
from benchmarks.peers.finetune.texts import Encoder, Texts, batches, measures, rank, replace, write_run

SCALE = 20.0
WARM_UP = 0.1


@dataclass(frozen=True)
class Settings:
    """What decides the outcome of a training; a state of other settings is not gone on with."""

    data: str
    base: str
    rate: float
    epochs: int
    batch: int
    length: int
    seed: int


def rate_at(step: int, steps: int) -> float:
    """Share of the highest learning rate at a step counted from 0."""
    warm = max(1, int(steps * WARM_UP))
    return min((step + 1) / warm, max(0.0, (steps - step) / max(1, steps - warm)))


class State:
    """Weights, AdamW's moments and the step, in one file of safetensors that is replaced as a whole."""

    def __init__(self, named: Mapping[str, Any], optimizer: Any, path: Path) -> None:
        self.named = named
        self.optimizer, self.path = optimizer, path
        self.step, self.cpu_seconds, self.loss = 0, 0.0, 0.0

    def save(self) -> None:
        """Write everything, then replace the former state."""
        library: Any = import_module("safetensors.torch")
        tensors = {f"weight/{name}": value.detach().contiguous() for name, value in self.named.items()}
        for name, value in self.named.items():
            for moment in ("exp_avg", "exp_avg_sq"):
                if value in self.optimizer.state:
                    tensors[f"{moment}/{name}"] = self.optimizer.state[value][moment].contiguous()
        facts = {"step": str(self.step), "cpu_seconds": str(self.cpu_seconds), "loss": str(self.loss)}
        half = self.path.with_name(self.path.name + ".half")
        library.save_file(tensors, str(half), metadata=facts)
        half.replace(self.path)

    def load(self) -> None:
        """Go on from the file, if there is one."""
        if not self.path.is_file():
            return
        library: Any = import_module("safetensors")
        torch: Any = import_module("torch")
        with library.safe_open(str(self.path), "pt") as stored, torch.no_grad():
            facts = stored.metadata()
            self.step, self.loss = int(facts["step"]), float(facts["loss"])
            self.cpu_seconds = float(facts["cpu_seconds"])
            kept = set(stored.keys())
            for name, value in self.named.items():
                value.copy_(stored.get_tensor(f"weight/{name}"))
                if f"exp_avg/{name}" in kept:
                    self.optimizer.state[value] = {
                        "step": torch.tensor(float(self.step)),
                        "exp_avg": stored.get_tensor(f"exp_avg/{name}"),
                        "exp_avg_sq": stored.get_tensor(f"exp_avg_sq/{name}"),
                    }


def train(encoder: Trained, texts: Texts, settings: Settings, folder: Path, save_every: float) -> None:
    """All epochs, from the saved step on."""
    torch = encoder.torch
    pairs = texts.pairs()
    plan = [
        batches(pairs, settings.batch, np.random.default_rng([settings.seed, epoch]))
        for epoch in range(settings.epochs)
    ]
    steps = sum(map(len, plan))
    weights = list(encoder.weights.values())
    optimizer = torch.optim.AdamW(weights, lr=settings.rate, weight_decay=0.0, fused=True)
    state = State(encoder.weights, optimizer, folder / "state.safetensors")
    state.load()
    encoder.take_weights()
    scores = _scores(folder)
    stopped = _stop_at_signals()
    begun, saved = (time.monotonic(), state.step), time.monotonic()
    done = 0
    for epoch, rows in enumerate(plan, 1):
        for batch in rows[max(0, state.step - done) :]:
            start = time.process_time()
            loss = _step(
                encoder, optimizer, texts, [pairs[row] for row in batch], settings, (state.step, steps)
            )
            state.step, state.loss = state.step + 1, state.loss + loss
            state.cpu_seconds += time.process_time() - start
            pace = (time.monotonic() - begun[0]) / (state.step - begun[1])
            left = pace * (steps - state.step) / 60
            say(
                f"epoch {epoch}/{settings.epochs}, step {state.step:,}/{steps:,}, loss {loss:.3f}, "
                f"{pace:.2f} s a step, {left:.0f} min left",
                state.step % 20 == 0,
            )
            if stopped or time.monotonic() - saved > save_every:
                state.save()
                saved = time.monotonic()
            if stopped:
                raise SystemExit(
                    f"stopped at step {state.step:,} of {steps:,}; the same command goes on there"
                )
        done += len(rows)
        if epoch > len(scores):
            state.save()  # before the ranking, which may take as long as the epoch
            scores.append({"epoch": epoch, "loss": state.loss / len(rows), "cpu_seconds": state.cpu_seconds})
            keep(encoder, texts, settings, scores, folder)
            state.loss = 0.0
            state.save()


def _step(
    encoder: Trained,
    optimizer: Any,
    texts: Texts,
    pairs: Sequence[tuple[str, str]],
    settings: Settings,
    at: tuple[int, int],
) -> float:
    torch = encoder.torch
    encoder.model.train()
    encoder.model.random = np.random.default_rng([settings.seed, 1, at[0]])
    for group in optimizer.param_groups:
        group["lr"] = settings.rate * rate_at(*at)
    asked = [texts.queries[query] for query, _ in pairs]
    answers = [texts.documents[document] for _, document in pairs]
    vectors = encoder.embed(asked + answers, settings.length)
    cosines = vectors[: len(pairs)] @ vectors[len(pairs) :].T
    loss = torch.nn.functional.cross_entropy(SCALE * cosines, torch.arange(len(pairs)))
    optimizer.zero_grad()
    loss.backward()
    encoder.hand_over_gradients()
    torch.nn.utils.clip_grad_norm_(encoder.weights.values(), 1.0)
    optimizer.step()
    encoder.take_weights()
    return float(loss.detach())


def keep(
    encoder: Encoder, texts: Texts, settings: Settings, scores: list[dict[str, Any]], folder: Path
) -> None:
    """Rank, add dev's measures to the last of the scores, and keep runs and model if they are the best."""
    start = time.process_time()
    ranking = rank(encoder, texts, ["dev", "test"])
    scores[-1] |= measures(texts.qrels["dev"], ranking["dev"])
    scores[-1]["ranking_cpu_seconds"] = time.process_time() - start
    say(f"epoch {scores[-1]['epoch']}: dev nDCG@10 {scores[-1]['nDCG@10']:.4f}", True)
    if scores[-1]["nDCG@10"] >= max(one["nDCG@10"] for one in scores):
        for split, found in ranking.items():
            write_run(folder / f"{split}.run.gz", found, settings.base)
        if isinstance(encoder, Trained):
            encoder.save(folder / "model")
    replace(folder / "scores.json", (json.dumps(scores, indent=1) + "\n").encode())


def _scores(folder: Path) -> list[dict[str, Any]]:
    path = folder / "scores.json"
    found: list[dict[str, Any]] = json.loads(path.read_text()) if path.is_file() else []
    return found


def _stop_at_signals() -> list[int]:
    """A list that a signal to stop fills, so that a step ends first."""
    seen: list[int] = []
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda number, _: seen.append(number))
    return seen
