"""What an index costs as it grows, from ten thousand documents to all there are: time, memory, recall, speed.

    python -m benchmarks.scale --corpus CORPUS.jsonl.gz (--model MODEL | --data DATA) [--work FOLDER]
                               [--sizes 10000 60000 0] [--targets .9 .95 .99] [--queries FILE]
                               [--part build search shell change] [--threads N]

CORPUS: documents as JSONL, also gzipped; a size is its first so many documents, 0 all. One document in 10,000
gets the metadata rare=yes. MODEL, or DATA, a BEIR folder to train a bag of words on. QUERIES: one a line that
no tuning has seen; without, pieces of documents that the index holds. FOLDER keeps corpora and indexes, so
that parts run alone; the parts are build, search (recall, latency, rate, filters, in a process of its own),
shell (the whole process of `peephole search`) and change (add and delete of 100 documents, on a copy).

Prints a table and merges what was measured into benchmarks/results/scale.json. Memory is what a process
and the workers it started had of their own (RssAnon) at most, sampled, and the process' VmHWM, which also
counts pages of files that it mapped.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

from benchmarks.common import RESULTS, ROOT, aligned, command_of, parser_of, write_result
from benchmarks.scale.processes import memory_mb, own_mb
from retrieval.evaluation.provenance import provenance

COMMAND = (sys.executable, str(ROOT / "cli.py"))
PARTS = ("build", "search", "shell", "change")
CHANGED = 100
SHELL_RUNS = 15
RARE_EVERY = 10_000
QUERIES = 2000
# Between two looks at a process' memory: a hundredth of its time so far, so that looking costs little.
_SAMPLE_SECONDS = 0.02
_LONGEST_SAMPLE_SECONDS = 0.5


class Cost(NamedTuple):
    """Of a process: seconds; processor seconds, workers' too; MiB at its peak, memory of its own and all it
    had in memory; MiB read.
    """

    seconds: float
    processor_s: float
    own_mb: float
    resident_mb: float
    read_mb: float
    said: str


class Place(NamedTuple):
    """Where everything of one size and target is. target: 0 for an exact index."""

    work: Path
    size: int
    target: float

    @property
    def name(self) -> str:
        return f"{self.size or 'all'}@{self.target:g}"

    @property
    def corpus(self) -> Path:
        return self.work / f"corpus-{self.size or 'all'}.jsonl.gz"

    @property
    def rare(self) -> Path:
        return self.work / f"rare-{self.size or 'all'}.jsonl"

    @property
    def index(self) -> Path:
        return self.work / f"{self.name}.index"


def watched(command: Sequence[str], threads: int) -> Cost:
    """Run a command to its end and watch what it takes."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(ROOT)}
    own = resident = 0.0
    start = time.perf_counter()
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, stdout=said, env=environment)
        while True:
            ended, status, usage = os.wait4(process.pid, os.WNOHANG)
            if ended:
                break
            own = max(own, own_mb(process.pid))
            resident = max(resident, memory_mb(process.pid, "VmHWM"))
            elapsed = time.perf_counter() - start
            time.sleep(min(max(_SAMPLE_SECONDS, elapsed / 100), _LONGEST_SAMPLE_SECONDS))
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        text = said.read().decode()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed ({process.returncode})")
    processor = round(usage.ru_utime + usage.ru_stime, 3)
    return Cost(
        round(seconds, 3), processor, round(own, 1), resident, round(usage.ru_inblock / 2048, 1), text
    )


def prepare(corpus: Path, place: Place) -> None:
    """The first documents of the corpus, gzipped, some of them marked as rare; those also by themselves."""
    if place.corpus.exists() and place.rare.exists():
        return
    place.work.mkdir(parents=True, exist_ok=True)
    unfinished = place.corpus.with_suffix(".part")
    with gzip.open(unfinished, "wt", encoding="utf-8", compresslevel=1) as out, place.rare.open("w") as rare:
        for number, line in enumerate(islice(lines(corpus), place.size or None)):
            if number % RARE_EVERY == RARE_EVERY // 2:
                line = json.dumps({**json.loads(line), "metadata": {"rare": "yes"}}) + "\n"
                rare.write(line)
            out.write(line)
    unfinished.rename(place.corpus)


