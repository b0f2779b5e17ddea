"""The handler that names the metadata fields by which a reader may filter.

In: requests. Out: fields with few values, and their values. Reading them takes a thread, and a second or two
a field for a million documents, so the answer is kept as long as the generation is.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from index.disk.folder import Pointer
from retrieval.search.retriever import Retriever
from retrieval.serving.api.reading import Parameters
from retrieval.serving.api.schemas import Fields
from retrieval.serving.engine import fields
from retrieval.serving.errors import json_response
from retrieval.serving.state import State


class FieldHandlers:
    """Handler of /fields."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._known: tuple[Pointer, Fields] | None = None

    async def get(self, request: Request, values: Parameters) -> Response:
        """GET /fields."""
        with self._state.engine.pinned() as retriever:
            if self._known is None or self._known[0] != retriever.index.pointer:
                found = await self._state.slow.run(_read, retriever, self._state.recorder is not None)
                self._known = retriever.index.pointer, found
            return json_response(self._known[1])


def _read(retriever: Retriever, records_clicks: bool) -> Fields:
    with retriever.pinned():  # also when the request has given up waiting
        index = retriever.index
        return Fields(index.generation, index.count, fields(retriever), records_clicks)
