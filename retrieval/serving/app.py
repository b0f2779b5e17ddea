"""The application: an ASGI callable that routes requests, and logs and counts each of them.

In: settings. Out: responses; every failure as one line of JSON. Knows nothing of processes and sockets.
"""

from __future__ import annotations

import asyncio
import time
from importlib.metadata import PackageNotFoundError, version
from urllib.parse import unquote_to_bytes

from starlette.convertors import PathConvertor, register_url_convertor
from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, Router
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from index.errors import one_line
from retrieval.serving import static
from retrieval.serving.api.openapi import Operation, document
from retrieval.serving.api.operations import operations
from retrieval.serving.api.reading import parameters
from retrieval.serving.errors import NO_SNIFFING, Refusal, json_response, refusal_of
from retrieval.serving.hosts import require_known_host
from retrieval.serving.reload import open_when_possible, watch
from retrieval.serving.settings import Settings
from retrieval.serving.state import State
from retrieval.serving.telemetry import log
from retrieval.serving.telemetry.log import Record

_OPENAPI = "/openapi.json"


class _Any(PathConvertor):
    """A part of a path with any characters; those of Starlette end with the line."""

    regex = r"[\s\S]*"


register_url_convertor("any", _Any())


class Application:
    """The application of one process. Its state opens the index at the lifespan's start."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.state: State | None = None
        self._router: ASGIApp = Router()
        self._watching: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the whole lifespan."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            await self._serve(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1000})

    async def start(self) -> State:
        """Open the index, waiting until it can be opened, and begin to look for new generations."""
        if self.state is None:
            self.state = State(self.settings)
            table = operations(self.state)
            self.state.count([*dict.fromkeys(each.name for each in table), _OPENAPI])
            self._router = _cors(self._guarded(_router(table)), self.settings)
        await open_when_possible(self.state)
        self._watching = asyncio.create_task(watch(self.state))
        self.state.refresh_gauges()
        return self.state

    async def stop(self) -> None:
        """Close the index, once the writes that run are done."""
        if self._watching is not None:
            self._watching.cancel()
        if self.state is not None:
            await asyncio.to_thread(self.state.close)

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            try:
                await (self.start() if message["type"] == "lifespan.startup" else self.stop())
            except Exception as error:  # whatever it is, the log tells it in one line
                log.event("worker_failed", problem=one_line(error))
                await send({"type": f"{message['type']}.failed", "message": ""})
                return
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        record = Record()
        scope["record"] = record
        scope["app"] = self  # the router then raises what it refuses

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                record.status = message["status"]
            await send(message)

        await self._router(scope, receive, sending)
        self._finish(record, scope["method"])

    def _guarded(self, router: ASGIApp) -> ASGIApp:
        """The router, whose every failure is a response."""

        async def serve(scope: Scope, receive: Receive, send: Send) -> None:
            try:
                self._check(scope)
                await router(scope, receive, send)
            except Exception as error:  # whatever it is, the client gets one line and the next one is served
                await _refuse(error, scope, receive, send)

        return serve

    def _check(self, scope: Scope) -> None:
        if self.settings.hosts is not None:
            require_known_host(Headers(scope=scope).getlist("host"), self.settings.hosts)
        most, path = self.settings.limits.target_bytes, scope.get("raw_path", b"")
        if len(path) + len(scope["query_string"]) > most:
            raise Refusal(414, f"path and query string have at most {most:,} bytes")
        try:
            unquote_to_bytes(path).decode()
        except UnicodeDecodeError as error:  # two ids would become one
            raise Refusal(400, "the path is not percent-encoded UTF-8") from error

    def _finish(self, record: Record, method: str) -> None:
        seconds = time.perf_counter() - record.started
        if self.state is not None:
            self.state.metrics.request(record.route, record.status, seconds)
        if self.settings.log_requests or record.problem is not None:  # the answer says that the log tells why
            log.write(log.request_line(method, record, seconds, self.settings.log_queries))


async def _refuse(error: Exception, scope: Scope, receive: Receive, send: Send) -> None:
    refusal, record = refusal_of(error), scope["record"]
    if refusal.status >= 500 and not isinstance(error, Refusal):
        record.problem = f"{type(error).__name__}: {error}"
    if not record.status:  # else half an answer is out, and the connection ends
        await refusal.response()(scope, receive, send)


def _router(table: list[Operation]) -> ASGIApp:
    described = bytes(json_response(document(table, _version())).body)

    async def openapi(request: Request) -> Response:
        request.scope["record"].route = _OPENAPI
        return Response(described, 200, NO_SNIFFING, "application/json")

    paths = dict.fromkeys(each.path for each in table)
    routes: list[BaseRoute] = [_route(path, [each for each in table if each.path == path]) for path in paths]
    return Router([*routes, Route(_OPENAPI, openapi), *static.routes()], redirect_slashes=False)


def _route(path: str, table: list[Operation]) -> Route:
    by_method = {each.method: each for each in table}
    known = {each.method: {parameter.name for parameter in each.parameters} for each in table}

    async def endpoint(request: Request) -> Response:
        method = "GET" if request.method == "HEAD" else request.method
        request.scope["record"].route = by_method[method].name
        return await by_method[method].handler(request, parameters(request, known[method]))

    return Route(path, endpoint, methods=list(by_method))


def _cors(app: ASGIApp, settings: Settings) -> ASGIApp:
    if not settings.cors_origins:
        return app
    return CORSMiddleware(app, allow_origins=settings.cors_origins, allow_methods=["*"], allow_headers=["*"])


def _version() -> str:
    try:
        return version("peephole")
    except PackageNotFoundError:
        return "unknown"
