"""Training: that it learns, keeps the best, and ends the same when it was cut short anywhere."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from index.documents.store import Document
from index.errors import CorruptError, InputError
from retrieval.model.config import ModelConfig
from retrieval.text.vocabulary import learn_vocabulary
from retrieval.training import loop
from retrieval.training.checkpoint import read_checkpoint, write_checkpoint
from retrieval.training.distillation import TeacherVectors
from retrieval.training.examples.training_set import training_set
from retrieval.training.loop import Trainer
from retrieval.training.recipe import EPOCHS, LEAST_STEPS, Recipe, epochs_of
from retrieval.training.start import initial_model

CONFIG = ModelConfig("lstm", 8, 4, 8, "attention", tie="none")
RECIPE = Recipe(epochs=4, batch=4, learning_rate=0.02, warmup=2, dropout=0.1, patience=9)

# Queries share no word with their documents: only training can bring them together.
TOPICS = {
    "feline purr": "cat kitten",
    "canine bark": "dog puppy",
    "automobile engine": "car wheel",
    "vessel harbour": "boat sail",
    "timber bark": "tree leaf",
    "dwelling roof": "house door",
    "beverage hot": "tea cup",
    "meal evening": "dinner plate",
}
DOCUMENTS = [Document(f"d{n}", "", text) for n, text in enumerate(TOPICS.values())]
QUERIES = {f"q{n}": text for n, text in enumerate(TOPICS)}
QRELS = {f"q{n}": {f"d{n}": 1} for n in range(len(TOPICS))}


def new_trainer(folder, config=CONFIG, recipe=RECIPE, fingerprint="toy"):
    texts = [document.text for document in DOCUMENTS] + list(QUERIES.values())
    vocabulary = learn_vocabulary(texts, buckets=8, min_count=1)
    data = training_set(DOCUMENTS, QUERIES, QRELS, vocabulary, 8, 8)
    torch.manual_seed(recipe.seed)
    model = initial_model(config, vocabulary, data)
    return Trainer(model, data, recipe, Path(folder) / "checkpoint.safetensors", fingerprint)


def found(model):
    """Share of the queries whose own document is nearest."""
    scores = model.encode_queries(list(TOPICS)) @ model.encode_documents(list(TOPICS.values())).T
    return float((scores.argmax(1) == np.arange(len(TOPICS))).mean())


def weights(trainer):
    return {name: tensor.numpy().copy() for name, tensor in trainer.model.state_dict().items()}


def assert_equal_states(first, second):
    assert first.keys() == second.keys()
    for name in first:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)


@pytest.mark.parametrize(
    "config",
    [
        CONFIG,
        ModelConfig("lstm", 8, 4, 8, "attention", tie="table"),
        ModelConfig("cnn", 8, 8, 8, "max"),
        ModelConfig("dnn", 0, 16, 8),
        ModelConfig("bag", 8, 4, 8),
    ],
    ids=lambda c: f"{c.tower} {c.tie}",
)
def test_training_lowers_the_loss_and_finds_the_right_documents(tmp_path, config):
    trainer = new_trainer(tmp_path, config, replace(RECIPE, epochs=30, batch=8, learning_rate=0.03))
    before = found(trainer.model)
    trainer.train(None)
    losses = [entry["loss"] for entry in trainer.state.history]
    assert losses[-1] < 0.3 * losses[0]
    assert found(trainer.model) == 1.0 > before


def test_every_epoch_reports_its_steps_in_order(tmp_path):
    steps = []
    trainer = new_trainer(tmp_path)
    trainer.train(lambda model: 0.25, steps.append)
    assert [(s.epoch, s.step) for s in steps] == [(e, s) for e in range(4) for s in (1, 2)]
    assert {(s.epochs, s.steps) for s in steps} == {(4, 2)}
    assert [s.dev for s in steps] == [None, None] + [0.25] * 6
    means = np.array([s.loss for s in steps]).reshape(4, 2).mean(1)
    np.testing.assert_allclose([entry["loss"] for entry in trainer.state.history], means)


def test_one_seed_gives_one_model_and_another_seed_another(tmp_path):
    trainers = [new_trainer(tmp_path, recipe=replace(RECIPE, seed=seed)) for seed in (5, 5, 6)]
    for trainer in trainers:
        trainer.train(None)
    assert_equal_states(weights(trainers[0]), weights(trainers[1]))
    assert any(
        (weights(trainers[0])[name] != weights(trainers[2])[name]).any() for name in weights(trainers[0])
    )


def test_dropout_depends_on_the_seed(tmp_path):
    drawn = []
    for seed in (0, 1):
        trainer = new_trainer(tmp_path, recipe=RECIPE)
        trainer.recipe = replace(RECIPE, seed=seed)
        (given,) = trainer._inputs([np.array([0, 1])])
        drawn.append([side.noise.tolist() for side in given.sides.values()])
    assert drawn[0] != drawn[1]


def shift(trainer, name):
    """How far the first step moved a parameter, at most."""
    before = weights(trainer)
    with pytest.raises(KeyboardInterrupt):
        trainer.train(None, stop=lambda: True)
    return np.abs(weights(trainer)[name] - before[name]).max()


@pytest.mark.parametrize(("pooling", "faster"), [("attention", 5.0), ("last", 1.0)])
def test_a_body_that_weighs_rows_learns_faster_than_they(tmp_path, pooling, faster):
    recipe = replace(RECIPE, clip=1e9, warmup=1, dropout=0.0, body=5.0)
    config = CONFIG._replace(hidden=8, pooling=pooling, tie="all")
    trainer = new_trainer(tmp_path, config, recipe)
    rate = recipe.learning_rate  # Adam's first step is as long as the rate, whatever the gradient
    assert shift(trainer, "towers.both.body.layers.0.recurrent") == pytest.approx(rate * faster, rel=0.05)
    trainer = new_trainer(tmp_path / "again", config, recipe)
    trainer.checkpoint.parent.mkdir()
    assert shift(trainer, "towers.both.table") == pytest.approx(rate, rel=0.05)


def test_weights_of_the_belt_learn_in_proportion_to_where_they_start(tmp_path):
    recipe = replace(RECIPE, clip=1e9, warmup=1, dropout=0.0, body=1.0)
    config = CONFIG._replace(
        hidden=CONFIG.word_dim + 4, dimension=CONFIG.word_dim + 4, pooling="belt", tie="all"
    )
    trainer = new_trainer(tmp_path, config, recipe)
    rate = recipe.learning_rate
    assert shift(trainer, "towers.both.body.layers.0.input") == pytest.approx(rate * 5, rel=0.05)
    trainer = new_trainer(tmp_path, config, recipe)
    assert shift(trainer, "towers.both.body.layers.0.recurrent") == pytest.approx(rate * 27.8, rel=0.05)


def test_gradients_are_shortened_together_to_the_length_of_the_recipe(tmp_path):
    trainer = new_trainer(tmp_path, recipe=replace(RECIPE, clip=1e-3))
    with pytest.raises(KeyboardInterrupt):
        trainer.train(None, stop=lambda: True)
    share = 1 - trainer.optimiser.defaults["betas"][0]  # of a gradient in Adam's first mean
    means = [state["exp_avg"] for state in trainer.optimiser.state.values()]
    assert torch.cat([mean.flatten() for mean in means]).norm().item() == pytest.approx(
        share * 1e-3, rel=1e-3
    )


@pytest.mark.parametrize(("warmup", "rising"), [(0, 0), (1, 1), (1000, 2)])  # at most a tenth of the steps
def test_the_learning_rate_rises_at_first_and_then_falls_to_its_floor(tmp_path, warmup, rising):
    recipe = replace(RECIPE, epochs=10, warmup=warmup, floor=0.3)
    trainer = new_trainer(tmp_path, recipe=recipe)
    trainer.train(None)
    shares = [min(1, (step + 1) / max(1, rising)) * max(0.3, 1 - step / 20) for step in range(20)]
    expected = [recipe.learning_rate * share for share in shares]
    assert [point.rate for point in trainer.state.curve] == pytest.approx(expected)


def test_peepholes_can_be_held_at_zero(tmp_path):
    name = "towers.both.body.layers.0.peepholes"
    config = CONFIG._replace(tower="lstm", tie="all")
    for learned in (True, False):
        trainer = new_trainer(tmp_path, config, replace(RECIPE, peepholes=learned))
        trainer.train(None)
        assert bool(weights(trainer)[name].any()) == learned


@pytest.mark.parametrize(("full", "weight"), [(16, 50.0), (8, 5.0), (2, 5.0)])
def test_a_teacher_weighs_less_the_more_pairs_are_given(tmp_path, monkeypatch, full, weight):
    monkeypatch.setattr("retrieval.training.recipe.FULL_EPOCH", full)
    alone, distilled = new_trainer(tmp_path), new_trainer(tmp_path)
    unit_vectors = np.eye(8, dtype=np.float32)
    distilled.teacher = TeacherVectors(unit_vectors, unit_vectors)
    losses = []
    for trainer in (alone, distilled):
        with torch.no_grad():
            for parameter in trainer.model.parameters():
                parameter.fill_(0.1)  # all texts are one: every cosine is 1
        steps = []
        trainer.recipe = replace(trainer.recipe, dropout=0.0)
        with pytest.raises(KeyboardInterrupt):
            trainer.train(None, steps.append, stop=lambda: True)
        losses.append(steps[0].loss)
    # Four queries and their documents: 1 - 1 for each with itself and its partner, 1 - 0 for all others.
    assert losses[1] - losses[0] == pytest.approx(weight * 48 / 64, rel=1e-4)


def scripted(trainer, values):
    """A score that says what it is told, and the weights it saw each time."""
    seen = []

    def score(model):
        assert model is trainer.model
        seen.append(weights(trainer))
        return values[len(seen) - 1]

    return score, seen


def test_the_best_epoch_is_kept_and_a_tie_goes_to_the_first(tmp_path):
    trainer = new_trainer(tmp_path)
    score, seen = scripted(trainer, [0.1, 0.5, 0.5, 0.3])
    trainer.train(score)
    assert trainer.state.best_epoch == 1
    assert_equal_states(weights(trainer), seen[1])


def test_training_stops_when_patience_ends(tmp_path):
    trainer = new_trainer(tmp_path, recipe=replace(RECIPE, epochs=9, patience=2))
    score, seen = scripted(trainer, [0.2, 0.4, 0.3, 0.4, 0.9])
    trainer.train(score)
    assert len(seen) == 4  # two epochs, 2 and 3, were no better than epoch 1
    assert trainer.state.best_epoch == 1
    assert_equal_states(weights(trainer), seen[1])


def test_a_small_data_set_is_passed_over_more_often(tmp_path):
    data = new_trainer(tmp_path).data
    assert len(data.pairs) == len(TOPICS), "two steps an epoch"
    assert epochs_of(replace(RECIPE, epochs=None, batch=4), data) == LEAST_STEPS / 2
    assert epochs_of(replace(RECIPE, epochs=3, batch=4), data) == 3, "that of the recipe counts"
    many = replace(data, judged_pairs=100_000)
    assert epochs_of(replace(RECIPE, epochs=None, batch=512), many) == EPOCHS


def test_a_dev_that_does_not_choose_is_scored_and_the_last_epoch_kept(tmp_path):
    trainer = new_trainer(tmp_path, recipe=replace(RECIPE, epochs=4, patience=1))
    score, seen = scripted(trainer, [0.5, 0.1, 0.3, 0.2])
    trainer.train(score, chooses=False)
    assert [entry["dev"] for entry in trainer.state.history] == [0.5, 0.1, 0.3, 0.2]
    assert trainer.state.best_epoch == 3
    assert_equal_states(weights(trainer), seen[3])


def test_a_dev_score_of_zero_is_better_than_none(tmp_path):
    trainer = new_trainer(tmp_path, recipe=replace(RECIPE, epochs=2))
    score, seen = scripted(trainer, [0.0, 0.0])
    trainer.train(score)
    assert trainer.state.best_epoch == 0
    assert_equal_states(weights(trainer), seen[0])


def test_without_a_score_the_last_epoch_is_kept(tmp_path):
    trainer = new_trainer(tmp_path)
    trainer.train(None)
    assert trainer.state.best_epoch == 3
    assert all("dev" not in entry for entry in trainer.state.history)


@pytest.mark.parametrize(
    ("tie", "stopped_after"),
    [*(("none", step) for step in (1, 2, 3, 7, 8)), ("table", 5), ("all", 5)],  # rows turn before step 7
)
def test_a_stopped_training_resumed_equals_one_that_was_not(tmp_path, tie, stopped_after):
    config = CONFIG._replace(tie=tie)
    whole = new_trainer(tmp_path / "whole", config)
    whole.checkpoint.parent.mkdir()
    whole.train(found)

    first = new_trainer(tmp_path, config)
    steps = []
    with pytest.raises(KeyboardInterrupt):
        first.train(found, steps.append, stop=lambda: len(steps) == stopped_after)
    assert len(steps) == stopped_after
    second = new_trainer(tmp_path, config)
    second.resume()
    more = []
    second.train(found, more.append)
    assert len(more) == 8 - stopped_after
    assert_equal_states(weights(whole), weights(second))
    assert second.state.history == whole.state.history
    assert second.state.best_epoch == whole.state.best_epoch


def test_a_checkpoint_is_due_once_an_interval_and_every_second_counts_once(monkeypatch):
    times = iter([100.0, 104.0, 109.0, 110.5, 112.0, 120.0, 121.0])
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: next(times)))
    state = loop.TrainingState(seconds=7.0)
    clock = loop._Clock(state, 10.0)
    assert [clock.tick() for _ in range(6)] == [False, False, True, False, False, True]
    assert state.seconds == 7 + 21


def test_rare_rows_turn_once_after_three_quarters_of_the_epochs(tmp_path, monkeypatch):
    turned = []
    monkeypatch.setattr(loop, "turn_to_contexts", lambda table, data, share: turned.append(share))
    trainer = new_trainer(tmp_path, CONFIG._replace(tie="table"))
    epochs = []
    trainer.train(None, lambda step: epochs.append((step.epoch, len(turned))))
    assert epochs == [(0, 0)] * 2 + [(1, 0)] * 2 + [(2, 0)] * 2 + [(3, 1)] * 2
    assert turned[0].unique().tolist() == [loop.CONTEXT_SHARE]  # all features are rare


def test_rows_of_a_model_that_was_trained_before_do_not_turn_again(tmp_path, monkeypatch):
    turned = []
    monkeypatch.setattr(loop, "turn_to_contexts", lambda table, data, share: turned.append(share))
    trainer = new_trainer(tmp_path)
    trainer.trained_before = True
    trainer.train(None)
    assert not turned


def test_a_finished_training_resumed_takes_no_further_step(tmp_path):
    trainer = new_trainer(tmp_path)
    score, _ = scripted(trainer, [0.1, 0.9, 0.2, 0.3])
    trainer.train(score)
    again = new_trainer(tmp_path)
    again.resume()
    again.train(pytest.fail, lambda step: pytest.fail("a step was taken"))
    assert_equal_states(weights(trainer), weights(again))
    assert again.state.best_epoch == 1


def test_a_training_of_other_data_or_settings_is_not_resumed(tmp_path):
    new_trainer(tmp_path).train(None)
    other = new_trainer(tmp_path, fingerprint="other")
    with pytest.raises(InputError, match=r"checkpoint\.safetensors: begun with other data or settings"):
        other.resume()


@pytest.mark.parametrize("damage", ["cut short", "empty", "text", "no state", "broken state"])
def test_a_damaged_checkpoint_is_told(tmp_path, damage):
    trainer = new_trainer(tmp_path)
    trainer.train(None)
    whole = trainer.checkpoint.read_bytes()
    if damage == "no state":
        from safetensors.torch import save_file

        save_file({"a": torch.ones(1)}, trainer.checkpoint)
    elif damage == "broken state":
        trainer.checkpoint.write_bytes(whole.replace(b'{\\"epoch\\"', b'{\\"epoch"+', 1))
    else:
        trainer.checkpoint.write_bytes({"cut short": whole[:-9], "empty": b"", "text": b"hello" * 99}[damage])
    with pytest.raises(CorruptError, match=r"checkpoint\.safetensors: not a checkpoint") as caught:
        new_trainer(tmp_path).resume()
    assert "\n" not in str(caught.value)


def test_a_missing_checkpoint_is_told(tmp_path):
    with pytest.raises(CorruptError, match="not a checkpoint"):
        new_trainer(tmp_path).resume()


def test_checkpoint_survives_the_disk(tmp_path):
    tensors = {"a": torch.arange(6.0).reshape(2, 3).t(), "b": torch.tensor(3)}
    write_checkpoint(tmp_path / "c", tensors, {"epoch": 3, "history": [{"dev": 0.1}], "name": "é只"})
    loaded, told = read_checkpoint(tmp_path / "c")
    assert told == {"epoch": 3, "history": [{"dev": 0.1}], "name": "é只"}
    assert {name: tensor.tolist() for name, tensor in loaded.items()} == {
        name: tensor.tolist() for name, tensor in tensors.items()
    }


def test_checkpoints_come_as_often_as_asked(tmp_path):
    trainer = new_trainer(tmp_path)
    times = []
    trainer.train(None, lambda step: times.append(trainer.checkpoint.exists()), checkpoint_seconds=0)
    assert times == [False] + [True] * 7  # each step's report comes before its checkpoint
    lazy = new_trainer(tmp_path / "lazy")
    lazy.checkpoint.parent.mkdir()
    times = []
    lazy.train(None, lambda step: times.append(lazy.checkpoint.exists()))
    assert not any(times)
    assert lazy.checkpoint.exists()  # after the last epoch in any case


def digest(trainer):
    """All weights and the history as text."""
    import hashlib

    hashed = hashlib.sha256()
    for name, array in sorted(weights(trainer).items()):
        hashed.update(name.encode() + array.tobytes())
    return f"{hashed.hexdigest()} {trainer.state.history} {trainer.state.best_epoch}"


def survive_kills(folder, seed):
    """Train in child processes, all but the last killed at a random time; the kills and the digest."""
    import random
    import signal
    import time

    chance, kills = random.Random(seed), 0
    checkpoint = Path(folder) / "checkpoint.safetensors"

    def written():
        return checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0

    while True:
        before, child = written(), os.fork()
        if child == 0:
            trainer = new_trainer(folder, recipe=replace(RECIPE, epochs=15))
            if checkpoint.exists():
                trainer.resume()
            trainer.train(found, checkpoint_seconds=0)
            (Path(folder) / "digest").write_text(digest(trainer))
            os._exit(0)
        if kills < 6:
            deadline = time.monotonic() + 20
            while written() == before and time.monotonic() < deadline:
                time.sleep(0.001)  # until it has taken a step: then anything may be under way
            time.sleep(chance.uniform(0, 0.03))
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0
            return kills, (Path(folder) / "digest").read_text()
        kills += 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_training_killed_again_and_again_equals_one_that_was_not(tmp_path):
    (tmp_path / "whole").mkdir()
    # A process of its own, so that forking meets no threads; torch is imported once for all the children.
    program = f"""
import sys; sys.path[:0] = [{str(Path(__file__).parent)!r}]
import test_loop as t
trainer = t.new_trainer({str(tmp_path / "whole")!r}, recipe=t.replace(t.RECIPE, epochs=15))
kills, killed = t.survive_kills({str(tmp_path)!r}, seed=1)
trainer.train(t.found)
print(kills, killed == t.digest(trainer))
"""
    ran = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        timeout=120,
    )
    assert ran.returncode == 0, ran.stderr
    kills, equal = ran.stdout.split()
    assert int(kills) >= 2
    assert equal == "True"
