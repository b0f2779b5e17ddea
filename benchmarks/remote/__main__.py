"""One corpus in a local index and in Milvus-lite: whether answers are the same, what a search and a kill do.

    python -m benchmarks.remote --corpus CORPUS.jsonl.gz --model MODEL [--limit 20000] [--queries 1000]
                                [--kills 6] [--part PART ...] [--work FOLDER]

CORPUS: documents as JSONL, also gzipped, of which the first LIMIT are taken; each gets the metadata `part`, 0
to 9. A server of Milvus-lite is started on a free port and asked over its real protocol. Both indexes search
exactly. Asked are pieces of documents, in all modes and with a filter; then 300 documents are added, 100
replaced and 200 deleted, and all is asked again. A hit counts as the same if its score is within 1e-5 and its
id is the same, or that of a document whose score is within 1e-5. That is the part `rankings`. `kills-build`,
`kills-add`, `kills-learn` and `kills-rollback` are benchmarks/remote/kills.py, with KILLS at random. In
`restart` the server is killed and started again under a running `serve`. All parts are run without PART.
Prints a table and merges what was measured into benchmarks/results/remote.json.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import RESULTS, ROOT, write_result
from benchmarks.remote.kills import VERBS
from benchmarks.remote.server import Lite, free_port
from benchmarks.scale.__main__ import COMMAND, lines, pieces
from retrieval.evaluation.provenance import provenance
from retrieval.search.modes import Mode
from retrieval.search.retriever import Retriever

RESULT = RESULTS / "remote.json"
PARTS = ("rankings", *(f"kills-{verb}" for verb in VERBS), "restart")
TOLERANCE = 1e-5
K = 10
BATCH = 64
TIMED = 30
ASKED: tuple[tuple[str, Mode, str], ...] = (
    ("dense", "dense", ""),
    ("lexical", "lexical", ""),
    ("hybrid", "hybrid", ""),
    ("filtered", "hybrid", "part < 3 and not part = 1"),
)


def write_corpora(corpus: Path, work: Path, limit: int) -> None:
    """The corpus, and what is added to it: documents that follow it, and others in place of some of it."""
    documents = [json.loads(line) for line in islice(lines(corpus), limit + 400)]
    for number, document in enumerate(documents):
        document["metadata"] = {"part": number % 10}
    for old, new in zip(documents[:100], documents[limit + 300 :], strict=True):
        new["_id"] = old["_id"]
    for name, part in (("corpus", documents[:limit]), ("added", documents[limit:])):
        (work / f"{name}.jsonl").write_text(
            "".join(f"{json.dumps(each)}\n" for each in part), encoding="utf-8"
        )


def run(*arguments: str) -> None:
    subprocess.run([*COMMAND, *arguments], check=True, stdout=subprocess.DEVNULL)


def hits(retriever: Retriever, queries: Sequence[str], mode: Mode, where: str) -> list[dict[str, float]]:
    """For each query the scores by document id."""
    found: list[dict[str, float]] = []
    for start in range(0, len(queries), BATCH):
        ranking = retriever.rank(queries[start : start + BATCH], K, mode, where or ())
        rows = np.unique(ranking.rows[ranking.rows >= 0]).tolist()
        ids = {row: each.id for row, each in zip(rows, retriever.index.texts(rows), strict=True)}
        found += [
            {ids[row]: score for row, score in zip(line, scores, strict=True) if row >= 0}
            for line, scores in zip(ranking.rows.tolist(), ranking.scores.tolist(), strict=True)
        ]
    return found


def agreement(ours: list[dict[str, float]], theirs: list[dict[str, float]]) -> dict[str, Any]:
    """How far the hits of two indexes are the same."""
    same_ids = same_but_ties = 0
    largest = 0.0
    for one, other in zip(ours, theirs, strict=True):
        scores, others = list(one.values()), list(other.values())
        gap = max((abs(a - b) for a, b in zip(scores, others, strict=False)), default=0.0)
        largest = max(largest, gap if len(one) == len(other) else float("inf"))
        same_ids += list(one) == list(other)
        odd = [one.get(each, other.get(each, 0.0)) for each in one.keys() ^ other.keys()]
        tied = all(abs(score - scores[-1]) <= TOLERANCE for score in odd)
        same_but_ties += len(one) == len(other) and gap <= TOLERANCE and tied
    return {
        "queries": len(ours),
        "same_order": same_ids,
        "same_but_for_ties": same_but_ties,
        "largest_difference_of_scores": largest,
    }


def milliseconds(retriever: Retriever, queries: Sequence[str], mode: Mode) -> dict[str, float]:
    """Percentiles of one search for ten hits, from text to hits."""
    times = []
    for query in queries[:TIMED]:
        start = time.perf_counter()
        retriever.search(query, K, mode)
        times.append(1000 * (time.perf_counter() - start))
    return {"p50": round(float(np.median(times)), 2), "p95": round(float(np.percentile(times, 95)), 2)}


def compared(work: Path, queries: Sequence[str]) -> dict[str, Any]:
    """The agreement of both indexes in each kind of search, and the time of one."""
    result: dict[str, Any] = {}
    with Retriever.open(work / "local") as local, Retriever.open(work / "remote") as remote:
        assert remote.index.waits and not local.index.waits
        for name, mode, where in ASKED:
            result[name] = agreement(hits(local, queries, mode, where), hits(remote, queries, mode, where))
            print(name, result[name], flush=True)
        result["ms"] = {
            where: {mode: milliseconds(each, queries, mode) for mode in ("dense", "lexical", "hybrid")}
            for where, each in (("local", local), ("milvus_lite", remote))
        }
        print(result["ms"], flush=True)
    return result


def kills(work: Path, store: str, verb: str, count: int) -> dict[str, Any]:
    """What benchmarks/remote/kills.py tells."""
    command = [sys.executable, "-m", "benchmarks.remote.kills", str(work), store, verb, str(count)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@contextmanager
def serving(index: Path) -> Iterator[str]:
    """A running `serve`; gives its address."""
    port = free_port()
    process = subprocess.Popen(
        [*COMMAND, "serve", str(index), "--port", str(port), "--no-access-log"], stderr=subprocess.DEVNULL
    )
    url = f"http://127.0.0.1:{port}"
    try:
        while status(f"{url}/readyz") != 200:
            time.sleep(0.2)
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def status(url: str) -> int:
    """The status of an answer; 0 if there is none."""
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310 (of this machine)
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def restarted(work: Path, model: Path, store: str, lite: Lite) -> dict[str, Any]:
    """The statuses of a running `serve` while the server is there, away, and there again."""
    corpus, index = work / "small.jsonl", work / "served"
    corpus.write_text("".join(islice(lines(work / "corpus.jsonl"), 1000)), encoding="utf-8")
    run("build", str(corpus), "-m", str(model), "-o", str(index), "--store", store)
    with serving(index) as url:
        search = f"{url}/search?q=python%20library"
        there = status(search)
        lite.kill()
        away = [status(search) for _ in range(5)]
        health = status(f"{url}/healthz")
        command = [*COMMAND, "search", str(index), "python library"]
        told = subprocess.run(command, capture_output=True, text=True, check=False)
        lite.start()
        started = time.monotonic()
        while status(search) != 200:
            time.sleep(0.2)
        seconds = round(time.monotonic() - started, 2)
    return {
        "there": there,
        "away": away,
        "health_while_away": health,
        "lines_of_the_command_while_away": told.stderr.splitlines(),
        "exit_of_the_command_while_away": told.returncode,
        "seconds_until_answers_return": seconds,
    }


def rankings(work: Path, model: Path, store: str, queries: Sequence[str]) -> dict[str, Any]:
    """The agreement of both indexes when they are built and after changes."""
    exact = ["-m", str(model), "--target-recall", "1"]
    seconds = {}
    for name, place in (("local", []), ("remote", ["--store", store])):
        start = time.monotonic()
        run("build", str(work / "corpus.jsonl"), *exact, "-o", str(work / name), *place)
        seconds[name] = round(time.monotonic() - start, 1)
    print("build", seconds, flush=True)
    result = {"queries": len(queries), "build_seconds": seconds, "built": compared(work, queries)}
    gone = [json.loads(line)["_id"] for line in islice(lines(work / "corpus.jsonl"), 1000, 1200)]
    for name in ("local", "remote"):
        run("add", str(work / name), str(work / "added.jsonl"))
        run("delete", str(work / name), "--", *gone)
    result["changed"] = compared(work, queries)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=20_000)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=6)
    parser.add_argument("--part", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--work", type=Path)
    options = parser.parse_args()
    os.environ["PYTHONPATH"] = str(ROOT)
    os.environ["PEEPHOLE_MILVUS_TIMEOUT"] = "60"
    work = options.work or Path(tempfile.mkdtemp())
    work.mkdir(exist_ok=True)
    write_corpora(options.corpus, work, options.limit)
    queries = [piece for piece in pieces(work / "corpus.jsonl") if piece.strip()]
    queries = (queries * (options.queries // max(1, len(queries)) + 1))[: options.queries]
    command = f"python -m benchmarks.remote --corpus {options.corpus.name} --model {options.model.name}"
    lite = Lite(work / "milvus")
    store = f"milvus://127.0.0.1:{lite.port}/remote"
    lite.start()
    try:
        for part in options.part:
            if part == "rankings":
                measured = rankings(work, options.model, store, queries)
                sizes = f" --limit {options.limit} --queries {options.queries}"
            elif part == "restart":
                measured, sizes = restarted(work, options.model, f"{store}_served", lite), ""
            else:
                verb = part.removeprefix("kills-")
                measured = kills(work, f"{store}_{verb}", verb, options.kills)
                sizes = f" --kills {options.kills}"
            print(part, json.dumps(measured, indent=1), flush=True)
            known = json.loads(RESULT.read_bytes()) if RESULT.exists() else {}
            told = provenance(f"{command}{sizes} --part {part}")
            write_result(RESULT, {**known, part: {"provenance": told, **measured}})
    finally:
        lite.kill()


if __name__ == "__main__":
    main()
