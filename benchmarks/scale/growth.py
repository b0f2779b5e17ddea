"""What a search costs in a larger index beside a smaller one: both asked the same in turn, processor time.

    OMP_NUM_THREADS=1 python -m benchmarks.scale.growth SMALL LARGE --queries FILE [--timed N]

SMALL, LARGE: indexes, open as `serve` has them. FILE: a query a line. Each query is asked of both indexes
twice, and the second time counts: the first reads what the system does not hold in memory. Processor time of
the thread that searches, text to hits, which other programs on the machine change less than wall time; with
one thread for each library it is all that a search takes.

Prints milliseconds and the ratios of medians, and writes them to benchmarks/results/growth.json.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from benchmarks.common import RESULTS, aligned, parser_of, write_result
from retrieval.evaluation.measures import latency_percentiles
from retrieval.evaluation.provenance import provenance
from retrieval.search.retriever import Retriever
from retrieval.serving.engine import KEPT_BYTES

DEPTH = 10
MODES: tuple[Literal["dense", "hybrid"], ...] = ("dense", "hybrid")
_WARM = 20


def timed(search: Callable[[], object]) -> tuple[float, float]:
    """Seconds of the processor and of the clock that the second of two equal searches takes."""
    search()
    processor, clock = time.thread_time(), time.perf_counter()
    search()
    return time.thread_time() - processor, time.perf_counter() - clock


def measure(retrievers: Sequence[Retriever], queries: Sequence[str], mode: Any) -> list[dict[str, Any]]:
    """For each index the percentiles of processor and of wall time, milliseconds."""
    taken: list[tuple[list[float], list[float]]] = [([], []) for _ in retrievers]
    for number, query in enumerate(queries):
        for retriever, lists in zip(retrievers, taken, strict=True):
            seconds = timed(lambda: retriever.search(query, DEPTH, mode))  # noqa: B023 (called at once)
            if number >= _WARM:
                for one, value in zip(lists, seconds, strict=True):
                    one.append(value)
    return [
        {
            what: {name: round(value, 3) for name, value in latency_percentiles(values).items()}
            for what, values in zip(("processor_ms", "wall_ms"), lists, strict=True)
        }
        for lists in taken
    ]


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("indexes", type=Path, nargs=2)
    parser.add_argument("--queries", type=Path, required=True)
    parser.add_argument("--timed", type=int, default=300)
    parser.add_argument("--output", type=Path, default=RESULTS / "growth.json")
    options = parser.parse_args()
    if os.environ.get("OMP_NUM_THREADS") != "1":
        raise SystemExit("set OMP_NUM_THREADS=1: the time of other threads is not counted")
    with options.queries.open(encoding="utf-8") as file:
        queries = [line.strip() for line in islice(file, options.timed + _WARM)]
    retrievers = [Retriever.open(index, kept_bytes=KEPT_BYTES) for index in options.indexes]
    counts = [retriever.index.count for retriever in retrievers]
    found: dict[str, Any] = {}
    rows: list[tuple[str, ...]] = [("documents", "mode", "p50", "p95", "p99", "wall p50", "of the smaller")]
    for mode in MODES:
        figures = measure(retrievers, queries, mode)
        found[mode] = {str(count): each for count, each in zip(counts, figures, strict=True)}
        smaller = figures[0]["processor_ms"]["p50"]
        for count, each in zip(counts, figures, strict=True):
            own = each["processor_ms"]
            cells = (
                own["p50"],
                own["p95"],
                own["p99"],
                each["wall_ms"]["p50"],
                round(own["p50"] / smaller, 2),
            )
            rows.append((f"{count:,}", mode, *map(str, cells)))
    print(aligned(rows))
    names = " ".join(index.name for index in options.indexes)
    source = provenance(f"OMP_NUM_THREADS=1 python -m benchmarks.scale.growth {names} --queries FILE")
    write_result(options.output, {**source, "queries": options.timed, **found})


if __name__ == "__main__":
    main()
