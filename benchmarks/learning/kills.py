"""Learning and rolling back, killed at random moments: the index stays whole, and nothing is left behind.

A small index goes through all of it. A process forked for it learns or rolls back and is killed; the index is
verified and its documents are compared. Then the same is done again, undisturbed, and nothing may be left but
the live generation, what it keeps, and the last model that was refused.
"""

from __future__ import annotations

import multiprocessing
import random
import shutil
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.crash.world import verify_problems
from benchmarks.learning.world import SETTINGS, change, documents, left_behind, make, require
from index.disk.folder import read_current
from index.errors import InputError
from retrieval.indexing.compact import compact
from retrieval.learning.learn import learn
from retrieval.learning.rollback import rollback

_FORK = multiprocessing.get_context("fork")

Act = Callable[[], object]


def kills(work: Path, count: int, seed: int, note: Callable[[object], None]) -> dict[str, Any]:
    """Kill `learn` and `rollback` in turn, `count` times in all.

    work: a folder.
    count: how many are killed.
    seed: of the moments.
    note: called after each kill.
    Returns what the kills met, by verb, and what went wrong.
    """
    generator = random.Random(seed)
    index, log = work / "index", work / "clicks.jsonl"
    acts: dict[str, Act] = {
        "learn": partial(learn, index, log, settings=SETTINGS),
        "rollback": partial(rollback, index),
    }
    starts = {verb: work / f"before {verb}" for verb in acts}
    make(starts["learn"], log, work, generator)
    durations = {}
    for verb, act in acts.items():
        shutil.copytree(starts[verb], index, dirs_exist_ok=True)
        durations[verb] = _undisturbed(act)
        if verb == "learn":
            require(read_current(index).generation == "generation-000002", "learning published nothing")
            index.rename(starts["rollback"])
            change(starts["rollback"])
    met: dict[str, Counter[str]] = {verb: Counter() for verb in acts}
    failures: list[str] = []
    killed = 0
    while killed < count:
        verb = tuple(acts)[killed % len(acts)]
        shutil.rmtree(index)
        shutil.copytree(starts[verb], index)
        start = time.perf_counter()
        moment, problems = _kill(index, acts[verb], durations[verb] * generator.random())
        if moment == "finished first":  # the machine is less busy than it was
            durations[verb] = (durations[verb] + time.perf_counter() - start) / 3
        failures += [f"{verb}, {moment}: {problem}" for problem in problems]
        met[verb][moment] += 1
        killed += moment != "finished first"
        note({"killed": killed, "verb": verb, "moment": moment, "failures": len(failures)})
    return {
        "rows": [{"verb": verb, **met[verb]} for verb in acts],
        "seconds_undisturbed": {verb: round(took, 2) for verb, took in durations.items()},
        "failures": failures,
    }


def _undisturbed(act: Act) -> float:
    """Seconds of an act in a process of its own."""
    start = time.perf_counter()
    process = _FORK.Process(target=act)
    process.start()
    process.join()
    require(process.exitcode == 0, "fails undisturbed")
    return time.perf_counter() - start


def _kill(index: Path, act: Act, after_seconds: float) -> tuple[str, list[str]]:
    """Kill an act, check the index, do the act again, check again; what was met, and what is wrong."""
    before, held = read_current(index), documents(index)
    process = _FORK.Process(target=act)
    process.start()
    process.join(after_seconds)
    process.kill()
    process.join()
    problems = verify_problems(index)
    if documents(index) != held:
        problems.append("holds other documents than before")
    changed = read_current(index) != before
    if process.exitcode == 0:
        return "finished first", problems
    following = _FORK.Process(target=again, args=(act,))
    following.start()
    following.join()
    if following.exitcode != 0:
        problems.append(f"the next call failed: exit code {following.exitcode}")
    compact(index)
    if documents(index) != held:
        problems.append("holds other documents at the end")
    problems += left_behind(index)
    return "after publishing" if changed else "before publishing", problems


def again(act: Act) -> None:
    """Do it once more; after a rollback that had happened there is nothing to go back to."""
    try:
        act()
    except InputError as error:
        if "keeps no earlier generation" not in str(error):
            raise