def lines(corpus: Path) -> Iterator[str]:
    """Lines of a text file, unpacked."""
    with cast(
        IO[str], gzip.open(corpus, "rt", encoding="utf-8") if corpus.suffix == ".gz" else corpus.open()
    ) as file:
        yield from file


def pieces(corpus: Path) -> Iterator[str]:
    """Some of the words of some of the documents, in their order: what a person recalls of them.

    The corpus is read twice, for its texts may be more than fit in memory.
    """
    generator = random.Random(2)
    many = sum(1 for _ in _long_texts(corpus))
    places = generator.sample(range(many), min(QUERIES, many))
    chosen = set(places)
    texts = {place: words for place, words in enumerate(_long_texts(corpus)) if place in chosen}
    for words in map(texts.__getitem__, places):
        kept = sorted(generator.sample(range(min(len(words), 24)), 4))
        yield " ".join(words[at] for at in kept)


def _long_texts(corpus: Path) -> Iterator[list[str]]:
    for line in lines(corpus):
        words = json.loads(line).get("text", "").split()
        if len(words) >= 6:
            yield words


def build(place: Place, model: Path, threads: int) -> dict[str, Any]:
    """Build the index; its cost, and what it is."""
    shutil.rmtree(place.index, ignore_errors=True)
    goal = ["--recall", f"{place.target:g}"] if place.target else []
    command = [sys.executable, "-m", "benchmarks.scale.building"]
    cost = watched([*command, str(place.corpus), str(model), str(place.index), *goal], threads)
    facts = json.loads(cost.said)
    files = [path for path in place.index.rglob("*") if path.is_file()]
    parts: dict[str, int] = {}
    for path in files:
        parts[path.name] = parts.get(path.name, 0) + path.stat().st_size
    return {
        "documents": facts["documents"],
        "build_s": cost.seconds,
        "processor_s": cost.processor_s,
        "phases": facts["phases"],
        "documents_per_s": round(facts["documents"] / cost.seconds),
        "own_mb": cost.own_mb,
        "resident_mb": cost.resident_mb,
        "bytes": sum(parts.values()),
        "bytes_of": dict(sorted(parts.items(), key=lambda item: -item[1])[:8]),
        "faiss": [segment["faiss"] for segment in facts["segments"]],
        "parameters": [segment["parameters"] for segment in facts["segments"]],
        "promised": facts.get("recall", {}),
    }


def search(place: Place, queries: Path, threads: int, exact: int, timed: int) -> dict[str, Any]:
    """What a process of its own measures."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.scale.search",
        str(place.index),
        str(queries),
        "--rare",
        str(place.rare),
    ]
    found: dict[str, Any] = json.loads(
        watched([*command, "--exact", str(exact), "--timed", str(timed)], threads).said
    )
    return found


def shell(place: Place, queries: Path, threads: int) -> dict[str, Any]:
    """`peephole search` from start to end; the first run is left out.

    And once with none of the index in the system's memory: what it then reads is what a query needs.
    """
    with queries.open(encoding="utf-8") as file:
        asked = [line.strip() for line in islice(file, SHELL_RUNS + 1)]
    found: dict[str, Any] = {}
    for mode in ("dense", "hybrid"):
        costs = [
            watched([*COMMAND, "search", str(place.index), query, "--mode", mode], threads) for query in asked
        ][1:]
        found[mode] = {
            "p50_ms": round(1000 * statistics.median(cost.seconds for cost in costs), 1),
            "resident_mb": max(cost.resident_mb for cost in costs),
            "own_mb": max(cost.own_mb for cost in costs),
        }
        _evict(place.index)
        cold = watched([*COMMAND, "search", str(place.index), asked[0], "--mode", mode], threads)
        found[mode] |= {"cold_ms": round(1000 * cold.seconds), "cold_read_mb": cold.read_mb}
    return found


def _evict(index: Path) -> None:
    for path in index.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def change(place: Place, threads: int) -> dict[str, Any]:
    """Seconds to add and to delete 100 documents of an index, start of the process included."""
    copy = place.work / "changed.index"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(place.index, copy, copy_function=_linked)
    new = place.work / "new.jsonl"
    names = [f"new-{number}" for number in range(CHANGED)]
    new.write_text(
        "".join(
            json.dumps({"_id": name, "title": name, "text": f"a new package {name}"}) + "\n" for name in names
        )
    )
    found = {}
    for what, arguments in {
        "add": ["add", str(copy), str(new)],
        "replace": ["add", str(copy), str(new)],
        "delete": ["delete", str(copy), *names],
    }.items():
        cost = watched([*COMMAND, *arguments], threads)
        found[what] = {"seconds": cost.seconds, "own_mb": cost.own_mb, "resident_mb": cost.resident_mb}
    shutil.rmtree(copy)
    return found


def _linked(source: str, target: str) -> None:
    """A hard link for what never changes once it is published, a copy of pointer and lock."""
    if Path(source).parent.name.endswith(".index"):
        shutil.copy2(source, target)
    else:
        os.link(source, target)


def model_of(options: argparse.Namespace, work: Path) -> Path:
    """The model given, or one trained on the data given."""
    if options.model:
        return Path(options.model)
    if not options.data:
        raise SystemExit("give --model, or --data to train one on")
    model = work / "model"
    if not model.exists():
        command = [*COMMAND, "train", str(options.data), "-o", str(model), "--tower", "bag"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return model


def measured(options: argparse.Namespace, work: Path) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Name of the index, part, figures; one after another."""
    model = model_of(options, work)
    for size in options.sizes:
        for target in options.targets:
            place = Place(work, size, target)
            prepare(options.corpus, place)
            queries = options.queries or work / f"queries-{size or 'all'}.txt"
            if not queries.exists():
                queries.write_text("".join(f"{piece}\n" for piece in pieces(place.corpus)), encoding="utf-8")
            for part in options.part:
                print(f"{place.name}: {part}", file=sys.stderr, flush=True)
                if part == "build":
                    yield place.name, part, build(place, model, options.threads)
                elif part == "search":
                    found = search(place, queries, options.threads, options.exact, options.timed)
                    yield place.name, part, found
                elif part == "shell":
                    yield place.name, part, shell(place, queries, options.threads)
                else:
                    yield place.name, part, change(place, options.threads)


