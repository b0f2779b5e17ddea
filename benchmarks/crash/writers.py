"""Several processes write to an index while several read it.

Writers own groups of documents, put a new version of a whole group or delete it, and log each change before
it starts and when it is acknowledged. Readers look a group up and hold what they find against the log: the
group is there as a whole in one version or not at all, and never older than what was acknowledged before
they looked.
Run as a script it is one of these processes.
"""

from __future__ import annotations

import contextlib
import io
import json
import random
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.crash.world import (
    ENVIRONMENT,
    State,
    identity,
    mark,
    problems_of,
    record,
    run,
    strays,
    verify_problems,
    write_corpus,
)
from index.disk.verify import verify
from index.disk.writer_lock import WriterLock
from index.errors import PeepholeError
from retrieval.search.retriever import Retriever

_GROUPS = 6
_GROUP = 5
_COMPACT_EVERY = 20
_DELETE = 0.3
_WAIT_SECONDS = 60

Note = Callable[[str], None]


class Entry(NamedTuple):
    """A line of a writer's log. gone: the change deletes the group."""

    number: int
    group: int
    gone: bool
    done: bool


@dataclass(frozen=True, slots=True)
class Found:
    """The outcome. state: the documents that all acknowledged changes leave."""

    rows: list[dict[str, object]]
    failures: list[str]
    state: State


def write_and_read(
    index: Path, work: Path, base: State, writers: int, readers: int, seconds: float, seed: int, note: Note
) -> Found:
    """Let writers and readers work for some seconds, then compare the index with what was acknowledged."""
    roles = [("write", n) for n in range(writers)] + [("read", n) for n in range(readers)]
    processes = {}
    for role, number in roles:
        arguments = [role, str(index), str(work), str(number), str(seconds), str(seed), str(writers)]
        processes[role, number] = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.crash.writers", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=ENVIRONMENT,
        )
    note(f"{writers} writers and {readers} readers for {seconds:g} s")
    rows, failures = [], []
    for (role, number), process in processes.items():
        said, complaint = process.communicate()
        name = f"{role} {number}"
        if process.returncode:
            failures.append(f"{name}: exit {process.returncode}, {complaint.strip()[-300:]}")
            continue
        counts = json.loads(said)
        failures += [f"{name}: {problem}" for problem in counts.pop("failures")]
        rows.append({"process": name, **counts})
    state = dict(base)
    for number in range(writers):
        state |= acknowledged(work, number)
    failures += problems_of(index, state)[1] + verify_problems(index)
    # What a reader held while the last writer swept goes with the next write.
    run(["compact", str(index)], check=True)
    failures += problems_of(index, state)[1] + verify(index) + strays(index)
    return Found(rows, failures, state)


def told_to_wait(index: Path, work: Path) -> list[str]:
    """A writer that meets another one fails with one line; given time it waits, and fails after that."""
    corpus = str(write_corpus(work / "told.jsonl", {"d0": 0}))
    found = []
    with WriterLock(index):
        for more in ([], ["--wait", "1"]):
            start = time.perf_counter()
            done = run(["add", str(index), corpus, *more])
            lines = done.stderr.splitlines()
            if done.returncode != 1 or len(lines) != 1 or "another writer" not in lines[0]:
                found.append(
                    f"add {more} beside a writer: exit {done.returncode}, {done.stderr.strip()[-300:]!r}"
                )
            if more and time.perf_counter() - start < 1:
                found.append("did not wait as it was told")
    return found


def acknowledged(work: Path, writer: int) -> dict[str, int]:
    """The documents that the writer's acknowledged changes leave."""
    last = {entry.group: entry for entry in _log(work, writer) if entry.done}
    return {
        name: entry.number
        for entry in last.values()
        if not entry.gone
        for name in _names(writer, entry.group)
    }


def write(index: Path, work: Path, number: int, seconds: float, seed: int) -> dict[str, Any]:
    """Change the index, one acknowledged change after another."""
    generator = random.Random(f"{seed} write {number}")
    counts: dict[str, Any] = {"changes": 0, "slowest_s": 0.0, "failures": []}
    present: set[int] = set()
    corpus = work / f"writer{number}.jsonl"
    end = time.perf_counter() + seconds
    with _log_path(work, number).open("w") as log:
        while time.perf_counter() < end:
            counts["changes"] += 1
            version, group = counts["changes"], generator.randrange(_GROUPS)
            gone = group in present and generator.random() < _DELETE
            start = time.perf_counter()
            if version % _COMPACT_EVERY == 0:
                _command(["compact", str(index)])
            else:
                _append(log, Entry(version, group, gone, False))
                _change(index, corpus, number, group, version, gone)
                _append(log, Entry(version, group, gone, True))
                (present.discard if gone else present.add)(group)
            counts["slowest_s"] = round(max(counts["slowest_s"], time.perf_counter() - start), 3)
    return counts


