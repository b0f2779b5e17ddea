"""Learning and rolling back, killed at random moments: the index stays whole, and nothing is left behind.

A small index goes through all of it. A process forked for it learns or rolls back and is killed; the index is
verified and its documents are compared. Then the same is done again, undisturbed, and nothing may be left but
the live generation, what it keeps, and the last model that was refused.
"""

from __future__ import annotations

import json
import multiprocessing
import random
import shutil
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.crash.world import make_model, record, run, strays
from index.disk.folder import read_current, read_manifest
from index.disk.previous import used_generations
from index.disk.verify import verify
from index.errors import InputError
from index.reader import Index
from retrieval.data.clicks.recorded import Clicked, Shown, encode
from retrieval.indexing.compact import compact
from retrieval.learning.learn import Settings, learn
from retrieval.learning.rollback import rollback
from retrieval.training.loop import Recipe

_DOCUMENTS = 450
_TOPICS = 15
_SESSIONS = 8
_SHOWN = 6
_SETTINGS = Settings(Recipe(epochs=8, batch=64, learning_rate=0.03, warmup=2))
_LEFTOVER = "left over from an earlier write; the next one removes it"
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
        "learn": partial(learn, index, log, settings=_SETTINGS),
        "rollback": partial(rollback, index),
    }
    starts = {verb: work / f"before {verb}" for verb in acts}
    _make(starts["learn"], log, work, generator)
    durations = {}
    for verb, act in acts.items():
        shutil.copytree(starts[verb], index, dirs_exist_ok=True)
        durations[verb] = _undisturbed(act)
        if verb == "learn":
            _require(read_current(index).generation == "generation-000002", "learning published nothing")
            index.rename(starts["rollback"])
            _change(starts["rollback"])
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
    _require(process.exitcode == 0, "fails undisturbed")
    return time.perf_counter() - start


def _kill(index: Path, act: Act, after_seconds: float) -> tuple[str, list[str]]:
    """Kill an act, check the index, do the act again, check again; what was met, and what is wrong."""
    before, documents = read_current(index), _documents(index)
    process = _FORK.Process(target=act)
    process.start()
    process.join(after_seconds)
    process.kill()
    process.join()
    problems = [problem for problem in verify(index) if not problem.endswith(_LEFTOVER)]
    if _documents(index) != documents:
        problems.append("holds other documents than before")
    changed = read_current(index) != before
    if process.exitcode == 0:
        return "finished first", problems
    again = _FORK.Process(target=_again, args=(act,))
    again.start()
    again.join()
    if again.exitcode != 0:
        problems.append(f"the next call failed: exit code {again.exitcode}")
    compact(index)
    if _documents(index) != documents:
        problems.append("holds other documents at the end")
    problems += verify(index) + _strays(index)
    return "after publishing" if changed else "before publishing", problems


def _again(act: Act) -> None:
    """Do it once more; after a rollback that had happened there is nothing to go back to."""
    try:
        act()
    except InputError as error:
        if "keeps no earlier generation" not in str(error):
            raise


def _documents(index: Path) -> dict[str, str]:
    with Index.open(index, checksums=True) as opened:
        return {document.id: document.text for document in opened.live_documents()}


def _strays(index: Path) -> list[str]:
    """What is neither of the index nor of the generations that it keeps nor a model that was refused."""
    used = used_generations(index, read_manifest(index, read_current(index)))
    known = [f"stray: {name}" for name in (*used, ".learning/refused")]
    return [
        name
        for name in strays(index)
        if name not in ("stray: .learning", "stray: .learning/.lock") and not name.startswith(tuple(known))
    ]


def _make(index: Path, log: Path, work: Path, generator: random.Random) -> None:
    """An index whose model knows nothing of the questions, and clicks that tell their answers."""
    topics = {f"d{n}": n % _TOPICS for n in range(_DOCUMENTS)}
    records = (record(name, 1, f"answer{topic}") for name, topic in topics.items())
    (work / "corpus.jsonl").write_text("".join(json.dumps(each) + "\n" for each in records))
    model = make_model(work / "made")
    run(["build", str(work / "corpus.jsonl"), "-m", str(model), "-o", str(index)], check=True)
    names = list(topics)
    with log.open("wb") as file:
        for name, topic in topics.items():
            for _ in range(_SESSIONS):
                others = [other for other in names if topics[other] != topic]
                shown = [name, *generator.sample(others, _SHOWN - 1)]
                generator.shuffle(shown)
                rank, search = shown.index(name) + 1, f"{generator.getrandbits(64):016x}"
                time_, query = "2026-11-28T12:00:00Z", f"question{topic} of {name[::-1]}"
                file.write(encode(Shown(time_, search, query, "hybrid", 0, tuple(shown))))
                if generator.random() < 1 / rank**0.5:
                    file.write(encode(Clicked(time_, search, name, rank)))


def _change(index: Path) -> None:
    """Add and delete documents, so that going back has something to encode."""
    new = index.parent / "new.jsonl"
    new.write_text("".join(json.dumps(record(f"n{n}", 1)) + "\n" for n in range(20)))
    run(["add", str(index), str(new)], check=True)
    run(["delete", str(index), "d1", "d2"], check=True)


def _require(holds: bool, problem: str) -> None:
    if not holds:
        raise SystemExit(problem)
