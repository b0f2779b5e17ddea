"""Commands cut short: killed at a moment, or out of room. The index must hold what was acknowledged.

One index lives through all of it. After every cut it is opened and compared with what it may hold, and the
next write must succeed and leave nothing behind.
"""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.crash.world import (
    COMMAND,
    ENVIRONMENT,
    Change,
    State,
    add,
    build,
    compact,
    delete,
    problems_of,
    run,
    said_one_line,
    strays,
    verify_problems,
)
from index.disk.verify import verify
from index.disk.writer_lock import WriterLock

# "resume" is build --resume of a build that was killed before.
# With fewer documents the index is built anew.
_FEWEST = 20
VERBS = ("build", "resume", "add", "delete", "compact")
# The share of kills that are aimed at the time, as measured, in which the command holds the index.
_WHILE_WRITING = 0.85
_DISK_BYTES = 256 << 20

Note = Callable[[str], None]
Done = subprocess.CompletedProcess[str]


@dataclass
class Life:
    """An index on its way through the test. durations: seconds to the lock and to the end, by verb."""

    index: Path
    model: Path
    work: Path
    generator: random.Random
    base: State
    state: State = field(default_factory=dict)
    version: int = 0
    durations: dict[str, tuple[float, float]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def change(self, verb: str) -> Change:
        """The next change by a verb, of another version than all before."""
        self.version += 1
        if verb in ("build", "resume"):
            more = ("--resume",) if verb == "resume" else ()
            return build(self.index, self.model, self.work, self.base, self.version, *more)
        if verb == "add":
            return add(self.index, self.work, self.state, self.version, self.generator)
        return (
            delete(self.index, self.state, self.generator)
            if verb == "delete"
            else compact(self.index, self.state)
        )

    def next_change(self, cut: Change) -> Change:
        """The write after a cut: what was staged goes on; otherwise any."""
        if cut.verb == "build":
            more = () if "--resume" in cut.arguments else ("--resume",)
            return Change("build", (*cut.arguments, *more), cut.after)
        return self.change(self.generator.choice(["add", "delete", "compact"]))


def begin(index: Path, model: Path, work: Path, documents: int, generator: random.Random) -> Life:
    """Build the index that the rest is done to."""
    life = Life(index, model, work, generator, {f"d{n}": 0 for n in range(documents)})
    _restart(life)
    return life


def kills(life: Life, count: int, note: Note) -> list[dict[str, object]]:
    """Kill the verbs in turn until `count` were killed: a row a verb, of the moments that the kills met."""
    for verb in (*VERBS, *VERBS):  # the first time the machine's caches are cold
        _measure(life, verb)
    met: dict[str, Counter[str]] = {verb: Counter() for verb in VERBS}
    killed = 0
    while killed < count:
        verb = VERBS[killed % len(VERBS)]
        if len(life.state) < _FEWEST:  # on a busy machine many deletions finish before their kill
            _restart(life)
        moment = _kill(life, verb)
        met[verb][moment] += 1
        killed += moment != "finished first"
        note(f"kill {killed} of {count}: {verb}, {moment}; {len(life.failures)} failures")
    return [
        {"verb": verb, "killed": met[verb].total() - met[verb]["finished first"], **met[verb]}
        for verb in VERBS
    ]


def full_disks(life: Life, count: int, note: Note) -> list[dict[str, object]]:
    """Run the verbs in turn with too little room until `count` failed for it: a row a verb.

    The room is chosen at random below the least that was seen to suffice.
    """
    met: dict[str, Counter[str]] = {verb: Counter() for verb in VERBS if verb != "resume"}
    ceilings = dict.fromkeys(
        met, 3 * sum(file.stat().st_size for file in life.index.rglob("*") if file.is_file())
    )
    failed = 0
    while failed < count:
        verb = tuple(met)[failed % len(met)]
        room = life.generator.randrange(ceilings[verb])
        if _starve(life, verb, room):
            failed += 1
            met[verb]["failed"] += 1
        else:
            ceilings[verb] = max(room, 1)
            met[verb]["had room"] += 1
        note(f"full disk {failed} of {count}: {verb}, room {room}; {len(life.failures)} failures")
    return [{"verb": verb, "needs bytes": ceilings[verb], **counts} for verb, counts in met.items()]


@contextmanager
def small_disk(folder: Path) -> Iterator[bool]:
    """Mount a disk of little room there, and unmount it; False if that is not allowed."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={_DISK_BYTES}", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        mounted = False
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=False)


def _kill(life: Life, verb: str) -> str:
    """Start a verb, kill it, check; what was met: the moment of the kill."""
    if verb == "resume":
        first = life.change("build")
        _killed(life, first, life.durations["build"])
        change = Change("build", (*first.arguments, "--resume"), first.after)
        # It may have published before it died.
        held, found = problems_of(life.index, life.state, first.after)
        life.state = life.state if held is None else held
        life.failures += [f"killed build: {problem}" for problem in found]
    else:
        if verb == "compact":
            _make_holes(life)
        change = life.change(verb)
    before = life.state
    code, after_seconds = _killed(life, change, life.durations[verb])
    writing = (life.index / WriterLock.NAME).read_bytes() != b""
    name = f"{verb} killed after {after_seconds:.3f} s"
    if code not in (0, -signal.SIGKILL):
        life.failures.append(f"{name}: exit code {code}")
    held = _check(life, change, [change.after] if code == 0 else [before, change.after], name)
    if code == 0:
        lock, whole = life.durations[verb]
        life.durations[verb] = lock, (whole + after_seconds) / 2
        return "finished first"
    if held == change.after != before:
        return "after publishing"
    return "while writing" if writing else "before writing"


def _killed(life: Life, change: Change, duration: tuple[float, float]) -> tuple[int, float]:
    """Exit code of a command killed, with all of its group, at a random moment; and the moment."""
    lock, whole = duration
    inside = life.generator.random() < _WHILE_WRITING
    delay = life.generator.uniform(*((lock * 0.95, whole * 1.02) if inside else (0, whole)))
    process = _start(life, change)
    time.sleep(delay)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    return process.returncode, delay


def _start(life: Life, change: Change) -> subprocess.Popen[bytes]:
    (life.index / WriterLock.NAME).write_bytes(
        b""
    )  # so that what is there afterwards was written by this one
    return subprocess.Popen(
        [*COMMAND, change.verb, *change.arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=ENVIRONMENT,
        start_new_session=True,
    )


def _measure(life: Life, verb: str) -> None:
    """How long a verb takes until it has the lock, and in all."""
    if verb == "compact":
        _make_holes(life)
    change = life.change("build" if verb == "resume" else verb)
    if verb == "resume":
        _killed(life, change, life.durations["build"])
        change = Change("build", (*change.arguments, "--resume"), change.after)
    start = time.perf_counter()
    process = _start(life, change)
    locked = None
    while process.poll() is None:
        if locked is None and (life.index / WriterLock.NAME).read_bytes():
            locked = time.perf_counter() - start
        time.sleep(0.001)
    whole = time.perf_counter() - start
    life.durations[verb] = (whole / 2 if locked is None else locked, whole)
    if process.returncode:
        raise SystemExit(f"{verb} fails undisturbed: {run([change.verb, *change.arguments]).stderr.strip()}")
    life.state = change.after


def _starve(life: Life, verb: str, room: int) -> bool:
    """Run a verb with so many bytes of room and check; whether it failed."""
    if verb == "compact":
        _make_holes(life)
    change = life.change(verb)
    with _little_room(life.index.parent, room) as options:
        done = run([change.verb, *change.arguments], **options)
    if done.returncode == 0:
        life.state = change.after
        return False
    name = f"{verb} with {room} bytes of room"
    life.failures += [f"{name}: {problem}" for problem in said_one_line(done)]
    _check(life, change, [life.state], name)
    return True


def _make_holes(life: Life) -> None:
    """Delete something: an index that is compact already gives `compact` nothing to write."""
    change = life.change("delete")
    done = run([change.verb, *change.arguments])
    if done.returncode:
        raise SystemExit(f"delete fails undisturbed: {done.stderr.strip()}")
    life.state = change.after


@contextmanager
def _little_room(disk: Path, room: int) -> Iterator[dict[str, object]]:
    """So much room on the disk, if it is ours; otherwise in each file. Yields options for the process."""
    if not os.path.ismount(disk):
        yield {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))}
        return
    state = os.statvfs(disk)
    filler = disk / "filler"
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(1, state.f_bavail * state.f_frsize - room))
    try:
        yield {}
    finally:
        filler.unlink()


def _check(life: Life, change: Change, allowed: list[State], name: str) -> State | None:
    """Check that the index holds an allowed state, and that the next write succeeds and cleans up.

    Returns the state; None if it is none of them.
    """
    held, found = problems_of(life.index, *allowed)
    found += verify_problems(life.index)
    if held is not None:
        life.state = held
        following = life.next_change(change)
        done = run([following.verb, *following.arguments, "--json"])
        if done.returncode:
            found.append(f"the next write, {following.verb}, failed: {done.stderr.strip()[-300:]}")
        else:
            found += _problems_after(life, following, json.loads(done.stdout))
    life.failures += [f"{name}: {problem}" for problem in found]
    if found:
        _restart(life)
    return held


def _problems_after(life: Life, change: Change, said: dict[str, object]) -> list[str]:
    life.state = change.after
    _, found = problems_of(life.index, change.after)
    if said["documents"] != len(change.after):
        found.append(f"{change.verb} said {said['documents']} documents, there are {len(change.after)}")
    return found + verify(life.index) + strays(life.index)


def _restart(life: Life) -> None:
    """Put what failed aside and build anew, so that one failure does not look like many."""
    if life.index.exists():
        shutil.move(life.index, life.work / f"failed-{life.version}")
    change = life.change("build")
    run([change.verb, *change.arguments], check=True)
    life.state = change.after