def read(index: Path, work: Path, number: int, seconds: float, seed: int, writers: int) -> dict[str, Any]:
    """Move to the newest generation and look at it, again and again."""
    generator = random.Random(f"{seed} read {number}")
    counts: dict[str, Any] = {"reads": 0, "refreshed": 0, "reopened": 0, "failures": []}
    end = time.perf_counter() + seconds
    retriever = Retriever.open(index)
    while time.perf_counter() < end:
        counts["reads"] += 1
        writer, group = generator.randrange(writers), generator.randrange(_GROUPS)
        try:
            before = _log(work, writer)
            if generator.random() < 0.1:
                retriever.close()
                retriever = Retriever.open(index, checksums=generator.random() < 0.5)
                counts["reopened"] += 1
            else:
                counts["refreshed"] += retriever.refresh()
            problem = _looked_at(retriever, writer, group, before, lambda writer=writer: _log(work, writer))
            problem = problem or _looked_around(retriever, generator)
        except (PeepholeError, ValueError) as error:
            problem = f"{type(error).__name__}: {error}"
        if problem:
            counts["failures"].append(problem)
    retriever.close()
    return counts


def _looked_at(
    retriever: Retriever, writer: int, group: int, before: list[Entry], log: Callable[[], list[Entry]]
) -> str | None:
    """What is wrong with how a group is found."""
    hits = retriever.search(_group_word(writer, group), 2 * _GROUP, "lexical")
    found = {identity(hit.text) for hit in hits}
    versions = {one[1] for one in found if one}
    last = next((entry for entry in reversed(before) if entry.group == group and entry.done), None)
    oldest = last.number if last else 0
    if not hits:
        later = [entry for entry in log() if entry.group == group and entry.number > oldest and entry.gone]
        return None if last is None or last.gone or later else f"group {group} of version {oldest} is lost"
    (version,) = versions if len(versions) == 1 else (-1,)
    if found != {(name, version) for name in _names(writer, group)} or len(hits) != _GROUP:
        return f"group {group} is found in part: {sorted(map(str, found))}"
    if version < oldest or (last is not None and last.gone and version == oldest):
        return f"group {group} is found in version {version}, {oldest} was acknowledged"
    return None


def _looked_around(retriever: Retriever, generator: random.Random) -> str | None:
    """What is wrong with searches for a document that nobody changes."""
    word = mark(f"d{generator.randrange(100)}", 1)
    (hit,) = retriever.search(word, 1, "lexical")
    for mode in ("dense", "hybrid"):
        hits = retriever.search(hit.text, 10, mode)
        if len({one.id for one in hits}) != 10 or hit.id not in {one.id for one in hits}:
            return f"a {mode} search for the text of {hit.id!r} finds {[one.id for one in hits]}"
    return None


def _change(index: Path, corpus: Path, writer: int, group: int, version: int, gone: bool) -> None:
    names = _names(writer, group)
    if gone:
        _command(["delete", str(index), *names])
        return
    records = [record(name, version, _group_word(writer, group)) for name in names]
    corpus.write_text("".join(json.dumps(one) + "\n" for one in records))
    _command(["add", str(index), str(corpus)])


def _command(arguments: list[str]) -> None:
    """The command as a person runs it, but in this process: starting one takes longer than the change."""
    from cli import verbs

    with contextlib.redirect_stdout(io.StringIO()):
        verbs.main([*arguments, "--wait", str(_WAIT_SECONDS)], standalone_mode=False)


def _names(writer: int, group: int) -> list[str]:
    return [f"w{writer}g{group}m{member}" for member in range(_GROUP)]


def _group_word(writer: int, group: int) -> str:
    return f"group{writer}y{group}"


def _log_path(work: Path, writer: int) -> Path:
    return work / f"writer{writer}.log"


def _append(log: io.TextIOBase, entry: Entry) -> None:
    log.write(json.dumps(entry) + "\n")
    log.flush()


def _log(work: Path, writer: int) -> list[Entry]:
    path = _log_path(work, writer)
    if not path.exists():
        return []
    # A line may be in the middle of being written.
    return [
        Entry(*json.loads(line)) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")
    ]


def main(role: str, index: str, work: str, *numbers: str) -> None:
    """One of the processes; prints its counts as JSON."""
    number, seconds, seed, writers = int(numbers[0]), float(numbers[1]), int(numbers[2]), int(numbers[3])
    if role == "write":
        counts = write(Path(index), Path(work), number, seconds, seed)
    else:
        counts = read(Path(index), Path(work), number, seconds, seed, writers)
    print(json.dumps(counts))


if __name__ == "__main__":
    main(*sys.argv[1:])
