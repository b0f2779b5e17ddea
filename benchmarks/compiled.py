"""What compiled loops change for a server: the time of a search, memory, the time to open, and scores.

    python -m benchmarks.compiled INDEX QUERIES [--asked N]

QUERIES: a query a line. Two processes have the index open as `serve` has it, one without numba. They answer
the same queries in turn, some at a time, after having answered all of them once.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.common import ROOT, parser_of
from benchmarks.scale.processes import memory_mb

MODES = ("hybrid", "dense", "lexical")
HITS = 10
_AT_ONCE = 50


def answer(index: Path, without: bool) -> None:
    """Answer lists of queries, a line of JSON each, with hits and processor seconds."""
    if without:
        sys.modules["numba"] = None  # type: ignore[assignment]  # its import fails
    from retrieval.search.retriever import Retriever
    from retrieval.serving.engine import KEPT_BYTES

    start = time.perf_counter()
    with Retriever.open(index, kept_bytes=KEPT_BYTES) as retriever:
        print(json.dumps(time.perf_counter() - start), flush=True)
        for line in sys.stdin:
            mode, queries = json.loads(line)
            taken, found = [], []
            for query in queries:
                start = time.thread_time()
                hits = retriever.search(query, HITS, mode)
                taken.append(time.thread_time() - start)
                found.append([(hit.id, hit.score) for hit in hits])
            memory = [memory_mb(os.getpid(), kind) for kind in ("RssAnon", "RssFile")]
            print(json.dumps([taken, found, memory]), flush=True)


def compare(index: Path, queries: Sequence[str]) -> dict[str, Any]:
    """Figures without numba and with it, and how far the answers differ."""
    with ExitStack() as opened:
        servers = [opened.enter_context(_started(index, without)) for without in (True, False)]
        figures: dict[str, Any] = {"open_s": [round(_read(server), 2) for server in servers]}
        for server in servers:  # all words known, all files in memory
            for mode in MODES:
                _ask(server, mode, queries)
        for mode in MODES:
            taken: list[list[float]] = [[], []]
            same, difference = 0, 0.0
            for number, part in enumerate(_parts(queries)):
                answers: dict[int, Any] = {}
                for which in (0, 1) if number % 2 else (1, 0):
                    answers[which] = _ask(servers[which], mode, part)
                    taken[which] += answers[which][0]
                for one, other in zip(answers[0][1], answers[1][1], strict=True):
                    same += [hit[0] for hit in one] == [hit[0] for hit in other]
                    gaps = (abs(hit[1] - its[1]) for hit, its in zip(one, other, strict=True))
                    difference = max(difference, *gaps, 0.0)
            medians = [statistics.median(each) * 1000 for each in taken]
            figures[mode] = {
                "p50_ms": [round(median, 3) for median in medians],
                "ratio": round(medians[1] / medians[0], 2),
                "same_order": f"{same} of {len(queries)}",
                "largest_score_difference": difference,
            }
        figures["own_and_file_mb"] = [
            [round(size) for size in _ask(server, "dense", queries[:1])[2]] for server in servers
        ]
    return figures


def _started(index: Path, without: bool) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "benchmarks.compiled", str(index), "--answer"]
    return subprocess.Popen(
        [*command, "--without"] if without else command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def _ask(server: subprocess.Popen[str], mode: str, queries: Sequence[str]) -> Any:
    assert server.stdin is not None
    print(json.dumps([mode, queries]), file=server.stdin, flush=True)
    return _read(server)


def _read(server: subprocess.Popen[str]) -> Any:
    assert server.stdout is not None
    return json.loads(server.stdout.readline())


def _parts(queries: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(queries), _AT_ONCE):
        yield queries[start : start + _AT_ONCE]


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("index", type=Path)
    parser.add_argument("queries", type=Path, nargs="?")
    parser.add_argument("--asked", type=int, default=1000)
    parser.add_argument("--answer", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--without", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.answer:
        answer(options.index, options.without)
        return
    with options.queries.open(encoding="utf-8") as file:
        queries = [line.strip() for line in islice(file, options.asked) if line.strip()]
    print(json.dumps(compare(options.index, queries), indent=2))


if __name__ == "__main__":
    main()
