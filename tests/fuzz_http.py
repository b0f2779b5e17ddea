"""Random and hostile requests against the HTTP application, without the token.

    python tests/fuzz_http.py [--requests 10000] [--seed 0]

Each request must get a known status and, if it is refused, one line of JSON; nothing may be written, nowhere
but into the log of clicks, which must stay whole.
tests/retrieval/serving/test_fuzz.py runs a few; `make fuzz-http` runs 10,000.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from retrieval.data.clicks.recorded import Clicked, events
from retrieval.data.clicks.rotation import opened
from retrieval.serving.app import Application
from retrieval.serving.settings import Limits, Settings

GOLDEN = Path(__file__).parent / "golden" / "index-2"
LOG = "clicks.jsonl"
TOKEN = "the-token-that-is-never-sent"  # noqa: S105
PATHS = (
    *(
        "/search",
        "/explain",
        "/click",
        "/documents",
        "/documents/faq/1",
        "/v1/embeddings",
        "/healthz",
        "/readyz",
    ),
    *(
        "/metrics",
        "/openapi.json",
        "/fields",
        "/",
        "/page/main.js",
        "//",
        "/documents/",
        "/documents/%2e%2e/%2e%2e/etc/passwd",
    ),
    *(
        "/../CURRENT",
        "/documents/..%2f..%2fCURRENT",
        "/documents/%00",
        "/documents/%ff%fe",
        "/search/../search",
    ),
)
METHODS = ("GET", "GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE", "X")
NAMES = (
    "q",
    "k",
    "mode",
    "where",
    "id",
    "profile",
    "facet",
    "offset",
    "per",
    "snippet",
    "text",
    "metadata",
    "record",
    "Q",
    "__proto__",
    "",
)
KNOWN = (
    ("k",),
    ("mode",),
    ("where",),
    ("profile",),
    ("id",),
    ("facet",),
    ("offset",),
    ("per",),
    ("snippet",),
    ("text",),
    ("metadata",),
    ("as_typed",),
    ("record",),
)
ROUTES = (
    *(("GET", "/search"), ("GET", "/search"), ("POST", "/search"), ("GET", "/explain"), ("GET", "/metrics")),
    *(
        ("POST", "/v1/embeddings"),
        ("POST", "/documents"),
        ("POST", "/click"),
        ("PUT", "/documents/x"),
        ("DELETE", "/documents/faq/1"),
    ),
)
TEXTS = (
    *(
        "list files",
        "",
        " ",
        "0",
        "-1",
        "1",
        "10",
        "1000",
        "1e9",
        "NaN",
        "hybrid",
        "dense",
        "lexical",
        "faq/1",
    ),
    *(
        "%00",
        "%0d%0aSet-Cookie:x",
        "%ff",
        "%F0%9F%98%80",
        "lang=en",
        "year>=2020",
        "a=1' OR 1=1 --",
        "=",
        ">=",
    ),
    *(
        "<script>",
        "%u0041",
        "x" * 1001,
        "%E5%90%AF%E5%8A%A8",
        "%ED%A0%80",
        "../../etc/passwd",
        "${jndi:ldap}",
    ),
)
BODIES: tuple[Any, ...] = (
    {"search": "0123456789abcdef", "document": "faq/1", "rank": 3},
    {"queries": ["copy"], "k": 3, "mode": "dense", "where": [], "facet": ["lang"], "offset": 3},
    {"documents": [{"_id": "x", "title": "t", "text": "x", "metadata": {"a": 1}}]},
    {"title": "x", "text": "y", "metadata": {"n": [1, {}]}},
    {"model": "query", "input": "copy", "encoding_format": "base64"},
    {"model": "document", "input": ["a", "b"]},
)
STATUSES = {200, 400, 401, 403, 404, 405, 408, 413, 414, 415, 422, 503}


def body(random: random.Random) -> bytes:
    """A body: valid, mutated, or nonsense."""
    data = json.dumps(random.choice(BODIES)).encode()
    kind = random.randrange(6)
    if kind == 0:
        return data
    if kind == 1:
        at = random.randrange(len(data))
        return data[:at] + random.randbytes(random.randrange(4)) + data[at + random.randrange(3) :]
    if kind == 2:
        return random.choice((b"[" * 5000, b'{"a":' * 5000, b"1" * 5000, b"", b"null", b'"\\ud800"'))
    if kind == 3:
        value = random.choice(
            ("1e999", "-0", "[]", "{}", "null", "true", '"\\u0000"', "9" * 400, '"\\udfff"')
        )
        return data.replace(b'"copy"', value.encode()).replace(b"3", value.encode())
    return random.randbytes(random.randrange(200))


def request(random: random.Random) -> tuple[str, bytes, bytes, list[tuple[bytes, bytes]], bytes]:
    """Method, raw path, query string, headers, body."""
    method, path = random.choice(METHODS), random.choice(PATHS)
    names = random.choice(KNOWN) if random.random() < 0.8 else NAMES
    pairs = [f"{random.choice(names)}={random.choice(TEXTS)}" for _ in range(random.randrange(4))]
    if random.random() < 0.2:
        path += random.choice(TEXTS)
    if random.random() < 0.7:  # a route that is there, and what it asks for
        method, path = random.choice(ROUTES)
        pairs = [pair for pair in pairs if path in ("/search", "/explain") and not pair.startswith("q=")]
        pairs += ["q=copy+a+directory"] if path in ("/search", "/explain") and method == "GET" else []
    headers = [
        (b"host", b"x"),
        (b"content-type", random.choice((b"application/json",) * 4 + (b"text/xml", b""))),
    ]
    if random.random() < 0.5:
        wrong = random.choice((b"Bearer x", b"Bearer ", b"Basic \xff", b"Bearer the-token-that-is-never-sen"))
        headers.append((b"authorization", wrong))
    if random.random() < 0.1:
        headers.append((b"content-length", random.choice((b"-1", b"99999999999999999999", b"x", b"0"))))
    raw = path.encode("latin-1")
    return method, raw, "&".join(pairs).encode(), headers, body(random)


async def send(
    app: Application,
    method: str,
    path: bytes,
    query: bytes,
    headers: list[tuple[bytes, bytes]],
    content: bytes,
) -> tuple[int, bytes]:
    """The status and the body that the application answers, called as a server calls it."""
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "path": unquote(path.decode("latin-1")),
        "raw_path": path,
        "query_string": query,
        "headers": headers,
        "root_path": "",
        "scheme": "http",
        "server": ("x", 80),
        "client": None,
    }
    told: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": content, "more_body": False}

    async def answer(message: Any) -> None:
        told.append(dict(message))

    await app(scope, receive, answer)
    return told[0]["status"], b"".join(part.get("body", b"") for part in told[1:])


def files(folder: Path) -> list[tuple[str, int, int]]:
    """Every file below a folder with its size and time of change, besides locks and the log of clicks."""
    found = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name not in (".lock", LOG))
    return [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in found]


async def fuzz(requests: int, seed: int, folder: Path) -> Counter[int]:
    """Send requests to an application over a copy of an index in `folder`; counts of statuses."""
    index = Path(shutil.copytree(GOLDEN, folder / "index"))
    before = files(folder)
    log = folder / LOG
    app = Application(Settings(index, Limits(body_bytes=4096), TOKEN, log_requests=False, clicks=log))
    await app.start()
    chosen, statuses = random.Random(seed), Counter[int]()
    try:
        for _ in range(requests):
            asked = request(chosen)
            status, content = await send(app, *asked)
            assert status in STATUSES, (asked, status, content[:300])
            assert b"Traceback" not in content and b"root:" not in content, asked
            if status >= 400 and asked[0] != "HEAD" and not asked[1].startswith(b"/readyz"):
                error = json.loads(content)["error"]
                assert error["status"] == status and "\n" not in error["message"], (asked, error)
            if asked[0] in ("PUT", "DELETE") and status == 200:
                raise AssertionError(f"written without the token: {asked}")
            statuses[status] += 1
    finally:
        await app.stop()
    assert files(folder) == before, "something was written"
    with opened(log) as parts:
        clicked = {event.clicked for _, event in events(parts) if isinstance(event, Clicked)}
    assert clicked <= {"faq/1"}, "a click on no document was recorded"
    return statuses


def main() -> None:
    """Run and print the counts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        statuses = asyncio.run(fuzz(given.requests, given.seed, Path(folder)))
    sys.stdout.write(f"{given.requests:,} requests, seed {given.seed}: {dict(sorted(statuses.items()))}\n")


if __name__ == "__main__":
    main()
