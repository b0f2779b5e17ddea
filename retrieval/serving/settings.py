"""What a server is told at its start: the index, its limits, and who may do what.

In: values of the command line. Out: values for every other module here. Knows nothing of HTTP.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from index.errors import InputError

TOKEN_VARIABLE = "PEEPHOLE_TOKEN"  # noqa: S105 (a name, no secret)
_SHORTEST_TOKEN = 16
# An origin as a browser writes it into its header: in lower case, without a path.
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")


@dataclass(frozen=True)
class Limits:
    """What one request, and all of them together, may ask for."""

    query_characters: int = 1000
    hits: int = 1000  # most k
    queries: int = 100  # in one POST /search
    conditions: int = 16
    condition_characters: int = 4000  # it may list all values of a field
    facets: int = 16  # fields that are counted
    offset: int = 10_000
    documents: int = 1000  # in one POST /documents
    inputs: int = 256  # in one POST /v1/embeddings
    input_characters: int = 100_000  # of all inputs together
    target_bytes: int = 16 << 10  # path and query string
    header_bytes: int = 64 << 10
    body_bytes: int = 8 << 20
    click_bytes: int = 16 << 10  # of the body of a click
    seconds: float = 10.0  # that a request may wait and work; also to send its head or its body
    write_seconds: float = 600.0  # that a write may wait and work
    lock_seconds: float = 5.0  # that a write waits for a writer in another process
    connections: int = 2000  # open at a time, a worker
    waiting: int = 128  # searches that wait for their turn, a worker
    slow: int = 16  # requests that wait for a thread, a worker
    writes: int = 8  # writes that wait, a worker


@dataclass(frozen=True)
class Settings:
    """A server's settings. It travels to the worker processes."""

    index: Path
    limits: Limits = field(default_factory=Limits)
    token: str | None = None  # None turns writes off
    cors_origins: tuple[str, ...] = ()
    hosts: tuple[str, ...] | None = None  # further names by which it may be called; None for any name
    log_requests: bool = True
    log_queries: bool = False
    clicks: Path | None = None  # file in which searches and clicks are recorded; None records none
    board: Path | None = None  # file in which workers count; None for a single process


def read_token(path: Path | None) -> str | None:
    """The token that allows writes: from a file, or else from PEEPHOLE_TOKEN; None if neither is given.

    Raises InputError for a file that cannot be read, and a token too short to be a secret.
    """
    if path is None:
        token = os.environ.get(TOKEN_VARIABLE, "")
        if not token:
            return None
        place = f"${TOKEN_VARIABLE}"
    else:
        place = str(path)
        try:
            token = path.read_text("utf-8", errors="replace")
        except OSError as error:
            raise InputError(f"cannot be read ({error.strerror}); check the path", path=path) from error
    token = token.strip()
    if len(token) < _SHORTEST_TOKEN or not token.isascii() or not token.isprintable():
        raise InputError(
            f"a token has at least {_SHORTEST_TOKEN} ASCII characters; make one with: openssl rand -hex 32",
            path=place,
        )
    return token


def checked_origins(origins: tuple[str, ...]) -> tuple[str, ...]:
    """The origins whose pages may call. Raises InputError for what is not an origin."""
    for origin in origins:
        if origin != "*" and not _ORIGIN.fullmatch(origin):
            raise InputError(
                f"--cors-origin {origin!r} is not an origin; give * or scheme://host[:port] "
                "in lower case, such as https://example.org"
            )
    return origins
