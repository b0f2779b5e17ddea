"""Commands killed at every step that changes what the disk holds, one after another; no chance involved.

A step is a file opened for writing, a sync, a rename, link or removal, a folder made, or a transaction of
SQLite. Syncs are not really made: the kernel survives such a kill, so that nothing written is lost.
Run as a script it is the process that forks a command for every step: each starts from the same index and is
killed right before its nth step.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.crash.world import (
    ENVIRONMENT,
    Change,
    State,
    add,
    build,
    compact,
    delete,
    problems_of,
    strays,
    sync,
    verify_problems,
)
from index.disk.verify import verify

VERBS = ("build", "resume", "add", "sync", "delete", "compact")
_DOCUMENTS = 40
_SHARD = 15
_EVENTS = frozenset(
    {"os.rename", "os.link", "os.remove", "os.rmdir", "os.mkdir", "os.symlink", "os.truncate"}
)
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


def steps(
    model: Path, stride: int = 1, verbs: Sequence[str] = VERBS
) -> tuple[list[dict[str, Any]], list[str]]:
    """Kill the verbs at every `stride`th step: a row for each verb, and what went wrong."""
    memory = "/dev/shm"  # SQLite syncs by itself; where the disk is memory, that costs nothing
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as work:
        command = [sys.executable, "-m", "benchmarks.crash.steps", work, str(model), str(stride), *verbs]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT, check=True)
    found = json.loads(done.stdout)
    return found["rows"], found["failures"]


def child(work: Path, model: Path, stride: int, verbs: Sequence[str]) -> dict[str, Any]:
    """Kill every verb; the first run of each, undisturbed, loads whatever is loaded late."""
    import retrieval.indexing.passages

    retrieval.indexing.passages._DOCUMENTS_PER_SHARD = (
        _SHARD  # several checkpoints in a build of few documents
    )
    os.fsync = lambda handle: None
    old, state = _lived_in(work, model)
    rows, failures = [], []
    for verb in verbs:
        start = old
        if verb == "resume":
            start = work / "staged"
            _staged(work, model, old, start, state)
        killed, last, found = 0, 0, []
        for step in itertools.count(1, stride):
            index = work / "index"
            shutil.rmtree(index, ignore_errors=True)
            shutil.copytree(start, index)
            change = _change(verb, index, work, model, state)
            code = _fork(change, step)
            found = _problems(index, work, state, change, code, step // stride)
            failures += [f"{verb} killed before step {step}: {problem}" for problem in found]
            if code != -signal.SIGKILL:
                break
            killed, last = killed + 1, step
        rows.append({"verb": verb, "killed": killed, "last step": last})
    return {"rows": rows, "failures": failures}


def _lived_in(work: Path, model: Path) -> tuple[Path, State]:
    """An index of two segments, with documents replaced and deleted."""
    old = work / "old"
    generator = random.Random(0)
    change = build(old, model, work, {f"d{n}": 0 for n in range(_DOCUMENTS)}, 1)
    _run(change)
    change = add(old, work, change.after, 2, generator)
    _run(change)
    change = delete(old, change.after, generator)
    _run(change)
    return old, change.after


def _staged(work: Path, model: Path, old: Path, staged: Path, state: State) -> None:
    """The index with a build beside it that was killed when two of its checkpoints were done."""
    shutil.copytree(old, staged)
    commits = 0

    def third_checkpoint(what: str) -> bool:
        nonlocal commits
        commits += what.startswith("COMMIT")
        return commits == 3

    _fork_until(_change("build", staged, work, model, state), third_checkpoint)


def _change(verb: str, index: Path, work: Path, model: Path, state: State) -> Change:
    generator = random.Random(1)
    if verb in ("build", "resume"):
        base = {f"d{n}": 0 for n in range(_DOCUMENTS)}
        return build(index, model, work, base, 3, *(["--resume"] if verb == "resume" else []))
    if verb == "add":
        return add(index, work, state, 3, generator)
    if verb == "sync":
        return sync(index, work, state, 3, generator)
    return delete(index, state, generator) if verb == "delete" else compact(index, state)


def _fork(change: Change, step: int) -> int:
    """Exit code of a command killed before its step of this number, from 1."""
    taken = 0

    def at_step(what: str) -> bool:
        nonlocal taken
        taken += 1
        return taken == step

    return _fork_until(change, at_step)


def _fork_until(change: Change, last: Callable[[str], bool]) -> int:
    """Exit code of a command killed before the first step for which `last` holds."""
    process = os.fork()
    if process == 0:
        try:
            watch(last)
            _run(change)
        except BaseException as error:
            print(f"{change.verb}: {error!r}", file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def watch(last: Callable[[str], bool]) -> None:
    """Kill this process before the first step for which `last` holds."""

    def step(what: str) -> None:
        if last(what):
            os.kill(os.getpid(), signal.SIGKILL)

    def traced(statement: str) -> None:
        if statement.startswith(("BEGIN", "COMMIT", "VACUUM")):
            step(statement)

    def heard(event: str, arguments: tuple[Any, ...]) -> None:
        if event in _EVENTS or (event == "open" and arguments[2] & _WRITES):
            step(event)

    def fsync(handle: Any) -> None:
        step("fsync")

    def opened(*arguments: Any, **options: Any) -> sqlite3.Connection:
        database = connect(*arguments, **options)
        database.set_trace_callback(traced)
        return database

    connect = sqlite3.connect
    os.fsync, sqlite3.connect = fsync, opened
    sys.addaudithook(heard)


def _problems(index: Path, work: Path, state: State, change: Change, code: int, number: int) -> list[str]:
    """What is wrong after a kill, and after the write that follows it, chosen by number."""
    if code not in (0, -signal.SIGKILL):
        return [f"exit code {code}"]
    held, found = problems_of(index, *([change.after] if code == 0 else [state, change.after]))
    found += verify_problems(index)
    if held is None:
        return found
    following = _following(change, index, work, held, number)
    try:
        _run(following)
    except Exception as error:  # whatever the next write meets is what this test is to find
        return [*found, f"the next write, {following.verb}, failed: {error!r}"]
    return [*found, *problems_of(index, following.after)[1], *verify(index), *strays(index)]


def _following(change: Change, index: Path, work: Path, held: State, number: int) -> Change:
    """What was staged goes on, or, where that may be thrown away, any other change in turn."""
    if change.verb == "build" or (change.verb == "add" and number % 4 == 3):
        more = () if "--resume" in change.arguments else ("--resume",)
        return Change(change.verb, (*change.arguments, *more), change.after)
    if number % 4 == 0:
        return add(index, work, held, 4, random.Random(2))
    return compact(index, held) if number % 4 == 1 else delete(index, held, random.Random(2))


def _run(change: Change) -> None:
    """The command, in this process."""
    from cli import verbs

    with contextlib.redirect_stdout(io.StringIO()):
        verbs.main([change.verb, *change.arguments], standalone_mode=False)


if __name__ == "__main__":
    print(json.dumps(child(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])))
