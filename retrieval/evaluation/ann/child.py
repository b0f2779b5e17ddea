"""One system of the nearest-neighbour benchmark in a process of its own: python -m retrieval.evaluation.ann.child.

In: a folder with vectors.npy, queries.npy, exact_rows.npy and exact_scores.npy, the system's name, threads,
and perhaps an index folder. Out: result.json in that folder. The process is held to as many cores as it has
threads, so that no system takes more than the others.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from retrieval.evaluation.ann.systems import SYSTEMS, Built, Vectors
from retrieval.evaluation.measures import ann_recall, latency_percentiles

K = 10
_SECONDS = 0.3
_SINGLE = 300


def measure(folder: Path, name: str, threads: int, index: Path | None) -> dict[str, Any]:
    """Build, then every value of the dial: recall@10, queries/s in one batch and one by one."""
    vectors, queries, rows, scores = (
        np.load(folder / f"{part}.npy", allow_pickle=False)
        for part in ("vectors", "queries", "exact_rows", "exact_scores")
    )
    start = time.perf_counter()
    built = _opened(index) if index is not None else SYSTEMS[name](vectors, threads)
    seconds = time.perf_counter() - start
    saved = folder / "saved"
    built.save(saved)
    points = []
    for value in built.values:
        built.turn(value)
        found = built.search(queries, K)
        points.append(
            {
                "setting": f"{built.dial} {value}".strip() if built.dial else "",
                "recall@10": ann_recall(found, rows, K, scores),
                "batch_qps": len(queries) / _median(lambda: built.search(queries, K)),
                **_single(built, queries),
            }
        )
    return {
        "build_seconds": seconds,
        "bytes": _size(index if index is not None else folder),
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "points": points,
    }


def _opened(folder: Path) -> Built:
    """The index as it is: searched the way `peephole search` does."""
    from index.reader import Index

    opened = Index.open(folder)
    live = opened.rows()
    return Built(
        lambda queries, k: np.searchsorted(live, opened.search_dense(queries, k).rows),
        "",
        lambda value: None,
        (0,),
        lambda path: None,
    )


def _single(built: Built, queries: Vectors) -> dict[str, float]:
    taken = []
    for row in range(min(_SINGLE, len(queries))):
        start = time.perf_counter()
        built.search(queries[row : row + 1], K)
        taken.append(time.perf_counter() - start)
    percentiles = latency_percentiles(taken)
    return {
        "single_qps": len(taken) / sum(taken),
        "p50_ms": percentiles["p50"],
        "p99_ms": percentiles["p99"],
    }


def _median(function: Callable[[], object]) -> float:
    """Median seconds of a call, over three calls at least and `_SECONDS` at least."""
    taken: list[float] = []
    while len(taken) < 3 or sum(taken) < _SECONDS:
        start = time.perf_counter()
        function()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def _size(folder: Path) -> int:
    """Bytes that the saved index takes; of a Peephole index, those of its vectors only."""
    patterns = ("saved", "saved.npy", "saved/**/*") if (folder / "queries.npy").exists() else ("**/*.faiss",)
    files = {path for pattern in patterns for path in folder.glob(pattern) if path.is_file()}
    return sum(path.stat().st_size for path in files)


def main() -> None:
    """Measure what the arguments name."""
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
