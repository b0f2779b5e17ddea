"""The handler that records a click on a result.

In: the id of a search, a document, and its rank. Out: that it was taken. Whether the search showed the
document is looked at when the log is read, for the search may still wait in another worker. A server that
records nothing has no such route.
"""

from __future__ import annotations

from dataclasses import replace

from starlette.requests import Request
from starlette.responses import Response

from retrieval.serving.api.reading import Parameters, json_body
from retrieval.serving.api.schemas import Click, Taken
from retrieval.serving.errors import Refusal, json_response
from retrieval.serving.state import State


class ClickHandlers:
    """Handler of /click."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._limits = replace(
            state.limits, body_bytes=min(state.limits.body_bytes, state.limits.click_bytes)
        )

    async def post(self, request: Request, values: Parameters) -> Response:
        """POST /click."""
        given: Click = await json_body(request, self._limits, Click)
        engine = self._state.engine
        if engine.index.waits:  # for another machine; the loop must not wait for it
            known = await self._state.slow.run(engine.holds, given.document)
        else:
            known = engine.holds(given.document)
        if not known:
            raise Refusal(404, "no document has this id", "document")
        if self._state.recorder is not None:
            self._state.recorder.clicked(given.search, given.document, given.rank)
        return json_response(Taken(True))
