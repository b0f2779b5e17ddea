"""The handlers that read and write documents.

In: requests. Out: documents, or what a write did. Writes need the token, run one at a time in a thread, and
wait for writers in other processes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from index.documents.store import Document
from retrieval.data.documents import document_with_text
from retrieval.data.lines import Place
from retrieval.data.records import Record, id_field
from retrieval.serving.api.auth import require_writer
from retrieval.serving.api.reading import Parameters, json_body
from retrieval.serving.api.schemas import Documents
from retrieval.serving.errors import Refusal, json_response
from retrieval.serving.state import State

_LONGEST_ID = 1024
_SHOWN = 100  # characters of an id in a message


class DocumentHandlers:
    """Handlers of /documents."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def get(self, request: Request, values: Parameters) -> Response:
        """GET /documents/{id}."""
        found = await self._state.slow.run(self._state.engine.document, request.path_params["id"])
        if found is None:
            raise Refusal(404, "no document has this id", "id")
        return json_response(found)

    async def put(self, request: Request, values: Parameters) -> Response:
        """PUT /documents/{id}: add it, or replace the one with its id."""
        self._require_writer(request)
        fields: dict[str, Any] = await json_body(request, self._state.limits, dict[str, Any])
        return await self._add([_document_at(request.path_params["id"], fields)])

    async def post(self, request: Request, values: Parameters) -> Response:
        """POST /documents: add or replace several in one step."""
        self._require_writer(request)
        limits = self._state.limits
        given: Documents = await json_body(request, limits, Documents)
        if not 1 <= len(given.documents) <= limits.documents:
            raise Refusal(422, f"give 1 to {limits.documents:,} documents", "documents")
        return await self._add(
            [_document(Place("documents", line), fields) for line, fields in enumerate(given.documents, 1)]
        )

    async def delete(self, request: Request, values: Parameters) -> Response:
        """DELETE /documents/{id}."""
        self._require_writer(request)
        state, document_id = self._state, request.path_params["id"]
        if not await state.writes.run(state.engine.delete, document_id, state.limits.lock_seconds):
            raise Refusal(404, "no document has this id", "id")
        generation = state.engine.index.generation
        return json_response({"id": document_id, "deleted": True, "generation": generation})

    def _require_writer(self, request: Request) -> None:
        require_writer(request.headers.get("authorization"), self._state.settings.token)

    async def _add(self, documents: Sequence[Document]) -> Response:
        state = self._state
        result = await state.writes.run(state.engine.add, documents, state.limits.lock_seconds)
        return json_response(result)


def _document_at(path_id: str, fields: dict[str, Any]) -> Document:
    """The document of a body that may leave out its id. Raises a 422 for another id than the path's."""
    place, name = Place("document"), "_id" if "_id" in fields else "id"
    if name not in fields:
        fields = {**fields, name: path_id}
    given = id_field(Record(place, fields))
    if given != path_id:
        raise Refusal(
            422,
            f'"{name}" is {given[:_SHOWN]!r} but the path says {path_id[:_SHOWN]!r}; '
            f'leave "{name}" out, or write to its own path',
            name,
        )
    return _document(place, fields)


def _document(place: Place, fields: dict[str, Any]) -> Document:
    document = document_with_text(Record(place, fields))
    if len(document.id) > _LONGEST_ID:
        raise place.error(f"an id has at most {_LONGEST_ID} characters")
    return document
