"""What recording searches costs a query: the same requests to a server that records and to one that does not.

    python -m benchmarks.serving.recording DATA INDEX [--requests 3000]

DATA is a BEIR folder, INDEX an index of its corpus. One client asks both servers in turn, query by query, so
that both see the same load of the machine, and clicks on a hit of every fourth search, which is not timed.

Writes benchmarks/results/serving-recording.json.
"""

from __future__ import annotations

import http.client
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.common import RESULTS, ROOT, parser_of, write_result
from benchmarks.serving.__main__ import ours_command
from benchmarks.serving.load import server, targets
from retrieval.data.clicks.summary import summary_of
from retrieval.data.dataset import Dataset
from retrieval.evaluation.provenance import provenance

_PORTS = {"off": 18471, "recording": 18472}
_WARM = 100  # requests before the first that counts
_CLICKED = 4


def ask(client: http.client.HTTPConnection, path: str) -> tuple[float, dict[str, Any]]:
    """The milliseconds of a request, and its answer."""
    start = time.perf_counter()
    client.request("GET", path)
    content = client.getresponse().read()
    return (time.perf_counter() - start) * 1000, json.loads(content)


def click(client: http.client.HTTPConnection, answer: dict[str, Any]) -> None:
    """Click on the first hit of a recorded answer."""
    body = {"search": answer["search"], "document": answer["hits"][0]["id"], "rank": 1}
    client.request("POST", "/click", json.dumps(body), {"Content-Type": "application/json"})
    client.getresponse().read()


def measure(paths: list[str], requests: int) -> dict[str, list[float]]:
    """The milliseconds of each request, by server."""
    clients = {name: http.client.HTTPConnection("127.0.0.1", port) for name, port in _PORTS.items()}
    found: dict[str, list[float]] = {name: [] for name in clients}
    for number in range(_WARM + requests):
        for name in sorted(clients, reverse=bool(number % 2)):  # neither is always the first
            taken, answer = ask(clients[name], paths[number % len(paths)])
            if number >= _WARM:
                found[name].append(taken)
            if "search" in answer and answer["hits"] and number % _CLICKED == 0:
                click(clients[name], answer)
    return found


def main() -> None:
    """Measure, print, write."""
    parser = parser_of(__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("index", type=Path)
    parser.add_argument("--requests", type=int, default=3000)
    given = parser.parse_args()
    paths = targets(list(Dataset(given.data).queries.values())[:2000])
    environment, load_before = {**os.environ, "PYTHONPATH": str(ROOT)}, os.getloadavg()
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "clicks.jsonl"
        commands = {name: ours_command(given.index, 1, port) for name, port in _PORTS.items()}
        commands["recording"] += ["--clicks", str(log)]
        url = "http://127.0.0.1:{}".format
        with (
            server(commands["off"], url(_PORTS["off"]), Path(folder) / "off", environment),
            server(commands["recording"], url(_PORTS["recording"]), Path(folder) / "on", environment),
        ):
            times = measure(paths, given.requests)
        recorded = summary_of(log)
    result: dict[str, Any] = {}
    for name, taken in times.items():
        p99 = statistics.quantiles(taken, n=100)[98]
        result[name] = {"p50_ms": round(statistics.median(taken), 3), "p99_ms": round(p99, 3)}
        print(f"{name:10} p50 {result[name]['p50_ms']:.3f} ms  p99 {result[name]['p99_ms']:.3f} ms")
    result["p50_ratio"] = round(result["recording"]["p50_ms"] / result["off"]["p50_ms"], 3)
    result |= {"requests": given.requests, "searches": recorded.searches, "clicks": recorded.clicks}
    result["bytes_per_search"] = round(recorded.bytes / max(1, recorded.searches))
    print(
        f"recording takes {result['p50_ratio']} times the p50 of not recording; "
        f"{recorded.searches:,} searches, {recorded.clicks:,} clicks, {result['bytes_per_search']} B each"
    )
    command = "python -m benchmarks.serving.recording DATA INDEX"
    write_result(
        RESULTS / "serving-recording.json",
        {**provenance(command), "load_average_before": load_before, **result},
    )


if __name__ == "__main__":
    main()
