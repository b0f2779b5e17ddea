"""One system of the nearest-neighbour benchmark, measured in a process of its own.

In: the arguments FOLDER SYSTEM THREADS [INDEX]; the folder has vectors.npy, queries.npy, exact_rows.npy and
exact_scores.npy. Out: result.json in that folder. The process may use as many cores as it has threads, so
that no system gets more than the others.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from retrieval.evaluation.ann.systems import SYSTEMS, BuiltIndex, Vectors, opened
from retrieval.evaluation.measures import ann_recall, latency_percentiles

K = 10
# A batch is searched again until this many seconds have passed.
_SECONDS = 0.3
# Number of queries that are searched one by one.
_SINGLE_QUERIES = 300
# Number of these that are searched once before, untimed: a first one may compile loops and map files.
_WARM_UP_QUERIES = 10


def measure(folder: Path, name: str, threads: int, index: Path | None) -> dict[str, Any]:
    """Build a system's index and search it with every value of its search parameter.

    folder: holds the vectors, and takes the saved index.
    name: a system of `SYSTEMS`; ignored with `index`.
    threads: how many the system may use.
    index: a Peephole index folder that is measured in place of a system; None for a system.
    Returns seconds to build, bytes, peak memory, and for each value: recall@10, queries/s in one batch and
    one by one, by wall time and by processor time of all threads.
    """
    vectors, queries, exact_rows, exact_scores = (
        np.load(folder / f"{part}.npy", allow_pickle=False)
        for part in ("vectors", "queries", "exact_rows", "exact_scores")
    )
    start = time.perf_counter()
    built = opened(index) if index is not None else SYSTEMS[name](vectors, threads)
    seconds = time.perf_counter() - start
    saved = folder / "saved"
    built.save(saved)
    points = []
    for value in built.values:
        built.set_parameter(value)
        rows = built.search(queries, K)
        points.append(
            {
                "setting": f"{built.parameter} {value}".strip(),
                "recall@10": ann_recall(rows, exact_rows, K, exact_scores),
                **_batch(built, queries),
                **_single(built, queries),
            }
        )
    return {
        "build_seconds": seconds,
        "bytes": _size(index if index is not None else folder),
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "points": points,
    }


def _batch(built: BuiltIndex, queries: Vectors) -> dict[str, float]:
    """Queries/s by medians over at least three batches and at least `_SECONDS` in total."""
    wall: list[float] = []
    processor: list[float] = []
    while len(wall) < 3 or sum(wall) < _SECONDS:
        start, start_processor = time.perf_counter(), time.process_time()
        built.search(queries, K)
        processor.append(time.process_time() - start_processor)
        wall.append(time.perf_counter() - start)
    return {
        "batch_qps": len(queries) / statistics.median(wall),
        "batch_processor_qps": len(queries) / statistics.median(processor),
    }


def _single(built: BuiltIndex, queries: Vectors) -> dict[str, float]:
    """Queries/s and percentiles of single searches, after some that are not timed."""
    for row in range(min(_WARM_UP_QUERIES, len(queries))):
        built.search(queries[row : row + 1], K)
    seconds = []
    start_processor = time.process_time()
    for row in range(min(_SINGLE_QUERIES, len(queries))):
        start = time.perf_counter()
        built.search(queries[row : row + 1], K)
        seconds.append(time.perf_counter() - start)
    processor = time.process_time() - start_processor
    percentiles = latency_percentiles(seconds)
    return {
        "single_qps": len(seconds) / sum(seconds),
        "single_processor_qps": len(seconds) / processor,
        "p50_ms": percentiles["p50"],
        "p99_ms": percentiles["p99"],
    }


def _size(folder: Path) -> int:
    """Size of the saved index in bytes; of a Peephole index, only that of its vectors."""
    patterns = ("saved", "saved.npy", "saved/**/*") if (folder / "queries.npy").exists() else ("**/*.faiss",)
    files = {path for pattern in patterns for path in folder.glob(pattern) if path.is_file()}
    return sum(path.stat().st_size for path in files)


def main() -> None:
    """Measure the system that the arguments name."""
    folder, name, threads, *index = sys.argv[1:]
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(threads)])
    try:
        result = measure(Path(folder), name, int(threads), Path(index[0]) if index else None)
    except ImportError as error:
        result = {"skipped": f"not installed ({error})"}
    (Path(folder) / "result.json").write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main()
