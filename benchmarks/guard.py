"""Has anything become slower or worse? A subset of minutes, as ratios to a baseline of the same run.

    python -m benchmarks.guard [--write] [--quality]

Data: docstrings of the standard library and torch, generated here. Speeds are divided by the machine's rate
of matrix products, measured between the others, so that results of one machine can be held against another's.
Compares with benchmarks/results/guard.json and fails if a speed ratio fell by more than a third or a quality
by more than .02; with --write, replaces it. Qualities are judged only if the data has as many documents as
in the baseline: another Python has other docstrings. With --quality, speeds are neither judged nor replaced:
those of a machine that does other things at the same time say nothing.

Misspelt queries are the test queries with one word `edited`, or with the last one `half` typed
(benchmarks.misspelt); `clean` are those as they are. Judged as a quality is what share of them is read as the
query was before the change, and what the changed ones find.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import RESULTS, command_of, parser_of, write_result
from benchmarks.misspelt import changed_queries, edited, half
from retrieval.data.dataset import Dataset
from retrieval.data.documents import read_documents
from retrieval.evaluation.assess import assess, rank_all
from retrieval.evaluation.measures import evaluate_run
from retrieval.evaluation.provenance import provenance
from retrieval.model.folder import read_model
from retrieval.search.modes import MODES
from retrieval.search.retriever import Retriever
from retrieval.text.words import document_text

COMMITTED = RESULTS / "guard.json"
# The standard library's packages, and the one dependency whose version is pinned.
PACKAGES = ("asyncio", "collections", "concurrent", "ctypes", "email", "html", "http", "importlib", "json",
            "logging", "multiprocessing", "sqlite3", "tkinter", "unittest", "urllib", "wsgiref", "xml",
            "xmlrpc", "zoneinfo", "torch")  # fmt: skip
LIMIT = 4000
EPOCHS = 4
SLOWER = 2 / 3
WORSE = 0.02
MEASURE = "nDCG@10"


def matrix_rate() -> float:
    """Products of 1024 x 1024 float32 matrices a second, the median of nine."""
    a = np.random.default_rng(0).normal(size=(1024, 1024)).astype(np.float32)
    taken = []
    for _ in range(9):
        start = time.perf_counter()
        a @ a
        taken.append(time.perf_counter() - start)
    return 1 / statistics.median(taken)


def prepared(work: Path) -> dict[str, float]:
    """Corpus, model and index under `work`, made by the command; seconds of training and building."""
    peephole = str(Path(sys.executable).with_name("peephole"))
    packages = [part for name in PACKAGES for part in ("--package", name)]
    data, model, index = (str(work / name) for name in ("data", "model", "index"))
    taken = {}
    for name, arguments in {
        "corpus": ["corpus", "pydoc", "-o", data, "--limit", str(LIMIT), *packages],
        "train": ["train", data, "-o", model, "--epochs", str(EPOCHS)],
        "build": ["build", data, "-m", model, "-o", index],
    }.items():
        start = time.perf_counter()
        subprocess.run([peephole, *arguments], check=True, stdout=subprocess.DEVNULL)
        taken[name] = time.perf_counter() - start
    return taken


def measured(work: Path) -> dict[str, dict[str, float]]:
    """Speeds, each relative to the matrix rate around it, and qualities."""
    before = matrix_rate()
    taken = prepared(work)
    baseline = (before + matrix_rate()) / 2
    data = work / "data"
    texts = [document_text(one.title, one.text) for one in read_documents(data)]
    dataset = Dataset(data)
    queries = dataset.queries
    qrels = dataset.qrels("test")
    train = sum(map(len, dataset.qrels("train").values()))
    encoder = read_model(work / "model").encoder("document")
    encoded = statistics.median(_seconds(lambda: encoder.encode(texts)) for _ in range(3))
    clean = {query_id: queries[query_id] for query_id in qrels}
    changed = changed_queries(clean, {"edited": edited, "half": half})
    corrected = statistics.median(_corrected(work / "index", changed["edited"]) for _ in range(3))
    with Retriever.open(work / "index") as retriever:
        found = assess(retriever, queries, qrels, ["lexical", "dense", "hybrid"])
        misspelt = misspelt_quality(retriever, changed, qrels)
        read = {kind: as_before(retriever, some, clean) for kind, some in {"clean": clean, **changed}.items()}
    now = (baseline + matrix_rate()) / 2
    speed = {
        "train_pairs_per_s": train * EPOCHS / taken["train"] / baseline,
        "build_documents_per_s": len(texts) / taken["build"] / baseline,
        "encode_documents_per_s": len(texts) / encoded / now,
        "queries_per_s": 1000 / found.latency_ms["p50"] / now,
        "corrections_per_s": len(changed["edited"]) / corrected / now,
    }
    quality = {mode: scores.mean(MEASURE) for mode, scores in found.measures.items()} | misspelt
    return {
        "speed_ratios": {name: round(value, 4) for name, value in speed.items()},
        "quality": {name: round(value, 4) for name, value in quality.items()},
        "read_as_before": {kind: round(value, 4) for kind, value in read.items()},
        "sizes": {"documents": len(texts), "train": train, "test": len(qrels), "matrix_rate": round(now, 1)},
    }


def misspelt_quality(
    retriever: Retriever,
    changed: Mapping[str, Mapping[str, str]],
    qrels: Mapping[str, Mapping[str, int]],
) -> dict[str, float]:
    """What changed queries find in each mode. changed: by kind, query id to text."""
    found = {}
    for kind, some in changed.items():
        judged = {query_id: qrels[query_id] for query_id in some}
        for mode in MODES:
            run = rank_all(retriever, some, judged, mode)
            found[f"{mode}, {kind}"] = evaluate_run(judged, run, (MEASURE,)).mean(MEASURE)
    return found


def as_before(retriever: Retriever, asked: Mapping[str, str], clean: Mapping[str, str]) -> float:
    """The share of queries that are read as they were before a change. asked, clean: query id to text."""
    read = {query_id: retriever.corrected(text) for query_id, text in asked.items()}
    return statistics.mean(read[one].lower() == clean[one].lower() for one in read)


def _corrected(index: Path, queries: Mapping[str, str]) -> float:
    """Seconds to correct queries of which nothing is remembered."""
    with Retriever.open(index) as retriever:
        return _seconds(lambda: [retriever.corrected(text) for text in queries.values()])


def _seconds(function: Any) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def regressions(now: dict[str, Any], before: dict[str, Any]) -> list[str]:
    """What fell too far, one line each.

    >>> before = {"speed_ratios": {"x": 3.0}, "quality": {"dense": 0.5}, "read_as_before": {"half": 0.4},
    ...     "sizes": {"documents": 1}}
    >>> regressions({**before, "speed_ratios": {"x": 1.0}, "quality": {"dense": 0.4}}, before)
    ['x: 1 of the matrix rate, was 3', 'dense nDCG@10: 0.4, was 0.5']
    >>> regressions({**before, "read_as_before": {"half": 0.3}}, before)
    ['half queries read as before the change: 0.3, was 0.4']
    """
    found = [
        f"{name}: {now['speed_ratios'].get(name, 0):g} of the matrix rate, was {value:g}"
        for name, value in before["speed_ratios"].items()
        if now["speed_ratios"].get(name, 0) < value * SLOWER
    ]
    if now["sizes"].get("documents") != before["sizes"].get("documents"):
        return found  # other data: its quality says nothing of ours
    for part, told in (("quality", MEASURE), ("read_as_before", "queries read as before the change")):
        found += [
            f"{name} {told}: {now[part].get(name, 0):g}, was {value:g}"
            for name, value in before[part].items()
            if now[part].get(name, 0) < value - WORSE
        ]
    return found


def unjudged(now: dict[str, Any], before: dict[str, Any]) -> list[str]:
    """The speeds that were measured now and not before, so that nothing is said of them."""
    return [name for name in now["speed_ratios"] if name not in before["speed_ratios"]]


def with_speeds_of(now: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """The results of now with the speeds of others, and the commit of those as `speed_commit`."""
    commit = before.get("speed_commit", before["commit"])
    return {**now, "speed_commit": commit, "speed_ratios": before["speed_ratios"]}


def main() -> None:
    """Measure, print, compare or replace."""
    parser = parser_of(__doc__)
    parser.add_argument("--write", action="store_true", help="Replace the committed results.")
    parser.add_argument("--quality", action="store_true", help="Leave the committed speeds as they are.")
    options = parser.parse_args()
    if (options.quality or not options.write) and not COMMITTED.is_file():
        raise SystemExit(f"{COMMITTED.name} is not there; write it with --write")
    os.environ.setdefault("PYTHONHASHSEED", "0")
    with tempfile.TemporaryDirectory() as folder:
        now: dict[str, Any] = {
            **provenance(command_of("benchmarks.guard")),
            "python": ".".join(platform.python_version_tuple()[:2]),
            **measured(Path(folder)),
        }
    if options.quality:
        now = with_speeds_of(now, json.loads(COMMITTED.read_text()))
    print(json.dumps(now, indent=1))
    if options.write:
        write_result(COMMITTED, now)
        return
    before = json.loads(COMMITTED.read_text())
    for name in unjudged(now, before):
        print(f"{name}: not judged, {COMMITTED.name} has none; write it with --write")
    fallen = regressions(now, before)
    print("\n".join(fallen) if fallen else "nothing fell")
    raise SystemExit(1 if fallen else 0)


if __name__ == "__main__":
    main()
