"""The handlers that operators ask: is the process alive, is it ready, what has it counted."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from retrieval.serving.api.reading import Parameters
from retrieval.serving.api.schemas import Alive, Ready
from retrieval.serving.errors import NO_SNIFFING, json_response
from retrieval.serving.state import State


class HealthHandlers:
    """Handlers of /healthz, /readyz and /metrics."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def alive(self, request: Request, values: Parameters) -> Response:
        """GET /healthz: the process lives."""
        return json_response(Alive("alive"))

    async def ready(self, request: Request, values: Parameters) -> Response:
        """GET /readyz: 200 if an index is open and serves, 503 if not."""
        state = self._state
        if not state.is_open:
            return json_response(Ready("opening", refused=state.refused), 503)
        index = state.engine.index
        return json_response(Ready("ready", index.generation, index.count, state.refused))

    async def metrics(self, request: Request, values: Parameters) -> Response:
        """GET /metrics: of all workers."""
        self._state.refresh_gauges()
        kind = "text/plain; version=0.0.4; charset=utf-8"
        return Response(self._state.metrics.text(), 200, NO_SNIFFING, kind)
