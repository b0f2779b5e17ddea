"""A table of operations, from which both the routes and the OpenAPI document are made.

In: operations. Out: the document, as JSON values. Whatever is routed is documented. Knows nothing of what
handlers do.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from retrieval.serving.api.reading import Parameters

Handler = Callable[[Request, Parameters], Awaitable[Response]]

_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["status", "message"],
            "properties": {
                "status": {"type": "integer"},
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": "string"},
            },
        }
    },
}


@dataclass(frozen=True)
class Parameter:
    """A parameter of the query string. schema: JSON Schema of its value."""

    name: str
    schema: dict[str, Any]
    text: str
    required: bool = False


@dataclass(frozen=True)
class Operation:
    """A method of a path.

    path: as Starlette writes it; `{id:any}` takes slashes and line ends too.
    body, answer: types of the JSON; None for no body, and for an answer that is no JSON.
    statuses: those that it may answer with, besides 200 and those of every operation.
    writes: whether it needs the token.
    """

    method: str
    path: str
    handler: Handler
    summary: str
    parameters: tuple[Parameter, ...] = ()
    body: type[Any] | None = None
    answer: type[Any] | None = None
    statuses: tuple[int, ...] = ()
    writes: bool = False

    @property
    def name(self) -> str:
        """The path as OpenAPI writes it; also its name in metrics and logs."""
        return self.path.replace(":any", "")


def document(operations: Sequence[Operation], version: str) -> dict[str, Any]:
    """The OpenAPI 3.1 document of the operations. version: of the package."""
    kinds = {kind for each in operations for kind in (each.body, each.answer) if kind is not None}
    ordered = sorted(kinds, key=lambda kind: kind.__name__)
    schemas, components = msgspec.json.schema_components(ordered, ref_template="#/components/schemas/{name}")
    named = dict(zip(ordered, schemas, strict=True))
    paths: dict[str, Any] = {}
    for each in operations:
        paths.setdefault(each.name, {})[each.method.lower()] = _operation(each, named)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Peephole", "version": version},
        "paths": paths,
        "components": {
            "schemas": {**components, "Error": _ERROR},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(operation: Operation, schemas: dict[type[Any], Any]) -> dict[str, Any]:
    described: dict[str, Any] = {
        "summary": operation.summary,
        "parameters": [
            {
                "name": each.name,
                "in": "query",
                "required": each.required,
                "description": each.text,
                "schema": each.schema,
            }
            for each in operation.parameters
        ],
        "responses": _responses(operation, schemas),
    }
    if "{id" in operation.path:
        described["parameters"].append(
            {
                "name": "id",
                "in": "path",
                "required": True,
                "description": "The document's id, percent-encoded; it may hold slashes.",
                "schema": {"type": "string", "minLength": 1},
            }
        )
    if operation.body is not None:
        content = {"application/json": {"schema": schemas[operation.body]}}
        described["requestBody"] = {"required": True, "content": content}
    if operation.writes:
        described["security"] = [{"token": []}]
    return described


def _responses(operation: Operation, schemas: dict[type[Any], Any]) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": "The answer."}
    if operation.answer is not None:
        answer["content"] = {"application/json": {"schema": schemas[operation.answer]}}
    refusal = {
        "description": "A refusal.",
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
    }
    statuses = {400, 414, 421, 503, *operation.statuses}
    if operation.body is not None:
        statuses |= {408, 413, 415, 422}
    if operation.writes:
        statuses |= {401, 403}
    return {"200": answer, **{str(status): refusal for status in sorted(statuses)}}
