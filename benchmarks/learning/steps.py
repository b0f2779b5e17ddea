"""Publication of what was learnt, and rolling back, killed before every step that changes the disk.

For steps see `benchmarks.crash.steps`. Learning for a small index runs once, up to the publication; each
process that is killed begins there. Results that it would only compute are given: what the clicks say, and
whether the candidate is better. Everything that it writes is real. After every kill the live generation must
be wholly the old or wholly the new one: all files, all documents, and the answers of its model. Then the same
is done again, undisturbed, and after a learning it is rolled back; each must reach what it reaches
undisturbed, and nothing may be left behind.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import random
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import retrieval.learning.learn as learning
from benchmarks.crash.steps import watch
from benchmarks.crash.world import verify_problems
from benchmarks.learning.kills import again
from benchmarks.learning.world import (
    SETTINGS,
    Answers,
    answers,
    change,
    documents,
    left_behind,
    make,
    model_of,
    require,
)
from index.disk.folder import LEARNING
from index.reader import Index
from retrieval.indexing.compact import compact
from retrieval.learning.pairs import LearningData, read_learning_data
from retrieval.learning.rollback import rollback

_FORK = multiprocessing.get_context("fork")

Begin = Callable[[], None]


@dataclass(frozen=True)
class Act:
    """What is killed.

    start: the index that it is done to.
    run: does it, and calls its argument right before the first step.
    then: what is done to the index after it.
    changed: whether documents come and go right before the first step.
    """

    verb: str
    start: Path
    run: Callable[[Begin], object]
    then: Callable[[Path], object]
    changed: bool = False


@dataclass(frozen=True)
class Stages:
    """The outcome of an undisturbed act: the documents, the live models before and after, their answers."""

    documents: dict[str, str]
    before: str
    after: str
    answers: dict[str, Answers]

    def problems(self, index: Path, *models: str) -> list[str]:
        """What is wrong with the index, one of whose live models it must wholly have."""
        found = verify_problems(index)
        if documents(index) != self.documents:
            found.append("holds other documents")
        model = model_of(index)
        if model not in models:
            found.append("has another model than it should")
        elif answers(index) != self.answers[model]:
            found.append("answers otherwise than by its model")
        return found


def steps(work: Path, seed: int) -> Iterator[dict[str, Any]]:
    """Kill every act before each of its steps; gives the kills of each, and what went wrong.

    work: a folder.
    seed: of the clicks.
    """
    index, unlearnt, learnt = work / "index", work / "before learn", work / "before rollback"
    log, trained = work / "clicks.jsonl", work / "trained"
    make(unlearnt, log, work, random.Random(seed))
    with Index.open(unlearnt) as live:
        data = read_learning_data(log, list(live.live_documents()), None, SETTINGS.least_clicks)
    prepared = shutil.copytree(unlearnt, work / "prepared")
    require(_fork(partial(_prepare, prepared, log)) == 0, "learning fails undisturbed")
    shutil.copytree(prepared / LEARNING / "model", trained)
    shutil.copytree(trained, prepared / LEARNING / "refused" / "model")  # of a learning before
    learn = partial(_learn, index, data, trained)
    shutil.copytree(prepared, index)
    require(_fork(partial(learn, "", "publish_candidate", _nothing)) == 0, "publication fails undisturbed")
    index.rename(learnt)
    change(learnt)
    acts = (
        Act("rollback", learnt, partial(_rollback, index), compact),
        Act("learn", prepared, partial(learn, "", "publish_candidate"), rollback),
        Act("learn, documents changed", prepared, partial(learn, "", "publish_candidate"), rollback, True),
        Act("learn, refused", prepared, partial(learn, "worse", "_unchanged"), compact),
    )
    for act in acts:
        yield _killed(act, index)


def _killed(act: Act, index: Path) -> dict[str, Any]:
    """Kill an act before each of its steps: how many kills met what, and what went wrong."""
    stages = _undisturbed(act, index)
    failures: list[str] = []
    met = {"before publishing": 0, "after publishing": 0}
    for step in itertools.count(1):
        _begin(act, index)
        code = _fork(partial(act.run, partial(_die_at, step, act.changed, index)))
        if code not in (0, -signal.SIGKILL):
            failures.append(f"step {step}: exit code {code}")
        problems = stages.problems(index, stages.before, stages.after)
        published = model_of(index) != stages.before
        if code == 0:
            failures += [f"undisturbed: {problem}" for problem in problems]
            break
        if _fork(partial(again, partial(act.run, _nothing))) != 0:
            problems.append("the next call failed")
        problems += stages.problems(index, stages.after)
        if _fork(partial(act.then, index)) != 0:
            problems.append("the call after it failed")
        back = act.then is rollback and not published  # else the same model was published twice
        problems += stages.problems(index, stages.before if back else stages.after)
        failures += [f"step {step}: {problem}" for problem in (*problems, *left_behind(index))]
        met["after publishing" if published else "before publishing"] += 1
    return {"verb": act.verb, "killed": sum(met.values()), **met, "failures": failures}


def _undisturbed(act: Act, index: Path) -> Stages:
    _begin(act, index)
    if act.changed:
        change(index)
    before, answered = model_of(index), answers(index)
    require(_fork(partial(act.run, _nothing)) == 0, f"{act.verb} fails undisturbed")
    after = model_of(index)
    answered_then = answers(index)
    require((before == after) == (answered == answered_then), f"{act.verb}: the answers tell no model apart")
    return Stages(documents(index), before, after, {before: answered, after: answered_then})


def _begin(act: Act, index: Path) -> None:
    shutil.rmtree(index, ignore_errors=True)
    shutil.copytree(act.start, index)


def _fork(call: Callable[[], object]) -> int:
    """The exit code of a process that does this."""
    process = _FORK.Process(target=call)
    process.start()
    process.join()
    return process.exitcode or 0


def _nothing() -> None:
    """What precedes the first step of an act that is not to be killed."""


def _die_at(step: int, changed: bool, index: Path) -> None:
    """Kill this process before its step of this number, from 1.

    changed: whether the index is changed first.
    """
    taken = 0

    def at_step(what: str) -> bool:
        nonlocal taken
        taken += 1
        return taken == step

    if changed:
        change(index)
    watch(at_step)


def _prepare(index: Path, log: Path) -> None:
    """Learn up to the publication."""

    def end(*arguments: Any) -> None:
        os._exit(0)

    learning.publish_candidate = end
    learning.learn(index, log, settings=SETTINGS)


def _learn(index: Path, data: LearningData, trained: Path, reason: str, first: str, begin: Begin) -> None:
    """Learn, with given results in place of those that would be computed.

    index: the index folder.
    data: what the clicks say.
    trained: the model that is trained.
    reason: why it is not published; "" if it is.
    first: the function of `learn` before which `begin` is called.
    begin: called there.
    """
    watched = getattr(learning, first)

    def reached(*arguments: Any) -> Any:
        begin()
        return watched(*arguments)

    def copied(data: Any, output: Path, *arguments: Any, **options: Any) -> None:
        shutil.copytree(trained, output, dirs_exist_ok=True)

    known = {"read_learning_data": data, "doubts": "", "compare": [], "reason_against": reason}
    replaced = {name: lambda *arguments, value=value: value for name, value in known.items()}
    for name, function in (replaced | {"train": copied, first: reached}).items():
        setattr(learning, name, function)
    learning.learn(index, Path("clicks"), settings=SETTINGS)


def _rollback(index: Path, begin: Begin) -> None:
    begin()
    rollback(index)
