"""What a server sees of an index: recall, latency, rate, memory. Run by scale.py in a process of its own.

    python -m benchmarks.scale.search INDEX QUERIES [--rare FILE] [--exact N] [--timed N]

QUERIES: a query a line. Prints a JSON object. The index is open as `serve` has it: vectors of a small index
kept in memory, and loops compiled where numba is.
"""

from __future__ import annotations

import argparse
import json
import threading
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np

from retrieval.evaluation.measures import latency_percentiles
from retrieval.model.folder import read_model
from retrieval.search.retriever import Retriever
from retrieval.serving.engine import KEPT_BYTES
from retrieval.text.words import document_text

DEPTH = 10
MODES: tuple[Literal["dense", "hybrid"], ...] = ("dense", "hybrid")
_WARM = 50
_EXACT_BATCH = 32


def measure(index: Path, queries: Sequence[str], rare: Path | None, exact: int, timed: int) -> dict[str, Any]:
    """Every figure of one index."""
    start = time.perf_counter()
    with Retriever.open(index, kept_bytes=KEPT_BYTES) as retriever:
        found: dict[str, Any] = {"open_s": round(time.perf_counter() - start, 4)}
        found["latency_ms"] = {mode: latency(retriever, queries[:timed], mode) for mode in MODES}
        found["memory_mb"] = memory()  # before the exact search, which reads every vector
        found["queries_per_s"] = {
            mode: {threads: rate(retriever, queries[:timed], mode, threads) for threads in (1, 2)}
            for mode in MODES
        }
        if rare is not None:
            found["filtered"] = filtered(retriever, queries[: min(timed, 100)], rare)
        found["recall@10"] = round(recall(retriever, queries[:exact]), 4)
        found["queries"] = {"recall": len(queries[:exact]), "timed": len(queries[:timed])}
    return found


def latency(retriever: Retriever, queries: Sequence[str], mode: Any) -> dict[str, float]:
    """Text to hits, one query after another in a warm process, milliseconds."""
    for query in queries[:_WARM]:
        retriever.search(query, DEPTH, mode)
    taken = []
    for query in queries:
        start = time.perf_counter()
        retriever.search(query, DEPTH, mode)
        taken.append(time.perf_counter() - start)
    return _rounded(latency_percentiles(taken))


def rate(retriever: Retriever, queries: Sequence[str], mode: Any, threads: int) -> float:
    """Queries a second of so many threads that share a retriever, each asking one at a time.

    No other thread of this process runs meanwhile: one that waits for each answer would be a third.
    """
    asked = iter(queries)

    def ask() -> None:
        for query in asked:  # each thread takes the next one
            retriever.search(query, DEPTH, mode)

    asking = [threading.Thread(target=ask) for _ in range(threads)]
    start = time.perf_counter()
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    return round(len(queries) / (time.perf_counter() - start), 1)


def recall(retriever: Retriever, queries: Sequence[str]) -> float:
    """Of the ten best by comparing with every vector, how many a dense search finds, one query at a time.

    A document as near as the tenth counts as one of them: many documents have the same text. One that was
    split is as near as the nearest of its passages.
    """
    vectors = retriever.encode(queries)
    index, hits = retriever.index, 0
    for start in range(0, len(queries), _EXACT_BATCH):
        batch = vectors[start : start + _EXACT_BATCH]
        truth = index.search_exact(batch, DEPTH)
        for vector, nearest in zip(batch, truth.rows, strict=True):
            rows = np.unique(index.search_dense(vector[None], DEPTH).rows[0])
            tenth = index.cosines(nearest[-1:], vector)[0]
            hits += int((index.cosines(rows[rows >= 0], vector) >= tenth - 1e-6).sum())
    return hits / (DEPTH * len(queries))


def filtered(retriever: Retriever, queries: Sequence[str], rare: Path) -> dict[str, Any]:
    """A search among the few documents that have rare=yes, held against the model's own vectors of them.

    first_ms: the first search with this condition; the others find it remembered.
    """
    records = [json.loads(line) for line in rare.read_text(encoding="utf-8").splitlines()]
    encoder = read_model(retriever.index.model_folder).encoder("document")
    vectors = encoder.encode([document_text(one["title"], one["text"]) for one in records])
    expected = np.sort(retriever.encode(queries) @ vectors.T, axis=1)[:, ::-1][:, :DEPTH]
    start = time.perf_counter()
    retriever.search(queries[0], DEPTH, "dense", where=["rare=yes"])
    first = time.perf_counter() - start
    names = {one["_id"] for one in records}
    taken, worst, complete = [], 0.0, 0
    for query, scores in zip(queries, expected, strict=True):
        start = time.perf_counter()
        hits = retriever.search(query, DEPTH, "dense", where=["rare=yes"])
        taken.append(time.perf_counter() - start)
        right = len(hits) == len(scores) and {hit.id for hit in hits} <= names
        worst = max(worst, *(abs(hit.score - score) for hit, score in zip(hits, scores, strict=False)))
        complete += right and all(
            abs(hit.score - score) < 1e-3 for hit, score in zip(hits, scores, strict=True)
        )
    return {
        "matching": len(records),
        "exact": f"{complete} of {len(queries)}",
        "largest_score_difference": round(float(worst), 6),
        "first_ms": round(first * 1000, 3),
        **_rounded(latency_percentiles(taken)),
    }


def _rounded(values: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 3) for name, value in values.items()}


def memory() -> dict[str, float]:
    """MiB of this process: its own, and of files that it has mapped and touched."""
    lines = Path("/proc/self/status").read_text().splitlines()
    values = dict(line.split(":", 1) for line in lines)
    return {name: round(int(values[name].split()[0]) / 1024, 1) for name in ("RssAnon", "RssFile", "VmHWM")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("index", type=Path)
    parser.add_argument("queries", type=Path)
    parser.add_argument("--rare", type=Path)
    parser.add_argument("--exact", type=int, default=300)
    parser.add_argument("--timed", type=int, default=1000)
    options = parser.parse_args()
    with options.queries.open(encoding="utf-8") as file:
        queries = [line.strip() for line in islice(file, max(options.exact, options.timed))]
    print(json.dumps(measure(options.index, queries, options.rare, options.exact, options.timed)))


if __name__ == "__main__":
    main()