def table(indexes: dict[str, dict[str, Any]]) -> str:
    """A line for each index, of what was measured."""
    head = ("index", "faiss", "built s", "cpu s", "own MB", "MB", "recall", "p50", "p95", "p99", "hybrid p50",
            "p99", "q/s 1", "q/s 2", "shell ms", "add s", "delete s", "filter ms")  # fmt: skip
    rows = [head]
    for name, parts in indexes.items():
        built, found = parts.get("build", {}), parts.get("search", {})
        dense, hybrid = (found.get("latency_ms", {}).get(mode, {}) for mode in ("dense", "hybrid"))
        rate = found.get("queries_per_s", {}).get("dense", {})
        changed = parts.get("change", {})
        cells = (
            " ".join(built.get("faiss", [])), built.get("build_s"), built.get("processor_s"),
            built.get("own_mb"),
            built and round(built["bytes"] / 1e6, 1), found.get("recall@10"),
            dense.get("p50"), dense.get("p95"), dense.get("p99"), hybrid.get("p50"), hybrid.get("p99"),
            rate.get("1"), rate.get("2"), parts.get("shell", {}).get("hybrid", {}).get("p50_ms"),
            changed.get("add", {}).get("seconds"), changed.get("delete", {}).get("seconds"),
            found.get("filtered", {}).get("p50"),
        )  # fmt: skip
        rows.append((name, *("" if cell in (None, {}) else str(cell) for cell in cells)))
    return aligned(rows)


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 60_000, 0])
    parser.add_argument("--targets", type=float, nargs="+", default=[0.9, 0.95, 0.99])
    parser.add_argument("--queries", type=Path)
    parser.add_argument("--part", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--exact", type=int, default=300, help="Queries that recall is measured on.")
    parser.add_argument("--timed", type=int, default=1000, help="Queries that are timed.")
    parser.add_argument("--output", type=Path, default=RESULTS / "scale.json")
    options = parser.parse_args()
    written = json.loads(options.output.read_text()) if options.output.is_file() else {}
    indexes: dict[str, dict[str, Any]] = written.get("indexes", {})
    with tempfile.TemporaryDirectory() as folder:
        for name, part, figures in measured(options, options.work or Path(folder)):
            source = provenance(command_of("benchmarks.scale"))
            indexes.setdefault(name, {})[part] = {
                **figures,
                "commit": source["commit"],
                "date": source["date"],
            }
            result = {**source, "indexes": indexes}
            write_result(options.output, result)
    print(table(indexes))


if __name__ == "__main__":
    main()
