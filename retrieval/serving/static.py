"""What is served beside the API: the search page. It is no operation, so OpenAPI does not name it.

In: nothing. Out: routes. The files stand in page/, are read once, and no other file can be asked for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from retrieval.serving.errors import NO_SNIFFING

_FOLDER = Path(__file__).with_name("page")
_INDEX = "index.html"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
# The page may run its own scripts and ask its own server, and nothing else.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
    "base-uri 'none'; frame-ancestors 'none'; form-action 'self'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    **NO_SNIFFING,
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",  # may be kept, but is asked for again; the answer is then short
}


def routes() -> list[BaseRoute]:
    """The routes of pages and files, tried after those of the API."""
    files = [file for file in sorted(_FOLDER.iterdir()) if file.suffix in _TYPES]
    return [Route("/" if file.name == _INDEX else f"/page/{file.name}", _endpoint(file)) for file in files]


def _endpoint(file: Path) -> Callable[[Request], Awaitable[Response]]:
    content = file.read_bytes()
    tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = {**_HEADERS, "ETag": tag, "Content-Type": _TYPES[file.suffix]}

    tags = {tag, f"W/{tag}", "*"}

    async def serve(request: Request) -> Response:
        known = request.headers.get("if-none-match", "").split(",")
        if not tags.isdisjoint(each.strip() for each in known):
            return Response(status_code=304, headers=headers)
        return Response(content, headers=headers)

    return serve
