"""The verbs learn and rollback, as a shell sees them, and what info and verify say of kept generations."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from clicked_world import World, make_world, people, the_last

from cli import verbs
from retrieval.commands import learn as module
from retrieval.learning import learn as learning
from retrieval.training.recipe import Recipe


def peephole(*args: object) -> Result:
    return CliRunner().invoke(verbs, [str(arg) for arg in args], prog_name="peephole")


def told(*args: object):
    """What a verb prints with --json: one document and nothing else."""
    result = peephole(*args, "--json")
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    return json.loads(result.stdout)


@pytest.fixture
def world(tmp_path: Path, random_model, write_beir, monkeypatch) -> World:
    """A small index; learning takes enough steps for it, and leaves the priority of the tests alone."""
    monkeypatch.setattr(os, "nice", lambda increment: 0)
    monkeypatch.setattr(learning, "RECIPE", Recipe(epochs=12, batch=64, learning_rate=0.03, warmup=2))
    before = torch.get_float32_matmul_precision()
    yield make_world(tmp_path, random_model, write_beir)
    torch.set_float32_matmul_precision(before)


def test_learn_publishes_and_rollback_goes_back(world: World, tmp_path: Path):
    log = world.record(tmp_path / "clicks.jsonl", people)
    first = told("info", world.index)
    assert first["previous"] == []
    done = told("learn", world.index, "--clicks", log)
    assert (done["published"], done["reason"], done["generation"]) == (True, "", "generation-000002")
    assert {row["mode"] for row in done["compared"]} == {"hybrid", "dense"}
    (kept,) = told("info", world.index)["previous"]
    assert (kept["generation"], kept["documents"]) == ("generation-000001", 16)
    assert kept["model_fingerprint"] == first["model_fingerprint"]
    assert "previous           generation generation-000001" in peephole("info", world.index).stdout
    assert told("verify", world.index)["sound"]

    shutil.copytree(world.index, tmp_path / "damaged")
    (tmp_path / "damaged" / "generation-000001" / "manifest.json").write_text("{}")
    damaged = told("info", tmp_path / "damaged")
    assert (damaged["documents"], list(damaged["previous"][0])) == (16, ["generation", "problem"])

    result = peephole("rollback", world.index)
    assert result.stdout == (
        f"{world.index}: the model of generation-000001, 16 documents, generation-000003; "
        "no other to go back to\n"
    )
    assert told("info", world.index)["model_fingerprint"] == first["model_fingerprint"]
    again = peephole("rollback", world.index)
    assert (again.exit_code, again.stderr) == (
        1,
        f"Error: {world.index}: keeps no earlier generation to go back to; `peephole learn` keeps them\n",
    )


def test_what_is_refused_is_no_failure(world: World, tmp_path: Path):
    log = world.record(tmp_path / "clicks.jsonl", the_last)
    result = peephole("learn", world.index, "--clicks", log)
    assert (result.exit_code, result.stderr) == (0, "")
    assert f"{world.index}: not published, " in result.stdout
    done = told("learn", world.index, "--clicks", log)
    assert (done["published"], done["generation"]) == (False, "generation-000001")
    assert done["reason"]


def test_learn_reports_in_words(world: World, tmp_path: Path):
    log = world.record(tmp_path / "clicks.jsonl", people)
    lines = peephole("learn", world.index, "--clicks", log, "--keep", 0).stdout.splitlines()
    assert lines[0].startswith("1,")
    assert "queries to train on" in lines[0]
    assert lines[1].startswith("  held-out clicks hybrid click agreement ")
    assert lines[-1] == f"{world.index}: published as generation-000002; 0 kept for `peephole rollback`"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--clicks", "missing.jsonl"], "missing.jsonl: "),
        (["--clicks", "CORPUS"], "no column of the query"),
    ],
)
def test_bad_input_is_one_line_and_leaves_no_trace(world: World, arguments: list[str], problem: str):
    arguments = [str(world.corpus) if argument == "CORPUS" else argument for argument in arguments]
    result = peephole("learn", world.index, *arguments)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1)
    assert problem in result.stderr
    assert not (world.index / ".learning").exists()


def test_the_verb_keeps_as_many_generations_as_the_library():
    assert module._KEEP == learning.KEEP


def test_serving_goes_first(monkeypatch):
    asked: list[object] = []
    monkeypatch.setattr(os, "nice", lambda increment: asked.append(increment) or 4)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1, 2, 3})
    monkeypatch.setattr(os, "sched_setaffinity", lambda process, cores: asked.append(list(cores)))
    module._give_way(2)
    assert asked == [0, 6, [2, 3]]


def test_training_goes_on_from_another_model(made, tmp_path: Path):
    trained = told("train", made.data, "-o", tmp_path / "next", "--init", made.model, "--epochs", "1")
    assert trained["tower"] == "lstm"
    vocabulary = "vocabulary.json"
    assert (tmp_path / "next" / vocabulary).read_bytes() == (made.model / vocabulary).read_bytes()
    result = peephole("train", made.data, "-o", tmp_path / "x", "--init", made.model, "--tower", "bag")
    assert result.exit_code == 2
    assert "--init brings its own tower" in result.stderr
