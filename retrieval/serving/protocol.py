"""Limits on what no handler reads: slow and long heads, bodies that nobody asked for, too many connections.

In: bytes of a connection. Out: a refusal and a closed connection, or what uvicorn makes of them. uvicorn
itself bounds the time between two requests, as long as nothing arrives, but neither the time nor the length
of a head, of what follows a body, and of a body whose request is answered already.
"""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from retrieval.serving.errors import NO_SNIFFING, Refusal, error_json
from retrieval.serving.settings import Limits

# The protocol is made by uvicorn, which knows nothing of our settings.
LIMITS = Limits()
# Seconds that a connection without a request stays open when the server ends: one may be on its way, and a
# reset would be a failure to proxies and clients.
_ON_ITS_WAY = 1.0
_AROUND = len(": \r\n")  # of a line of a head, besides name and value
_LONG_HEAD = Refusal(431, f"a head has at most {LIMITS.header_bytes:,} bytes")


class LimitedProtocol(HttpToolsProtocol):
    """A connection that is closed if a head takes too long or is too long.

    The same holds for the trailers of a body. A body that still arrives when its request is answered, and
    bytes that belong to no request, have the time of a head.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._arriving = False  # whether a request has begun to arrive and not ended
        self._ended = False  # whether a piece of a body, or a request, ended in what arrived last
        self._framing_bytes = 0  # of heads and trailers, that arrived in a row
        self._timer: asyncio.TimerHandle | None = None
        self._ending = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the clock, or refuse a connection too many."""
        super().connection_made(transport)
        if len(self.connections) > LIMITS.connections:
            self._refuse(Refusal(503, "too many connections; try again", headers={"Retry-After": "1"}))
        else:
            self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        self._stop()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Feed the parser, and count what is no body: it keeps a head, and trailers, until they end."""
        self._ended = False
        super().data_received(data)
        if self._arriving and not self._ended:
            self._framing_bytes += len(data)
            if self._framing_bytes > LIMITS.header_bytes:
                self._refuse(_LONG_HEAD)
        if self._timer is None and self._is_idle():
            self._expect_head()  # uvicorn stops its own clock whatever arrives

    def on_message_begin(self) -> None:
        """Start the clock of a head."""
        self._arriving, self._framing_bytes = True, 0
        self._expect_head()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Stop the clock. A long head may have arrived at once."""
        self._stop()
        lines = sum(len(name) + len(value) + _AROUND for name, value in self.headers)
        if len(self.url) + lines > LIMITS.header_bytes:
            self._refuse(_LONG_HEAD)
            raise ValueError  # the parser goes no further
        super().on_headers_complete()
        if self._ending and self.cycle is not None:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """Note that not all that arrived is head and trailers."""
        self._ended, self._framing_bytes = True, 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Note the end of a request. What arrives with it may be the head of the next one."""
        self._arriving, self._ended = False, True
        super().on_message_complete()

    def shutdown(self) -> None:
        """Make the request that is under way, or on its way, the last one."""
        self._ending = True
        if self._is_idle():
            self.loop.call_later(_ON_ITS_WAY, self._close_idle)
        else:
            super().shutdown()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP."""
        self._refuse(Refusal(400, "this is no HTTP request"))

    def _expect_head(self) -> None:
        self._stop()
        self._timer = self.loop.call_later(LIMITS.seconds, self._close)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _refuse(self, refusal: Refusal) -> None:
        self._stop()
        if self.transport.is_closing():
            return
        content = msgspec.json.encode(error_json(refusal))
        headers = {
            "Content-Type": "application/json",
            "Content-Length": str(len(content)),
            "Connection": "close",
            **NO_SNIFFING,
            **refusal.headers,
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self.transport.write(STATUS_LINE[refusal.status] + lines.encode() + b"\r\n" + content)
        self.transport.close()

    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _close_idle(self) -> None:
        if self._is_idle():
            self._close()

    def _close(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()
