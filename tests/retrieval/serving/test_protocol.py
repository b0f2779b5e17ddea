"""The bytes of a connection: limits on heads, trailers and bodies, what is no HTTP, and the last request."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import pytest
import uvicorn
from served import serving
from uvicorn.server import ServerState

from retrieval.serving import protocol
from retrieval.serving.protocol import LimitedProtocol


async def answer_ok(scope, receive, send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


@asynccontextmanager
async def protocol_of(app: object) -> AsyncIterator[tuple[tuple[str, int], ServerState]]:
    """Where connections have the server's protocol, for an application, and what they share."""
    config = uvicorn.Config(app, http=LimitedProtocol, log_config=None, lifespan="off")
    config.load()
    state, loop = ServerState(), asyncio.get_running_loop()
    server = await loop.create_server(lambda: LimitedProtocol(config, state, {}), "127.0.0.1", 0)
    yield server.sockets[0].getsockname(), state
    server.close()


@pytest.mark.parametrize("used", [False, True])
def test_a_request_on_its_way_when_the_server_ends_is_answered_and_is_the_last(used):
    request = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"

    async def play() -> None:
        async with protocol_of(answer_ok) as (address, state):
            await ask(address, state)

    async def ask(address: tuple[str, int], state: ServerState) -> None:
        reading, writing = await asyncio.open_connection(*address)
        if used:
            writing.write(request)
            assert (await reading.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        while not state.connections:
            await asyncio.sleep(0)
        for connection in state.connections:
            connection.shutdown()
        writing.write(request)
        said = await asyncio.wait_for(reading.read(), 30)  # to the end of the connection
        assert said.startswith(b"HTTP/1.1 200") and b"connection: close" in said
        writing.close()

    asyncio.run(play())


@pytest.mark.parametrize("trailers", [b"a: b\r\n" * 100_000, b"a: " + b"x" * 600_000], ids=["many", "long"])
def test_trailers_without_end_are_not_kept(trailers):
    async def play() -> None:
        async with protocol_of(answer_ok) as (address, _):
            reader, writer = await asyncio.open_connection(*address)
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
            assert b" 200 OK" in await reader.readline()
            with suppress(ConnectionError):
                writer.write(b"0\r\n" + trailers)
                await writer.drain()
                assert b" 431 " in await asyncio.wait_for(reader.read(), 20)
            writer.close()

    asyncio.run(play())


@pytest.mark.parametrize(
    ("head", "stray"),
    [(b"", b"\r\n"), (b"Content-Length: 999\r\n", b"x"), (b"Transfer-Encoding: chunked\r\n", b"1\r\nx\r\n")],
)
def test_bytes_that_no_handler_reads_keep_no_connection_open(head, stray, monkeypatch):
    monkeypatch.setattr(protocol, "LIMITS", replace(protocol.LIMITS, seconds=0.3))

    async def drip(writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while True:
                writer.write(stray)
                await writer.drain()
                await asyncio.sleep(0.05)

    async def play() -> None:
        async with protocol_of(answer_ok) as (address, _):
            reader, writer = await asyncio.open_connection(*address)
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n")
            assert b" 200 OK" in await reader.readline()
            dripping = asyncio.create_task(drip(writer))
            with suppress(ConnectionError):
                await asyncio.wait_for(reader.read(), 20)
            await dripping

    asyncio.run(play())


def test_pieces_of_a_body_are_no_head():
    body = b'{"queries": ["copy"]}' + b" " * 500_000
    chunks = b"".join(
        b"3e8\r\n" + body[at : at + 1000].ljust(1000) + b"\r\n" for at in range(0, len(body), 1000)
    )

    async def app(scope, receive, send):
        size = 0
        while True:
            message = await receive()
            size += len(message["body"])
            if not message["more_body"]:
                break
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": str(size).encode()})

    async def play() -> None:
        async with protocol_of(app) as (address, _):
            reader, writer = await asyncio.open_connection(*address)
            writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
            writer.write(chunks + b"0\r\n\r\nGET / HTTP/1.0\r\n\r\n")
            got = await asyncio.wait_for(reader.read(), 20)
            assert b"501000" in got and got.count(b"HTTP/1.1 200 OK") == 2
            writer.close()

    asyncio.run(play())


def test_many_requests_that_arrive_at_once_are_no_long_head():
    request = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"

    async def play() -> None:
        async with protocol_of(answer_ok) as (address, _):
            reader, writer = await asyncio.open_connection(*address)
            writer.write(request * 4000 + b"GET / HT")
            writer.write(b"TP/1.0\r\n\r\n")
            got = await asyncio.wait_for(reader.read(), 20)
            assert (got.count(b"HTTP/1.1 200 OK"), got.count(b"HTTP/1.1 431")) == (4001, 0)
            writer.close()

    asyncio.run(play())


@pytest.mark.parametrize("chunked", [False, True])
def test_a_client_that_sends_all_of_a_body_that_is_too_long_is_told_so(folder, chunked):
    size = 32 << 20
    line = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {size}"
    with serving(folder) as server, socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(f"POST /search HTTP/1.1\r\nHost: x\r\n{line}\r\n\r\n".encode())
        piece = b" " * (1 << 16)
        for _ in range(size // len(piece)):
            client.sendall(b"10000\r\n" + piece + b"\r\n" if chunked else piece)
        client.sendall(b"0\r\n\r\n" if chunked else b"")
        assert client.recv(1 << 16).startswith(b"HTTP/1.1 413 ")
        client.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.recv(1 << 16).startswith(b"HTTP/1.1 200 ")


def test_bytes_that_are_no_http_get_one_line_and_the_server_lives(folder):
    with serving(folder, "--no-access-log") as server:
        before = server.log.read_text()
        for data, status in (
            (b"\x16\x03\x01 hello\r\n\r\n", 400),
            (b"GET /" + b"\xff" * 10 + b" HTTP/1.1\r\n\r\n", 400),
            (b"GET / HTTP/1.1\r\n" + b"a: " + b"x" * 200_000, 431),
            (b"GET / HTTP/1.1\r\na: " + b"x" * 66_000 + b"\r\n\r\n", 431),
            (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 20_000 + b"\r\n", 431),
            (b"GET /healthz HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", 200),
            (b"GET /nothing/%00%0d%0a HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        ):
            with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
                client.sendall(data)
                got = client.recv(1 << 16)
                assert got.startswith(f"HTTP/1.1 {status} ".encode()), (data[:40], got)
        assert server.answers()
        assert server.log.read_text() == before
