"""A small index whose true content is always known: its corpus, its model, changes to it, and checks of it.

A document's text carries a mark of its id and version, a word that no other document has, so that a search
can say which version of which document an index holds. Knows nothing of kills or damage.
"""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.common import ROOT
from index.disk.files import list_files
from index.disk.folder import CURRENT, STAGING, read_current, read_manifest
from index.disk.manifest import MANIFEST
from index.disk.verify import verify
from index.disk.writer_lock import WriterLock
from index.errors import PeepholeError
from retrieval.search.retriever import Retriever

COMMAND = (sys.executable, str(ROOT / "cli.py"))
# One thread each: the indexes are small, and the machine has other work.
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}

# Id -> version.
State = Mapping[str, int]

_SYLLABLES = ("ap", "ba", "cher", "dam", "el", "fi", "gra", "ha", "ki", "le", "man", "ne", "or", "pe", "qui")
_MARK = re.compile(r"\bmark([a-z0-9]+)x([0-9]+)\b")
_LEFTOVER = "left over from an earlier write; the next one removes it"
# How many documents the change of a living index adds, replaces or deletes.
_CHANGED = 10
# Documents whose words are looked up in every check, beside those that changed.
_LOOKED_UP = 100


@dataclass(frozen=True, slots=True)
class Change:
    """What one command does to an index: its arguments after the verb and the index, the content after it."""

    verb: str
    arguments: tuple[str, ...]
    after: State


def mark(name: str, version: int) -> str:
    """A word of one version of one document."""
    return f"mark{name}x{version}"


def record(name: str, version: int, more: str = "") -> dict[str, Any]:
    """The document `name` in this version, as a line of a JSONL corpus has it."""
    words = " ".join(_words(random.Random(f"{name} {version}"), 8))
    return {
        "_id": name,
        "title": f"title of {name}",
        "text": f"{words} {more} {mark(name, version)}",
        "version": version,
    }


def write_corpus(path: Path, state: State) -> Path:
    """A JSONL corpus of these documents."""
    path.write_text("".join(json.dumps(record(*item)) + "\n" for item in state.items()))
    return path


