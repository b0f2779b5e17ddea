"""Limits on what arrives before the application sees a request: slow heads, long heads, too many connections.

In: bytes of a connection. Out: a refusal and a closed connection, or what uvicorn makes of them. uvicorn
itself bounds the time between two requests, but neither the time nor the length of a head.
"""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from retrieval.serving.errors import Refusal, error_json
from retrieval.serving.settings import Limits

# The protocol is made by uvicorn, which knows nothing of our settings.
LIMITS = Limits()
# Seconds that a connection without a request stays open when the server ends: one may be on its way, and a
# reset would be a failure to proxies and clients.
_ON_ITS_WAY = 1.0


class LimitedProtocol(HttpToolsProtocol):
    """A connection that is closed if a head takes too long or is too long."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._head_bytes = 0
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
        """Feed the parser. Bytes after which a head is still not complete belong to it."""
        super().data_received(data)
        if self._timer is not None:
            self._head_bytes += len(data)
            if self._head_bytes > LIMITS.header_bytes:
                self._refuse(Refusal(431, f"a head has at most {LIMITS.header_bytes:,} bytes"))

    def on_message_begin(self) -> None:
        """Start the clock of a head."""
        self._expect_head()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Stop the clock."""
        self._stop()
        super().on_headers_complete()
        if self._ending and self.cycle is not None:
            self.cycle.keep_alive = False

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
        self._head_bytes = 0
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
