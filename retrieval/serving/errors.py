"""Every refusal as a status and one line of JSON.

In: exceptions. Out: `Refusal`s, and the response of one. The JSON has the form of OpenAI's errors, with the
status: {"error": {"status": 422, "message": ..., "type": ..., "param": ..., "code": ...}}. Never a traceback.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import msgspec
from starlette.exceptions import HTTPException
from starlette.responses import Response

from index.errors import BusyError, InputError, PeepholeError
from retrieval.text.terminal import visible

RETRY = {"Retry-After": "1"}
NO_SNIFFING = {"X-Content-Type-Options": "nosniff"}  # what is no page is never taken for one
_LONGEST_MESSAGE = 500


class Refusal(Exception):  # noqa: N818 (an answer of the server, no failure)
    """A request that is not answered.

    status: of HTTP.
    message: one line for the client: what is wrong, and what to do.
    param: the parameter that is wrong, if it is one.
    headers: of the response.
    """

    def __init__(
        self,
        status: int,
        message: str,
        param: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.headers = headers or {}

    def response(self) -> Response:
        """The response that says it."""
        return json_response(error_json(self), self.status, self.headers)


def error_json(refusal: Refusal) -> dict[str, Any]:
    """The JSON values of a refusal."""
    kind = "invalid_request_error" if refusal.status < 500 else "server_error"
    message = " ".join(visible(refusal.message[:_LONGEST_MESSAGE]).split())
    return {
        "error": {
            "status": refusal.status,
            "message": message,
            "type": kind,
            "param": refusal.param,
            "code": HTTPStatus(refusal.status).name.lower(),
        }
    }


def json_response(value: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A value as a JSON response."""
    return Response(
        msgspec.json.encode(value), status, {**NO_SNIFFING, **(headers or {})}, "application/json"
    )


def refusal_of(error: Exception) -> Refusal:
    """The refusal that stands for an exception; status 500 for one that nobody expects."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, HTTPException):
        messages = {404: "no such route; see /openapi.json", 405: "this route does not know the method"}
        return Refusal(
            error.status_code,
            messages.get(error.status_code, error.detail),
            headers=dict(error.headers or {}),
        )
    if isinstance(error, InputError):
        return Refusal(422, str(error))
    if isinstance(error, BusyError):
        return Refusal(503, "another writer is at work; try again", headers=RETRY)
    if isinstance(error, TimeoutError):
        return Refusal(503, "this took too long; ask for less, or try again", headers=RETRY)
    if isinstance(error, PeepholeError):
        return Refusal(503, "the index cannot do this now; its log says why", headers=RETRY)
    return Refusal(500, "an unexpected failure; the server's log names it")
