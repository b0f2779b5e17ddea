"""What a request says, checked: its parameters and its body.

In: requests and the limits. Out: values, or a refusal that names the parameter. Knows nothing of what they
are for.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Container
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from starlette.requests import ClientDisconnect, Request

from retrieval.search.modes import MODES, Mode
from retrieval.serving.errors import Refusal
from retrieval.serving.settings import Limits

_MOST_PARAMETERS = 64

Parameters = dict[str, list[str]]


def parameters(request: Request, known: Container[str]) -> Parameters:
    """The values of each query parameter. Raises a 400 for one that the route does not know."""
    try:
        pairs = parse_qsl(
            request.scope["query_string"].decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=_MOST_PARAMETERS,
        )
    except ValueError as error:
        raise Refusal(400, "the query string is not percent-encoded UTF-8, or has too many parts") from error
    values: Parameters = {}
    for name, value in pairs:
        if name not in known:
            raise Refusal(400, f"no parameter is called {name!a}; see /openapi.json", name)
        values.setdefault(name, []).append(value)
    return values


def one(values: Parameters, name: str, default: str | None = None) -> str:
    """The value of a parameter that is given once. Raises a 400 if it is missing or given again."""
    given = values.get(name, [] if default is None else [default])
    if len(given) != 1:
        raise Refusal(400, f"give {name} once" if given else f"{name} is missing", name)
    return given[0]


def switch(values: Parameters, name: str, default: str = "0") -> bool:
    """The value of a parameter that is 0 or 1, or false or true as in JSON."""
    value = one(values, name, default)
    if value not in ("0", "1", "false", "true"):
        raise Refusal(422, f"{name} must be 0 or 1", name)
    return value in ("1", "true")


def whole(text: str) -> int | None:
    """A whole number of at most nine digits; None for any other text."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 9 else None


def share(text: str, name: str) -> float:
    """A number from 0 to 1."""
    try:
        value = float(text) if text.isascii() else math.nan
    except ValueError:
        value = math.nan
    return checked_share(value, name)


def checked_share(value: float, name: str) -> float:
    """A number from 0 to 1."""
    if not 0 <= value <= 1:  # NaN is not either
        raise Refusal(422, f"{name} must be a number from 0 to 1", name)
    return value


def checked_query(text: str, limits: Limits, name: str = "q") -> str:
    """A query of a fitting length with a word in it."""
    if not text.strip():
        raise Refusal(422, "the query is empty; give at least one word", name)
    if len(text) > limits.query_characters:
        raise Refusal(422, f"a query has at most {limits.query_characters:,} characters", name)
    return text


def checked_hits(k: int | None, limits: Limits) -> int:
    """A number of hits between 1 and the limit."""
    return _within(k, 1, limits.hits, "k")


def checked_mode(mode: str) -> Mode:
    """One of the modes of search."""
    for known in MODES:
        if mode == known:
            return known
    raise Refusal(422, f"mode must be one of {', '.join(MODES)}", "mode")


def checked_offset(offset: int | None, limits: Limits) -> int:
    """A number of hits to leave out, up to the limit."""
    return _within(offset, 0, limits.offset, "offset")


def _within(number: int | None, least: int, most: int, name: str) -> int:
    if number is None or not least <= number <= most:
        raise Refusal(422, f"{name} must be a whole number from {least} to {most:,}", name)
    return number


def checked_where(where: list[str], limits: Limits) -> tuple[str, ...]:
    """As many conditions as are allowed, none too long."""
    if len(where) > limits.conditions:
        raise Refusal(422, f"where takes at most {limits.conditions} conditions", "where")
    if any(len(each) > limits.condition_characters for each in where):
        raise Refusal(422, f"a condition has at most {limits.condition_characters:,} characters", "where")
    return tuple(where)


def checked_facets(fields: list[str], limits: Limits) -> tuple[str, ...]:
    """As many fields as are allowed, each once."""
    fields = [checked_field(each, limits, "facet") for each in dict.fromkeys(fields)]
    if len(fields) > limits.facets:
        raise Refusal(422, f"facet takes at most {limits.facets} fields", "facet")
    return tuple(fields)


def checked_field(field: str, limits: Limits, name: str) -> str:
    """A name of a metadata field that is not longer than a query."""
    if not field or len(field) > limits.query_characters:
        raise Refusal(422, f"{name} takes the name of a metadata field", name)
    return field


async def body(request: Request, limits: Limits) -> bytes:
    """The whole body. Raises 415 if it is not JSON, 413 if it is too long, 408 if it takes too long."""
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Refusal(415, "send the body as Content-Type: application/json")
    # Most clients read the answer once they have sent all, so what they still send must find an open socket.
    # The connection bounds the time. Who waits for a 100 sends nothing more.
    closing = {"Connection": "close"} if "expect" in request.headers else None
    too_long = Refusal(413, f"a body has at most {limits.body_bytes:,} bytes", headers=closing)
    if whole_length(request) > limits.body_bytes:
        raise too_long
    parts, size = [], 0
    try:
        async with asyncio.timeout(limits.seconds):
            async for part in request.stream():
                size += len(part)
                if size > limits.body_bytes:
                    raise too_long
                parts.append(part)
    except TimeoutError as error:
        raise Refusal(408, "the body did not arrive in time", headers={"Connection": "close"}) from error
    except ClientDisconnect as error:
        raise Refusal(400, "the client went away") from error
    return b"".join(parts)


def whole_length(request: Request) -> int:
    """The Content-Length, 0 without one."""
    length = request.headers.get("content-length", "0")
    return int(length) if length.isascii() and length.isdigit() and len(length) <= 18 else 0


async def json_body(request: Request, limits: Limits, kind: type[Any]) -> Any:
    """The body as a value of a type. Raises 400 for broken JSON, 422 for values of another type."""
    data = await body(request, limits)
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.ValidationError as error:
        raise Refusal(422, f"the body does not fit: {error}") from error
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise Refusal(400, f"the body is not JSON: {error}") from error
