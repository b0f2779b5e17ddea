"""Damage to the files of an index: flips, truncations, swaps, removed and emptied files.

Run as a script it is the child that may die of what it reads: it damages, looks, puts back, and prints a line
of JSON before and after every case.
"""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.crash.world import ENVIRONMENT, contents, mark
from index.disk.files import list_files
from index.disk.verify import verify
from index.disk.writer_lock import WriterLock
from index.errors import PeepholeError
from retrieval.search.hits import Hit
from retrieval.search.retriever import Retriever

KINDS = ("flip", "truncate", "swap", "remove", "empty")
# A case that takes longer hangs.
_PATIENCE_SECONDS = 60

Note = Callable[[str], None]


def damages(
    index: Path, copy: Path, state: Mapping[str, int], count: int, seed: int, note: Note
) -> tuple[list[dict[str, object]], list[str]]:
    """Damage copies of an index `count` times: a row for each kind, and what went wrong."""
    met = {kind: Counter[str]() for kind in KINDS}
    failures: list[str] = []
    done = 0
    while done < count:
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(index, copy)
        case = {"number": done, "what": "nothing yet"}
        for case in _child(copy, state, done, count, seed):
            if "outcomes" in case:
                done = case["number"] + 1
                met[case["kind"]].update(case["outcomes"])
                failures += [
                    f"case {case['number']}, {case['what']}: {problem}" for problem in case["failures"]
                ]
                if done % 50 == 0:
                    note(f"damage {done} of {count}; {len(failures)} failures")
        if done < count:
            failures.append(f"case {done}, {case['what']}: ended the process ({case['code']})")
            done += 1
    return [{"kind": kind, "cases": met[kind]["cases"], **met[kind]} for kind in KINDS], failures


def _child(
    copy: Path, state: Mapping[str, int], first: int, count: int, seed: int
) -> Iterator[dict[str, Any]]:
    """The lines of a child, and a last one with how it ended."""
    command = [sys.executable, "-m", "benchmarks.crash.damage", str(copy), str(first), str(count), str(seed)]
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )
    assert process.stdin is not None and process.stdout is not None and process.stderr is not None
    process.stdin.write(json.dumps(state))
    process.stdin.close()
    case: dict[str, Any] = {"number": first, "what": "opening"}
    for line in process.stdout:
        case = json.loads(line)
        yield case
    said = process.stderr.read().strip()[-300:]
    if process.wait():
        yield {"number": case["number"], "what": case["what"], "code": f"exit {process.returncode}, {said}"}


def child(index: Path, first: int, count: int, seed: int, state: Mapping[str, int]) -> None:
    """Damage, look, put back."""
    with Retriever.open(index) as retriever:
        truth = _answers(retriever, state)
    files = [name for name in list_files(index) if name != WriterLock.NAME]
    for number in range(first, count):
        signal.alarm(_PATIENCE_SECONDS)
        generator = random.Random(f"{seed} {number}")
        kind = KINDS[number % len(KINDS)]
        with damaged(index, files, kind, generator) as what:
            case: dict[str, Any] = {"number": number, "kind": kind, "what": what}
            print(json.dumps(case), flush=True)
            outcomes, failures = _look(index, state, truth)
        print(json.dumps({**case, "outcomes": outcomes, "failures": failures}), flush=True)


@contextmanager
def damaged(index: Path, files: list[str], kind: str, generator: random.Random) -> Iterator[str]:
    """Damage one or two files as long as the block lasts; yields what was done."""
    data: dict[Path, bytes] = {}
    while not data:
        name, other = generator.sample(files, 2)
        before = (index / name).read_bytes()
        if kind == "swap" and (index / other).read_bytes() != before:
            data = {index / name: before, index / other: (index / other).read_bytes()}
        elif kind != "swap" and (before or kind == "remove"):
            data = {index / name: before}
    path = index / name
    what = f"{kind} of {name}"
    if kind == "flip":
        at, bit = generator.randrange(len(before)), generator.randrange(8)
        path.write_bytes(before[:at] + bytes([before[at] ^ 1 << bit]) + before[at + 1 :])
        what += f", bit {bit} of byte {at}"
    elif kind == "truncate":
        size = generator.randrange(len(before))
        path.write_bytes(before[:size])
        what += f" to {size} bytes"
    elif kind == "swap":
        path.write_bytes(data[index / other])
        (index / other).write_bytes(before)
        what += f" and {other}"
    elif kind == "remove":
        path.unlink()
    else:
        path.write_bytes(b"")
    try:
        yield what
    finally:
        for place, content in data.items():
            place.write_bytes(content)


def _look(index: Path, state: Mapping[str, int], truth: list[Any]) -> tuple[list[str], list[str]]:
    """What was met, and what must not be."""
    outcomes, failures = ["cases"], []
    if _is_reported(index):
        outcomes.append("reported")
    else:
        failures.append("verify reports nothing")
    for checksums in (False, True):
        when = "with" if checksums else "without"
        try:
            with Retriever.open(index, checksums=checksums) as retriever:
                answers = _answers(retriever, state)
        except PeepholeError:
            outcomes.append(f"refused {when} checksums")
        except Exception as error:  # whatever else a reader raises is what this test is to find
            failures.append(f"raises {type(error).__name__} {when} checksums: {error}")
        else:
            outcomes.append(f"{'right' if answers == truth else 'wrong'} answers {when} checksums")
            if checksums and answers != truth:
                failures.append("answers wrongly with checksums")
    return outcomes, failures


def _is_reported(index: Path) -> bool:
    """Whether `verify` prints a problem; that there is no index any more is one as well."""
    try:
        return bool(verify(index))
    except PeepholeError:
        return True


def _answers(retriever: Retriever, state: Mapping[str, int]) -> list[Any]:
    """What a user may see of an index: searches of every mode, everything, and ids."""
    some = list(state.items())[:: max(1, len(state) // 20)]
    found: list[Any] = []
    for mode in ("dense", "lexical", "hybrid"):
        answers = retriever.search_all([f"apba {mark(*item)}" for item in some], 10, mode)
        found += [[_shown(hit) for hit in hits] for hits in answers]
    found.append([name in retriever for name, _ in some])
    try:
        found.append(sorted(contents(retriever, len(state) + 10)))
    except ValueError as error:  # a text that is not its document's: wrong, and seen to be so
        found.append(str(error))
    return found


def _shown(hit: Hit) -> tuple[object, ...]:
    return hit.id, round(hit.score, 5), hit.title, hit.text


if __name__ == "__main__":
    child(Path(sys.argv[1]), *map(int, sys.argv[2:5]), json.load(sys.stdin))
