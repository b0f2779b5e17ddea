"""The command with processes and sockets of its own: start, death of a worker, draining, hostile bytes."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner
from served import ROOT, Server, serving

from cli import verbs
from retrieval.serving import process
from retrieval.serving.process import Listen
from retrieval.serving.settings import checked_origins


def test_a_worker_that_dies_is_replaced_and_sigterm_ends_all_with_0(folder):
    with serving(folder, "--workers", "2") as server:
        server.wait_for(lambda: len(server.children()) == 2)
        before = server.children()
        os.kill(min(before), signal.SIGKILL)
        server.wait_for(lambda: len(server.children()) == 2 and server.children() != before)
        assert server.answers()
        server.wait_for(lambda: "peephole_workers 2\n" in httpx.get(f"{server.url}/metrics").text)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 0
        assert not any(Path(f"/proc/{pid}").exists() for pid in before)
        said = server.log.read_text()
        assert f'"event":"worker_replaced","process":{min(before)},"ended_by":"SIGKILL"' in said
        assert "Traceback" not in said
        assert all(isinstance(json.loads(line), dict) for line in said.splitlines())


def test_workers_end_with_a_supervisor_that_was_killed(folder):
    with serving(folder, "--workers", "2") as server:
        server.wait_for(lambda: len(server.children()) == 2)
        workers = server.children()
        server.process.kill()
        end = time.monotonic() + 120
        while any(Path(f"/proc/{pid}").exists() for pid in workers):
            assert time.monotonic() < end, "a worker lives on"
            time.sleep(0.05)


def test_a_request_under_way_is_answered_after_sigterm_and_a_new_one_refused(folder):
    with serving(folder) as server, socket.create_connection(("127.0.0.1", server.port)) as client:
        body = b'{"queries": ["copy a directory"]}'
        head = f"POST /search HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        client.sendall(head.encode() + body[:5])
        time.sleep(0.2)
        server.process.send_signal(signal.SIGTERM)
        time.sleep(1.5)
        with pytest.raises(OSError):
            socket.create_connection(("127.0.0.1", server.port)).close()
        client.sendall(body[5:])
        assert client.recv(1 << 16).startswith(b"HTTP/1.1 200")
        assert server.process.wait(30) == 0
        assert "Traceback" not in server.log.read_text()


def test_a_connection_without_a_request_is_closed_soon_after_the_server_ends(folder):
    with serving(folder) as server, socket.create_connection(("127.0.0.1", server.port)) as idle:
        server.process.send_signal(signal.SIGTERM)
        assert idle.recv(1) == b""
        assert server.process.wait(30) == 0


@pytest.mark.parametrize("host", ["::1", "[::1]"])
def test_an_ipv6_address_may_stand_in_brackets(host):
    with process._listening(Listen(host, 0)) as listener:
        assert listener.family == socket.AF_INET6 and listener.getsockname()[0] == "::1"


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="Linux has it")
def test_a_client_that_takes_nothing_loses_its_connection(monkeypatch):
    monkeypatch.setattr(process, "_TAKEN_WITHIN", 500)
    with (
        process._listening(Listen(port=0)) as listener,
        socket.create_connection(listener.getsockname()),
        listener.accept()[0] as connection,
        pytest.raises(TimeoutError, match="timed out") as raised,
    ):
        connection.settimeout(60)
        while True:
            connection.send(bytes(1 << 20))
    assert raised.value.errno == errno.ETIMEDOUT  # of the system, and not of this test


def test_a_server_whose_worker_cannot_start_ends_with_1_and_says_why(folder):
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))  # less than the file of metrics needs

    command = [sys.executable, str(ROOT / "cli.py"), "serve", str(folder), "--port", "0"]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=120, preexec_fn=limit)
    *events, last = done.stderr.splitlines()
    assert done.returncode == 1
    assert last == "Error: a worker could not start; the log above says why"
    failed = json.loads(events[1])
    assert failed["event"] == "worker_failed" and "raise the limit on file size" in failed["problem"]


@pytest.mark.parametrize(
    "origin", ["*", "https://example.org", "http://localhost:5173", "http://[::1]:80", "app-x://a_b"]
)
def test_an_origin_as_browsers_write_it_is_taken(origin):
    assert checked_origins((origin,)) == (origin,)


@pytest.mark.parametrize(
    "origin",
    [
        *("foo", "", "null", "example.org", "https://", "https://example.org/", "https://example.org/a"),
        *("https://a b", "https://a:b", "https://user@a", "https://*.example.org", "HTTPS://Example.org"),
        *("https://a\n", "https://a,https://b", "https://a:123456", "https://m\u00fcnchen.example"),
    ],
)
def test_what_is_not_an_origin_is_refused_in_one_line(folder, origin):
    result = CliRunner().invoke(verbs, ["serve", str(folder), "--cors-origin", "*", "--cors-origin", origin])
    assert result.exit_code == 1 and result.stderr.count("\n") == 1
    assert "--cors-origin" in result.stderr and "give * or scheme://host[:port]" in result.stderr


def test_a_server_of_this_machine_alone_answers_to_no_other_name(folder):
    def status(server: Server, host: str) -> int:
        return httpx.get(f"{server.url}/healthz", headers={"Host": host}).status_code

    with serving(folder, "--allowed-host", "Search.example.org") as server:
        names = ("localhost:1", "search.example.org", "evil.example")
        assert [status(server, name) for name in names] == [200, 200, 421]
    with serving(folder) as server:
        assert [status(server, name) for name in names] == [200, 421, 421]
    with serving(folder, "--host", "0.0.0.0") as server:  # noqa: S104
        assert status(server, "search.example.org") == 200


@pytest.mark.parametrize(
    "name", ["", "http://a.example", "a.example:80", "*.a.example", "a b", "a..b", "\u00fc.de"]
)
def test_what_is_not_a_name_of_a_host_is_refused_in_one_line(folder, name):
    result = CliRunner().invoke(verbs, ["serve", str(folder), "--allowed-host", name])
    assert result.exit_code == 1 and result.stderr.count("\n") == 1
    assert "--allowed-host" in result.stderr and "such as search.example.org" in result.stderr


def test_what_is_wrong_at_the_start_is_one_line(folder, tmp_path):
    def said(*arguments: str) -> str:
        result = CliRunner().invoke(verbs, ["serve", *arguments])
        assert result.exit_code != 0 and len(result.stderr.strip().splitlines()[-1:]) == 1
        return result.stderr

    assert "no such folder" in said(str(tmp_path / "none"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        told = f"127.0.0.1:{port}: cannot listen there (Address already in use); choose another --port"
        assert told in said(str(folder), "--port", port)
    for host in ("no such host", "ü.."):
        unknown = said(str(folder), "--host", host)
        assert f"{host}:8080: cannot listen there (" in unknown and "Errno" not in unknown
    assert "--host is empty; give an address" in said(str(folder), "--host", "")
    assert "go together" in said(str(folder), "--tls-cert", "x.pem")
    for content in (b"x", b"\xff" * 40):
        (tmp_path / "short").write_bytes(content)
        assert "openssl rand" in said(str(folder), "--token-file", str(tmp_path / "short"))
    assert "nothere: cannot be read (No such file or directory); check the path" in said(
        str(folder), "--token-file", "nothere"
    )
    assert "cannot be read with its key (No such file or directory)" in said(
        str(folder), "--port", "0", "--tls-cert", str(tmp_path / "c"), "--tls-key", str(tmp_path / "k")
    )