def make_model(folder: Path) -> Path:
    """A bag of words trained for a moment on words of our own."""
    data = folder / "data"
    (data / "qrels").mkdir(parents=True)
    names = [f"d{n}" for n in range(300)]
    write_corpus(data / "corpus.jsonl", dict.fromkeys(names, 0))
    queries = [{"_id": f"q{name}", "text": " ".join(record(name, 0)["text"].split()[:4])} for name in names]
    (data / "queries.jsonl").write_text("".join(json.dumps(query) + "\n" for query in queries))
    pairs = "".join(f"q{name}\t{name}\t1\n" for name in names)
    (data / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\n" + pairs)
    run(["train", str(data), "-o", str(folder / "model"), "--tower", "bag", "--epochs", "1"], check=True)
    return folder / "model"


def run(arguments: Iterable[str], *, check: bool = False, **options: Any) -> subprocess.CompletedProcess[str]:
    """The command with these arguments, in a process of its own."""
    command = [*COMMAND, *arguments]
    return subprocess.run(command, check=check, capture_output=True, text=True, env=ENVIRONMENT, **options)


def build(index: Path, model: Path, work: Path, state: State, version: int, *more: str) -> Change:
    """Build the index anew: every document in another version."""
    after = dict.fromkeys(state, version)
    corpus = write_corpus(work / f"corpus{version}.jsonl", after)
    return Change("build", (str(corpus), "-m", str(model), "-o", str(index), *more), after)


def add(index: Path, work: Path, state: State, version: int, generator: random.Random) -> Change:
    """Add new documents and replace some."""
    replaced = generator.sample(sorted(state), min(_CHANGED, len(state)))
    new = [f"n{version * _CHANGED + number}" for number in range(_CHANGED)]
    changed = dict.fromkeys([*replaced, *new], version)
    return Change("add", (str(index), str(write_corpus(work / "add.jsonl", changed))), {**state, **changed})


def sync(index: Path, work: Path, state: State, version: int, generator: random.Random) -> Change:
    """Make the index hold a corpus that lacks some documents, changes some and has new ones."""
    gone = generator.sample(sorted(state), min(_CHANGED, len(state) - 1))
    left = {name: known for name, known in state.items() if name not in gone}
    after = add(index, work, left, version, generator).after
    return Change("add", (str(index), str(write_corpus(work / "sync.jsonl", after)), "--sync"), after)


def delete(index: Path, state: State, generator: random.Random) -> Change:
    """Delete some documents."""
    gone = generator.sample(sorted(state), min(_CHANGED, len(state) - 1))
    return Change("delete", (str(index), *gone), {name: v for name, v in state.items() if name not in gone})


def compact(index: Path, state: State) -> Change:
    """Put the index into one segment; its content stays."""
    return Change("compact", (str(index),), state)


def identity(text: str) -> tuple[str, int] | None:
    """Id and version that a document's text is marked with."""
    found = _MARK.search(text)
    return None if found is None else (found[1], int(found[2]))


def contents(retriever: Retriever, most: int) -> dict[str, int]:
    """What a dense search for everything finds; ValueError if a text is not its document's."""
    found: dict[str, int] = {}
    for hit in retriever.search("apba", most, "dense"):
        name, version = identity(hit.text) or ("", 0)
        if name != hit.id or hit.id in found:
            raise ValueError(f"{hit.id!r} came with the text {hit.text!r}")
        found[hit.id] = version
    return found


def problems_of(index: Path, *states: State) -> tuple[State | None, list[str]]:
    """Which of the states the index holds completely, and what is wrong with it, if anything."""
    try:
        with Retriever.open(index, checksums=True) as retriever:
            held = contents(retriever, max(map(len, states)) + _CHANGED + 1)
            state = next((state for state in states if state == held), None)
            if state is None:
                return None, [
                    "holds neither what was before nor what came after: " + _differences(held, *states)
                ]
            return state, list(_lookups(retriever, state, states))
    except (PeepholeError, ValueError) as error:
        return None, [f"does not open or search: {error}"]


def _differences(held: State, *states: State) -> str:
    return "; ".join(
        f"lacks {sorted(state.items() - held.items())[:3]}, has {sorted(held.items() - state.items())[:3]}"
        for state in states
    )


def _lookups(retriever: Retriever, state: State, states: Iterable[State]) -> Iterator[str]:
    """Look up the documents that changed, and a sample of all, by id and by their own word."""
    everything = set[tuple[str, int]]().union(*(each.items() for each in states))
    changed = [item for item in everything if any(each.get(item[0]) != item[1] for each in states)]
    if len(changed) > _LOOKED_UP:  # a build changes them all
        changed = random.Random(0).sample(sorted(changed), _LOOKED_UP)
    items = [*changed, *random.Random(len(state)).sample(sorted(state.items()), min(_LOOKED_UP, len(state)))]
    answers = retriever.search_all([mark(*item) for item in items], 1, "lexical")
    for (name, version), hits in zip(items, answers, strict=True):
        found = [hit.id for hit in hits]
        if found != ([name] if state.get(name) == version else []):
            yield f"a search for version {version} of {name!r} found {found}"
        if (name in retriever) != (name in state):
            yield f"{name!r} is {'' if name in retriever else 'not '}found by its id"


def verify_problems(index: Path) -> list[str]:
    """What `verify` reports, but for leftovers that the next write removes."""
    return [f"verify: {problem}" for problem in verify(index) if not problem.endswith(_LEFTOVER)]


def strays(index: Path) -> list[str]:
    """What is in the folder of an index that nobody uses and neither its pointer nor its manifest names.

    A build or an addition that can be resumed is in use.
    """
    pointer = read_current(index)
    manifest = read_manifest(index, pointer)
    named = {f"{pointer.generation}/{name}" for name in (MANIFEST, *manifest.files)}
    named |= {CURRENT, WriterLock.NAME}
    folders = {parent.as_posix() for name in named for parent in Path(name).parents}
    there = [path.relative_to(index).as_posix() for path in index.rglob("*") if path.is_dir()]
    resumable = (index / STAGING / "staging.json").exists()
    return [
        f"stray: {name}"
        for name in [*list_files(index), *there]
        if name not in named | folders and not (resumable and Path(name).parts[0] == STAGING)
    ]


def said_one_line(done: subprocess.CompletedProcess[str]) -> list[str]:
    """A failure has exit code 1 and one line."""
    lines = done.stderr.splitlines()
    if (
        done.returncode == 1
        and len(lines) == 1
        and lines[0].startswith("Error: ")
        and "unexpected" not in lines[0]
    ):
        return []
    return [f"exit code {done.returncode}, said {done.stderr.strip()[-300:]!r}"]


def _words(generator: random.Random, count: int) -> list[str]:
    return ["".join(generator.choices(_SYLLABLES, k=2)) for _ in range(count)]
