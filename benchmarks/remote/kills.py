"""Writes to an index in Milvus, killed at every step of publication and at random moments.

    python -m benchmarks.remote.kills WORK STORE VERB RANDOM

The verbs are build, add, learn (a candidate by another model is built and published; nothing is trained) and
rollback. A step is a call to the server that changes something, or the rename of a generation or of CURRENT.
The verb is killed before and after each of its steps, one after another, and RANDOM times at any moment.

After each kill the index must hold the documents and the model of before, or those of after if CURRENT was
renamed, and the alias must stand for a collection that exists. Then the same is done again, undisturbed, and
the index is compacted: it must hold what came after, and the server no collection that nothing names.

Every act runs in a process forked from this one, which itself never speaks to the server: a connection does
not survive a fork. Prints the outcome as JSON.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.crash import world
from index.disk.carried_model import fingerprint
from index.disk.folder import CANDIDATE, LEARNING, read_current, read_manifest
from index.disk.previous import used_generations
from index.disk.verify import verify
from index.errors import InputError
from index.opened import open_index
from index.remote.address import Address
from index.remote.client import Collection, Server
from retrieval.indexing.build import add, build
from retrieval.indexing.compact import compact
from retrieval.learning.candidate import build_candidate, publish_candidate
from retrieval.learning.rollback import rollback
from retrieval.model.folder import FILES, read_model
from retrieval.model.rescoring import Rescorer
from retrieval.search.features import NAMES

_DOCUMENTS = 40
_FORK = multiprocessing.get_context("fork")
_CALLS: tuple[tuple[type, str], ...] = (
    *((Server, name) for name in ("create", "point", "drop")),
    *((Collection, name) for name in ("insert", "delete", "flush", "index")),
)
VERBS = ("build", "add", "learn", "rollback")

Act = Callable[[], object]
Watch = Callable[[str], None]


@dataclass
class Life:
    """An index that lives through all kills: what it holds now, and what the next change would make of it."""

    work: Path
    model: Path
    other: Path  # a model with the same weights and another fingerprint
    store: str
    index: Path
    state: world.State
    version: int = 0
    generator: random.Random = field(default_factory=lambda: random.Random(7))

    def change(self, verb: str) -> tuple[Act, world.State, str]:
        """The next change of this kind; the documents after it, and the fingerprint of the model after it."""
        self.version += 1
        if verb == "build":
            base = {f"d{n}": 0 for n in range(_DOCUMENTS)}
            change = world.build(self.index, self.model, self.work, base, self.version)
            act = partial(build, Path(change.arguments[0]), self.model, self.index, store=self.store)
            return act, change.after, fingerprint(self.model)
        if verb == "add":
            change = world.add(self.index, self.work, self.state, self.version, self.generator)
            return partial(add, Path(change.arguments[1]), self.index), change.after, self.fingerprint()
        if verb == "learn":
            return partial(_learn, self.index, self.other), self.state, fingerprint(self.other)
        return partial(_roll_back, self.index), self.state, fingerprint(self.model)

    def fingerprint(self) -> str:
        """Of the live model."""
        return read_manifest(self.index, read_current(self.index)).model_fingerprint


def kills(life: Life, verb: str, at_random: int) -> dict[str, Any]:
    """Kill a verb at all its steps, and some times at random; which they were, and what went wrong."""
    _child(life.change("build")[0])
    life.state = {f"d{n}": life.version for n in range(_DOCUMENTS)}
    outcomes: Counter[str] = Counter()
    named: list[str] = []
    failures: list[str] = []
    for number in count(1):
        step, problems = _kill_at(life, verb, number)
        failures += [f"{step}: {problem}" for problem in problems]
        if not step:
            break
        named.append(step)
        print(f"{verb} killed {step}: {problems or 'sound'}", file=sys.stderr, flush=True)
    for _ in range(at_random):
        outcome, problems = _kill_some_time(life, verb)
        failures += [f"at random: {problem}" for problem in problems]
        outcomes[outcome] += 1
        print(f"{verb} killed at random, {outcome}: {problems or 'sound'}", file=sys.stderr, flush=True)
    return {
        "killed": len(named) + at_random,
        "steps": named,
        "at_random": dict(outcomes),
        "failures": failures,
    }


def _kill_at(life: Life, verb: str, number: int) -> tuple[str, list[str]]:
    """Kill a verb at its step of this number; which one it was, "" if it has no more, and what is wrong."""
    act, after, model, before = _prepared(life, verb)
    name = life.work / "step"
    name.unlink(missing_ok=True)
    taken = 0

    def watch(step: str) -> None:
        nonlocal taken
        taken += 1
        if taken == number:
            name.write_text(step)
            os.kill(os.getpid(), signal.SIGKILL)

    code = _forked(partial(_watched, act, watch))
    if code not in (0, -signal.SIGKILL):
        return "", [f"exit code {code}"]
    return (name.read_text() if code else ""), _checked(life, act, after, model, before)[1]


def _kill_some_time(life: Life, verb: str) -> tuple[str, list[str]]:
    """Kill a verb at any moment of the time that it takes."""
    act, after, model, before = _prepared(life, verb)
    start = time.monotonic()
    _child(act)
    seconds = time.monotonic() - start
    life.state = after
    act, after, model, before = _prepared(life, verb)
    process = _FORK.Process(target=act)
    process.start()
    process.join(life.generator.uniform(0.05, 1.0) * seconds)
    process.kill()
    process.join()
    return _checked(life, act, after, model, before)


def _prepared(life: Life, verb: str) -> tuple[Act, world.State, str, tuple[world.State, str]]:
    """The next change of this kind, and documents and model before it."""
    if verb == "rollback":
        _child(partial(_learn, life.index, life.other))
        change, after, _ = life.change("add")  # so that going back has something to bring along
        _child(change)
        life.state = after
    elif verb == "learn" and life.fingerprint() == fingerprint(life.other):
        _child(partial(_roll_back, life.index))
    before = (life.state, life.fingerprint())
    return *life.change(verb), before


def _checked(
    life: Life, act: Act, after: world.State, model: str, before: tuple[world.State, str]
) -> tuple[str, list[str]]:
    """What the index holds after a kill, and what is wrong then and after the same was done again."""
    held, problems = _child(partial(_look, life.index, life.store, [before[0], after]))
    now = (held, life.fingerprint())
    if now not in (before, (after, model)):
        problems.append("documents and model are neither those of before nor those of after")
    outcome = "then old" if now == before else "then new"
    _child(act)
    _child(partial(compact, life.index))
    held, found = _child(partial(_look, life.index, life.store, [after]))
    problems += found + _child(partial(_leftovers, life.index, life.store))
    life.state = after
    return outcome, problems


def _look(index: Path, store: str, states: list[world.State]) -> tuple[world.State | None, list[str]]:
    """Which of the states the index holds, and what is wrong with it."""
    held, problems = world.problems_of(index, *states)
    problems += world.verify_problems(index)
    with open_index(index) as opened:
        problems += opened.problems()
    address = Address.parse(store)
    with closing(Server(address)) as server:
        if server.target_of(address.name) not in server.collections():
            problems.append("the alias stands for no collection")
    return held, problems


def _leftovers(index: Path, store: str) -> list[str]:
    """What is left that nothing names, in the folder and on the server."""
    address = Address.parse(store)
    generations = used_generations(index, read_manifest(index, read_current(index)))
    needed = {
        str(json.loads((index / name / "manifest.json").read_bytes())["store"]["collection"])
        for name in generations
    }
    with open_index(index) as opened, closing(Server(address)) as server:
        there = {name for name in server.collections() if name.startswith(f"{address.name}_")}
        target, live = server.target_of(address.name), opened.manifest.store["collection"]
    problems = [f"left on the server: {name}" for name in there - needed]
    problems += [f"not on the server: {name}" for name in needed - there]
    if target != live:
        problems.append(f"the alias stands for {target}, live is {live}")
    return [*problems, *verify(index)]


def _learn(index: Path, model: Path) -> None:
    """What `peephole learn` does after training, if the model is not live yet."""
    candidate = index / LEARNING / CANDIDATE
    with open_index(index) as live:
        if live.manifest.model_fingerprint != fingerprint(model):
            candidate.parent.mkdir(exist_ok=True)
            build_candidate(candidate, model, live, [], lambda *_: None)
            publish_candidate(index, candidate, live, 2, 0.0, lambda *_: None)
    shutil.rmtree(index / LEARNING, ignore_errors=True)


def _roll_back(index: Path) -> None:
    """Go back; if that was done before there is nothing to go back to."""
    try:
        rollback(index)
    except InputError as error:
        if "keeps no earlier generation" not in str(error):
            raise


def _watched(act: Act, watch: Watch) -> None:
    """Do something, and tell before and after each step."""

    def told(name: str, call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        watch(f"before {name}")
        result = call(*arguments, **options)
        watch(f"after {name}")
        return result

    def wrapped(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *arguments, **options: told(name, call, *arguments, **options)

    for owner, name in _CALLS:
        setattr(owner, name, wrapped(name, getattr(owner, name)))
    rename, replace = os.rename, os.replace

    def renamed(call: Callable[..., None]) -> Callable[..., None]:
        def rename_(source: Any, target: Any, **options: Any) -> None:
            name = Path(target).name
            if name == "CURRENT" or name.startswith("generation-"):
                told(f"rename of {name.partition('-')[0]}", call, source, target, **options)
            else:
                call(source, target, **options)

        return rename_

    os.rename, os.replace = renamed(rename), renamed(replace)
    act()


def _forked(act: Act) -> int:
    """The exit code of a process that does something; minus the signal that killed it."""
    process = _FORK.Process(target=act)
    process.start()
    process.join()
    return process.exitcode or 0


def _child(act: Callable[[], Any]) -> Any:
    """What a forked process returns. Raises RuntimeError if it fails."""
    ours, theirs = _FORK.Pipe(duplex=False)
    process = _FORK.Process(target=_send, args=(act, theirs))
    process.start()
    theirs.close()
    try:
        result = json.loads(ours.recv())
    except EOFError as error:
        raise RuntimeError(f"{act} failed") from error
    finally:
        process.join()
    return result


def _send(act: Callable[[], Any], connection: Any) -> None:
    result = act()
    connection.send(json.dumps(result, default=lambda _: None))


def _other_model(model: Path, work: Path) -> tuple[Path, Path]:
    """Two copies of a model that differ in their fingerprints, and re-score, so that words are stored."""
    models = []
    for number, share in enumerate((0.4, 0.6)):
        folder = work / f"model{number}"
        shutil.copytree(model, folder)
        saved = read_model(folder)
        width = saved.word_rows("query").of(["a"]).shape[1]
        shapes = ((width, 5), (width,), (1,), (4, len(NAMES)), (4,), (4,), (len(NAMES),))
        weights = np.random.default_rng(number)
        arrays = (weights.normal(size=shape).astype(np.float32) for shape in shapes)
        Rescorer(*arrays).save(folder / FILES.rescoring)
        config = json.loads((folder / FILES.config).read_bytes())
        (folder / FILES.config).write_text(json.dumps({**config, "dense_share": share}))
        models.append(folder)
    return models[0], models[1]


def main(work: Path, store: str, verb: str, at_random: int) -> Mapping[str, Any]:
    """Train a small model and kill."""
    folder = work / f"kills of {verb}"
    folder.mkdir()
    model, other = _other_model(world.make_model(folder / "made"), folder)
    return kills(Life(folder, model, other, store, folder / "index", {}), verb, at_random)


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]))))
