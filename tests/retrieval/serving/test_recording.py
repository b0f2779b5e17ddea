"""Searches and clicks that a server records: what of them, what never, and what happens when it cannot."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner
from served import serving

from cli import verbs
from index.errors import InputError, StorageError
from retrieval.data.clicks.forgetting import Wanted, forget
from retrieval.data.clicks.recorded import Clicked, Event, Shown, encode, events, read_recorded
from retrieval.data.clicks.rotation import held, opened
from retrieval.serving.telemetry.metrics import Metrics
from retrieval.serving.telemetry.recorder import Recorder, check_log

QUERY = {"q": "copy a directory", "k": 3}


@pytest.fixture
def clicks(tmp_path: Path) -> Path:
    return tmp_path / "clicks.jsonl"


def recorded(path: Path) -> list[Event]:
    with opened(path) as parts:
        return [event for _, event in events(parts)]


def counted(text: str) -> tuple[int, int, int]:
    """Searches, clicks and lost events of /metrics."""
    names = ("recorded_searches", "recorded_clicks", "unrecorded_events")
    found = [re.search(rf"^peephole_{name}_total (\d+)$", text, re.MULTILINE) for name in names]
    one, two, three = (int(each[1]) for each in found if each)
    return one, two, three


def test_nothing_is_recorded_without_the_option(run, tmp_path):
    before = sorted(tmp_path.rglob("*"))

    async def scenario(served):
        for answer in (
            (await served.client.get("/search", params=QUERY)).json(),
            (await served.client.post("/search", json={"queries": ["copy"]})).json()[0],
        ):
            assert "search" not in answer
        click = {"search": "0" * 16, "document": "faq/1"}
        assert (await served.client.post("/click", json=click)).status_code == 404
        assert "/click" not in (await served.client.get("/openapi.json")).json()["paths"]
        assert (await served.client.get("/fields")).json()["records_clicks"] is False
        assert (await served.client.get("/search", params={**QUERY, "record": 0})).status_code == 200

    run(scenario)
    assert [path for path in sorted(tmp_path.rglob("*")) if path.name != ".lock"] == before


def test_what_was_shown_and_what_was_clicked_is_recorded(run, clicks):
    told = []

    async def scenario(served):
        got = (await served.client.get("/search", params={**QUERY, "offset": 2, "mode": "dense"})).json()
        body = {"queries": ["wait", "mail"], "k": 2}
        many = (await served.client.post("/search", json=body)).json()
        document = got["hits"][1]["id"]
        for click in ({"document": document, "rank": 4}, {"document": document}):
            answered = await served.client.post("/click", json={"search": got["search"], **click})
            assert answered.json() == {"taken": True}
        assert (await served.client.get("/fields")).json()["records_clicks"] is True
        told.extend((got, *many))

    run(scenario, clicks=clicks)
    got, wait, mail = told
    assert len({got["search"], wait["search"], mail["search"]}) == 3
    *shown, with_rank, without = recorded(clicks)
    assert [(e.search, e.query, e.mode, e.offset, e.shown) for e in shown if isinstance(e, Shown)] == [
        (each["search"], each["query"], each["mode"], offset, tuple(hit["id"] for hit in each["hits"]))
        for each, offset in ((got, 2), (wait, 0), (mail, 0))
    ]
    document = got["hits"][1]["id"]
    assert with_rank == Clicked(with_rank.time, got["search"], document, 4)
    assert without == Clicked(without.time, got["search"], document)
    assert clicks.stat().st_mode & 0o777 == 0o600
    log = read_recorded(clicks).log
    assert (log.clicks.sum(), log.queries) == (1, ("copy a directory",))


@pytest.mark.parametrize("waits", [False, True])
def test_a_document_on_another_machine_is_not_waited_for_in_the_loop(run, clicks, monkeypatch, waits):
    threads = []

    def holds(engine, document):
        threads.append(threading.current_thread() is threading.main_thread())
        return True

    async def scenario(served):
        monkeypatch.setattr("retrieval.serving.engine.Engine.holds", holds)
        monkeypatch.setattr("index.reader.Index.waits", waits)
        assert (await served.client.post("/click", json=GOOD)).status_code == 200

    run(scenario, clicks=clicks)
    assert threads == [not waits]


def test_the_next_run_records_on_in_the_same_file(run, clicks):
    async def scenario(served):
        assert (await served.client.get("/search?q=wait")).json()["search"]

    for _ in range(2):
        run(scenario, clicks=clicks)
    assert [event.query for event in recorded(clicks) if isinstance(event, Shown)] == ["wait", "wait"]


def test_a_search_may_be_left_out(run, clicks):
    async def scenario(served):
        for answer in (
            (await served.client.get("/search", params={**QUERY, "record": 0})).json(),
            (await served.client.post("/search", json={"queries": ["copy"], "record": False})).json()[0],
        ):
            assert answer["hits"] and "search" not in answer
        await served.client.head("/search", params=QUERY)
        got = await served.client.get("/search", params={**QUERY, "record": 2})
        assert got.status_code == 422 and "record must be 0 or 1" in got.text

    run(scenario, clicks=clicks)
    assert not clicks.exists()


def test_the_openapi_document_tells_of_the_id_and_of_clicks(run, clicks):
    async def scenario(served):
        told = (await served.client.get("/openapi.json")).json()
        assert "search" in told["components"]["schemas"]["Answer"]["properties"]
        operation = told["paths"]["/click"]["post"]
        assert {"404", "413", "415", "422"} <= operation["responses"].keys()
        assert "security" not in operation  # as searching, it needs no token

    run(scenario, clicks=clicks)


GOOD = {"search": "0123456789abcdef", "document": "faq/1", "rank": 1}


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({**GOOD, "search": "0123456789ABCDEF"}, 422, "does not fit"),
        ({**GOOD, "search": "0123456789abcde"}, 422, "does not fit"),
        ({**GOOD, "search": "0123456789abcdef\n"}, 422, "does not fit"),
        ({**GOOD, "search": "x" * 5000}, 422, "does not fit"),
        ({"document": "faq/1"}, 422, "missing required field `search`"),
        ({"search": "0" * 16}, 422, "missing required field `document`"),
        ({**GOOD, "document": ""}, 422, "does not fit"),
        ({**GOOD, "document": "none"}, 404, "no document has this id"),
        ({**GOOD, "document": "x" * 1025}, 422, "does not fit"),
        ({**GOOD, "document": 5}, 422, "does not fit"),
        ({**GOOD, "rank": 0}, 422, "does not fit"),
        ({**GOOD, "rank": 10**7}, 422, "does not fit"),
        ({**GOOD, "rank": "1"}, 422, "does not fit"),
        ({**GOOD, "user": "jane"}, 422, "unknown field `user`"),
        ([GOOD], 422, "does not fit"),
        ({**GOOD, "document": "x" * 20_000}, 413, "a body has at most 16,384 bytes"),
    ],
)
def test_a_click_that_does_not_fit_is_refused_and_not_recorded(run, clicks, body, status, says):
    async def scenario(served):
        got = await served.client.post("/click", json=body)
        assert got.status_code == status and says in got.json()["error"]["message"]

    run(scenario, clicks=clicks)
    assert not clicks.exists()


def test_other_methods_kinds_and_broken_bodies_are_refused(run, clicks):
    async def scenario(served):
        for method in ("GET", "PUT", "DELETE"):
            assert (await served.client.request(method, "/click", json=GOOD)).status_code == 405
        text = {"Content-Type": "text/plain"}  # what a page of another origin may send unasked
        assert (await served.client.post("/click", content=json.dumps(GOOD), headers=text)).status_code == 415
        assert (await served.client.post("/click", content=b"{")).status_code == 400
        assert (await served.client.post("/click?x=1", json=GOOD)).status_code == 400

    run(scenario, clicks=clicks)
    assert not clicks.exists()


def test_a_log_that_cannot_be_written_is_counted_and_said_once_and_every_answer_comes(run, clicks, capfd):
    clicks.mkdir()

    async def scenario(served):
        for lost in (1, 2, 3):  # each alone, for those that arrive together are written together
            got = await served.client.get("/search", params=QUERY)
            assert got.status_code == 200 and got.json()["search"]
            until(lambda lost=lost: counted(served.state.metrics.text()) == (0, 0, lost))
        assert (await served.client.post("/click", json=GOOD)).status_code == 200
        clicks.rmdir()

    run(scenario, clicks=clicks)
    said = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    problems = [line["problem"] for line in said if line.get("event") == "clicks_not_recorded"]
    assert len(problems) == 1 and "not a regular file" in problems[0]


def test_what_is_lost_is_counted_and_recording_goes_on_when_it_can(clicks):
    metrics = Metrics([])
    metrics.refresh(0, 0, 0)
    clicks.mkdir()
    recorder = Recorder(clicks, metrics)
    recorder.shown("q", "dense", 0, ["a"])
    until(lambda: counted(metrics.text()) == (0, 0, 1))
    clicks.rmdir()
    search = recorder.shown("r", "dense", 0, ["a"])
    recorder.clicked(search, "a", 1)
    recorder.close()
    assert counted(metrics.text()) == (1, 1, 1)
    assert [event.search for event in recorded(clicks)] == [search, search]


def test_what_arrives_while_the_log_is_held_waits_up_to_a_bound(clicks, monkeypatch):
    monkeypatch.setattr("retrieval.serving.telemetry.recorder._MOST_BYTES", 1000)
    metrics = Metrics([])
    metrics.refresh(0, 0, 0)
    with held(clicks):
        recorder = Recorder(clicks, metrics)
        recorder.clicked("0" * 16, "first", 1)
        until(lambda: not recorder._waiting)  # it waits for the lock now
        for _ in range(50):
            recorder.clicked("0" * 16, "a", 1)
    recorder.close()
    searches, recorded_clicks, lost = counted(metrics.text())
    assert (searches, recorded_clicks + lost) == (0, 51) and lost > 30
    assert len(recorded(clicks)) == recorded_clicks


def test_of_many_results_the_first_are_recorded(clicks):
    recorder = Recorder(clicks, Metrics([]))
    recorder.shown("q", "dense", 0, (str(n) for n in range(1000)))
    recorder.close()
    (event,) = recorded(clicks)
    assert isinstance(event, Shown) and event.shown == tuple(str(n) for n in range(200))


def until(condition, seconds=10.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.01)


# ---- At the start


@pytest.mark.parametrize(
    "content", [b"", encode(Shown("2026-11-28T12:00:00Z", "0" * 16, "q", "dense", 0, ()))]
)
@pytest.mark.parametrize("torn", [b"", b'{"ti', b'{"time":"2026-', b"\0" * 20])
def test_a_log_that_a_crash_left_is_written_on(clicks, content, torn):
    clicks.write_bytes(content + torn)
    check_log(clicks)
    recorder = Recorder(clicks, Metrics([]))
    recorder.clicked("0" * 16, "a", 1)
    recorder.close()
    assert clicks.read_bytes().startswith(content) and len(recorded(clicks)) == 1 + bool(content)


@pytest.mark.parametrize("content", [b"query,doc_id\n", b"no line end", b"\x89PNG\r\n", b'{"text": "x"}\n'])
def test_a_file_of_something_else_is_refused_and_stays_as_it_is(clicks, content):
    clicks.write_bytes(content)
    with pytest.raises(InputError, match="something else than a click log; name another file"):
        check_log(clicks)
    assert clicks.read_bytes() == content


def test_a_path_that_cannot_be_written_is_one_line(folder, tmp_path):
    for path, says in (
        (tmp_path, "is a folder; name a file"),
        (tmp_path / "none" / "clicks", "its folder does not exist; make it first"),
        (folder / "CURRENT", "something else than a click log"),
        (Path("/dev/null"), "not a regular file"),
        (Path("/proc/clicks"), "cannot be written"),
    ):
        result = CliRunner().invoke(verbs, ["serve", str(folder), "--port", "0", "--clicks", str(path)])
        assert result.exit_code == 1 and result.stderr.count("\n") == 1, result.output
        assert str(path) in result.stderr and says in result.stderr
        with pytest.raises((InputError, StorageError)):
            check_log(path)


# ---- With processes


SECRETS = {
    "Cookie": "session=cookie-canary",
    "Authorization": "Bearer token-canary-of-some-length",
    "User-Agent": "agent-canary/1.0",
    "Referer": "http://referer-canary.example/",
    "X-Forwarded-For": "203.0.113.77",
    "Forwarded": "for=203.0.113.78",
    "X-Real-IP": "203.0.113.79",
    "X-Request-Id": "request-canary",
    "Accept-Language": "xx-canary",
    "Host": "host-canary.example",
}


def test_no_address_cookie_header_token_or_agent_reaches_the_log(folder, clicks):
    allowed = ("--allowed-host", SECRETS["Host"])
    with serving(folder, "--clicks", str(clicks), "--workers", "2", *allowed) as server:
        with httpx.Client(base_url=server.url, headers=SECRETS) as client:
            for _ in range(20):
                got = client.get("/search", params={"q": "copy", "facet": "lang"}).json()
                body = {"search": got["search"], "document": got["hits"][0]["id"], "rank": 1}
                client.post("/click", json=body)
                client.post("/click", json={**body, "user": "field-canary"})
                client.get("/search?q=copy&user=parameter-canary")
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 0
    content = b"".join(each.read_bytes() for each in clicks.parent.glob("*clicks*") if each.is_file())
    for secret in (*SECRETS.values(), "canary", "203.0.113", "127.0.0.1", "localhost", str(server.port)):
        assert secret.encode() not in content
    lines = [json.loads(line) for line in content.splitlines()]
    keys = {"time", "search", "query", "mode", "offset", "shown", "clicked", "rank"}
    assert set().union(*lines) == keys
    assert sum("clicked" in line for line in lines) == 20


def test_workers_that_are_killed_leave_whole_lines_and_others_record_on(folder, clicks):
    sent: dict[int, list[str]] = {number: [] for number in range(4)}
    done = threading.Event()

    def ask(number: int) -> None:
        with httpx.Client(base_url=server.url) as client:
            while not done.is_set():
                try:
                    got = client.get("/search", params={"q": f"copy {number}", "k": 5}).json()
                    client.post("/click", json={"search": got["search"], "document": got["hits"][0]["id"]})
                except (httpx.TransportError, ValueError, KeyError):
                    continue
                sent[number].append(got["search"])

    with serving(folder, "--clicks", str(clicks), "--workers", "2", "--no-access-log") as server:
        with ThreadPoolExecutor(4) as pool:
            asking = [pool.submit(ask, number) for number in range(4)]
            server.wait_for(lambda: clicks.exists() and b'"copy 0"' in clicks.read_bytes())
            for worker in server.children():
                os.kill(worker, signal.SIGKILL)
            server.wait_for(lambda: len(server.children()) == 2 and server.answers())
            forgot = forget(clicks, Wanted("copy 0")).searches
            # Each client may be at one search that a killed worker answered.
            first = {number: len(own) + 1 for number, own in sent.items()}
            server.wait_for(lambda: all(len(own) > first[number] + 5 for number, own in sent.items()))
            done.set()
            for each in asking:
                each.result()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 0
        said = server.log.read_text()
    assert "Traceback" not in said and "clicks_not_recorded" not in said
    found = recorded(clicks)  # raises for a damaged line
    searches = [event.search for event in found if isinstance(event, Shown)]
    assert len(set(searches)) == len(searches) and forgot > 0
    assert {search for number in (1, 2, 3) for search in sent[number][first[number] :]} <= set(searches)
