"""A server that runs: queues, new and damaged generations, metrics of several workers, the log."""

from __future__ import annotations

import asyncio
import json
import re
import sys
import threading
import time
from pathlib import Path

import pytest

from index.errors import StorageError
from index.writing.compact import compact
from index.writing.delete import delete
from retrieval.search.retriever import Retriever
from retrieval.serving.app import Application
from retrieval.serving.engine import search
from retrieval.serving.errors import Refusal
from retrieval.serving.settings import Limits, Settings, read_token
from retrieval.serving.state import State
from retrieval.serving.telemetry.board import Board
from retrieval.serving.telemetry.metrics import PHASES, Metrics
from retrieval.serving.turns import Batches, Threads, Turns


async def until(condition, seconds=10.0):
    """Wait for a condition; fail if it does not come."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come"
        await asyncio.sleep(0.01)


def test_turns_are_taken_in_the_order_of_arrival_and_others_run_between():
    async def play():
        turns, order = Turns(10, 60), []

        async def take(name):
            async with turns.turn():
                order.append(name)

        async def health():
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            order.append("health")

        await asyncio.gather(*(take(number) for number in range(4)), health())
        assert [each for each in order if each != "health"] == [0, 1, 2, 3]
        assert order.index("health") < 3

    asyncio.run(play())


def test_a_full_queue_is_refused_and_an_empty_one_serves_again(run):
    async def scenario(served):
        gets = [served.client.get("/search?q=copy") for _ in range(6)]
        answers = await asyncio.gather(*gets)
        statuses = sorted(each.status_code for each in answers)
        assert statuses == [200, 200, 503, 503, 503, 503]
        refused = next(each for each in answers if each.status_code == 503)
        assert refused.headers["retry-after"] and "waiting" in refused.json()["error"]["message"]
        assert (await served.client.get("/search?q=copy")).status_code == 200
        metrics = (await served.client.get("/metrics")).text
        assert "peephole_rejected_total 4\n" in metrics
        assert 'peephole_requests_total{route="/search",status="200"} 3\n' in metrics

    run(scenario, limits=Limits(waiting=2))


def test_queries_that_wait_are_searched_together_and_each_gets_its_own_answer(run, folder, monkeypatch):
    asked = []

    async def scenario(served):
        def counted(retriever, queries, request):
            asked.append((list(queries), request.k))
            return search(retriever, queries, request)

        monkeypatch.setattr("retrieval.serving.api.searching.search", counted)
        texts = ["copy a directory", "wait", "turn text into a date", "mail"] * 3
        gets = [served.client.get("/search", params={"q": text, "k": 3}) for text in texts]
        other = served.client.get("/search", params={"q": "wait", "k": 2})
        *answers, short = await asyncio.gather(*gets, other)
        with Retriever.open(folder) as retriever:
            for text, got in zip(texts, answers, strict=True):
                ids = [hit["id"] for hit in got.json()["hits"]]
                assert ids == [hit.id for hit in retriever.search(text, 3)] and got.json()["query"] == text
        assert len(short.json()["hits"]) == 2

    run(scenario)
    assert sorted(len(queries) for queries, k in asked if k == 3) == [4, 8]
    assert [queries for queries, k in asked if k == 2] == [["wait"]]


def test_a_failure_of_a_batch_reaches_all_in_it_and_nobody_else(run, monkeypatch):
    async def scenario(served):
        def fail(*arguments):
            raise RuntimeError("boom")

        with monkeypatch.context() as patched:
            patched.setattr("retrieval.serving.api.searching.search", fail)
            answers = await asyncio.gather(*(served.client.get("/search?q=copy") for _ in range(5)))
        assert [each.status_code for each in answers] == [500] * 5
        assert (await served.client.get("/search?q=copy")).status_code == 200
        assert served.state.turns.waiting == 0

    run(scenario)


def test_a_search_that_waited_too_long_is_not_run(run):
    async def scenario(served):
        got = await served.client.get("/search?q=copy")
        assert got.status_code == 503 and "too long" in got.text

    run(scenario, limits=Limits(seconds=-1))


def test_a_turn_that_comes_too_late_is_not_taken():
    async def play():
        with pytest.raises(TimeoutError):
            async with Turns(10, -1).turn():
                pytest.fail("it was taken")
        with pytest.raises(TimeoutError):
            await Batches(Turns(10, 60), -1, 8).result(
                "kind", "item", lambda items: pytest.fail("it was run")
            )

    asyncio.run(play())


def test_nothing_is_kept_of_what_is_done_or_refused():
    async def play():
        batches = Batches(Turns(1, 60), 60, 8)
        one, *others = await asyncio.gather(
            *(batches.result(kind, kind, lambda items: [each.upper() for each in items]) for kind in "aab"),
            return_exceptions=True,
        )
        assert one == "A" and {type(each) for each in others} == {Refusal}
        assert batches._kinds == {}

    asyncio.run(play())


def test_fields_that_nobody_waits_for_any_more_are_read_in_a_generation_that_stays_open(run, monkeypatch):
    published, read = threading.Event(), []

    def slow(retriever):
        assert published.wait(10)
        read.append(retriever.index.fields_of_few_values(20))
        return {}

    async def scenario(served):
        monkeypatch.setattr("retrieval.serving.api.fields.fields", slow)
        assert (await served.client.get("/fields")).status_code == 503
        served.state.engine.delete("faq/1", 5)
        published.set()
        await until(lambda: served.state.slow.waiting == 0)

    run(scenario, limits=Limits(seconds=0.2))
    assert read == [["lang", "year"]]


def test_threads_refuse_what_is_too_much_and_keep_the_place_of_work_given_up():
    async def play():
        threads = Threads(1, 1, 0.01, "tests")
        with pytest.raises(TimeoutError):
            await threads.run(time.sleep, 0.2)
        assert threads.waiting == 1
        with pytest.raises(Exception, match="too many tests are waiting"):
            await threads.run(time.sleep, 0)
        await until(lambda: threads.waiting == 0)
        assert await threads.run(lambda: 5) == 5
        threads.close()

    asyncio.run(play())


def test_a_new_generation_is_served_by_itself(run, folder):
    async def scenario(served):
        assert (await served.client.get("/documents/faq/1")).status_code == 200
        await asyncio.to_thread(delete, folder, ["faq/1"])
        await until(lambda: "faq/1" not in served.state.engine.retriever)
        assert (await served.client.get("/readyz")).json()[
            "generation"
        ] == served.state.engine.index.generation
        assert (await served.client.get("/documents/faq/1")).status_code == 404

    run(scenario)


def test_queries_sent_together_are_answered_from_one_generation(run, folder, monkeypatch):
    asked = []

    async def scenario(served):
        def search_and_change(retriever, queries, request):
            asked.append(retriever.index.generation)
            if len(asked) == 1:
                delete(folder, ["faq/1"])
                served.state.engine.refresh()
            return search(retriever, queries, request)

        monkeypatch.setattr("retrieval.serving.api.searching.search", search_and_change)
        got = await served.client.post("/search", json={"queries": ["copy a directory"] * 9, "k": 50})
        first, second = got.json()[0], got.json()[8]
        first, second = ([hit["id"] for hit in answer["hits"]] for answer in (first, second))
        assert first == second and "faq/1" in second
        assert len(asked) == 2 and len(set(asked)) == 1
        after = (await served.client.get("/search?q=copy+a+directory&k=50")).json()
        assert "faq/1" not in {hit["id"] for hit in after["hits"]}

    run(scenario)


def test_a_damaged_generation_is_refused_and_the_old_one_serves(run, folder, capfd):
    whole = (folder / "CURRENT").read_bytes()

    async def scenario(served):
        before = served.state.engine.index.generation
        (folder / "CURRENT").write_text("generation-000099 " + "0" * 64 + "\n")
        await until(lambda: served.state.refused)
        ready = await served.client.get("/readyz")
        assert ready.status_code == 200 and ready.json()["generation"] == before
        assert "generation-000099" in ready.json()["refused"]
        assert (await served.client.get("/search?q=copy")).json()["hits"]
        assert "peephole_refused_generations_total 1\n" in (await served.client.get("/metrics")).text
        (folder / "CURRENT").write_bytes(whole)
        await until(lambda: served.state.refused is None)

    run(scenario)
    logged = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert [line["event"] for line in logged if "event" in line] == ["generation_refused"]


def test_a_worker_that_starts_beside_a_damaged_index_waits_until_it_can_be_opened(folder):
    whole = (folder / "CURRENT").read_bytes()
    (folder / "CURRENT").write_text("damaged")

    async def restore():
        await asyncio.sleep(0.3)
        (folder / "CURRENT").write_bytes(whole)

    async def play():
        app = Application(Settings(folder))
        restoring = asyncio.create_task(restore())
        state = await app.start()
        await restoring
        assert state.is_open and state.refused is None
        await app.stop()

    asyncio.run(play())


def test_a_compacted_index_answers_the_same(run, folder):
    async def scenario(served):
        delete(folder, ["faq/1"])
        served.state.engine.refresh()
        before = (await served.client.get("/search?q=copy&mode=dense&k=50")).json()["hits"]
        compact(folder)
        served.state.engine.refresh()
        after = (await served.client.get("/search?q=copy&mode=dense&k=50")).json()["hits"]
        assert [hit["id"] for hit in after] == [hit["id"] for hit in before]

    run(scenario)


def lines(text):
    return dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))


def test_metrics_of_several_workers_are_summed(tmp_path, monkeypatch):
    path = tmp_path / "board"
    path.touch()
    rows = iter((0, 1))
    monkeypatch.setattr(
        Board, "_free_row", lambda board: next(rows)
    )  # locks are of processes, and this is one
    one, two = (Metrics(["/search"], path) for _ in range(2))
    for metrics, seconds in ((one, 0.003), (two, 0.2), (two, 0.2)):
        metrics.request("/search", 200, seconds)
    one.request("/search", 503, 0.0001)
    two.search(0, {"dense": 0.001})
    one.refresh(7, 100, 2)
    two.refresh(8, 99, 3)
    for metrics in (one, two):
        told = lines(metrics.text())
        assert told['peephole_requests_total{route="/search",status="200"}'] == "3"
        assert told["peephole_rejected_total"] == "1" and told["peephole_zero_result_searches_total"] == "1"
        assert told['peephole_request_seconds_bucket{route="/search",le="0.005"}'] == "2"
        assert told['peephole_request_seconds_bucket{route="/search",le="+Inf"}'] == "4"
        assert float(told['peephole_request_seconds_sum{route="/search"}']) == pytest.approx(0.4031)
        assert told["peephole_generation"] == "8" and told["peephole_queue"] == "5"
        assert told["peephole_workers"] == "2" and int(told["peephole_open_fds"]) > 2


def test_gauges_of_a_worker_that_is_gone_do_not_count_but_its_counters_do(tmp_path, monkeypatch):
    path = tmp_path / "board"
    path.touch()
    rows = iter((0, 1))
    monkeypatch.setattr(Board, "_free_row", lambda board: next(rows))
    gone, here = (Metrics(["/search"], path) for _ in range(2))
    gone.request("/search", 200, 0.1)
    monkeypatch.setattr("retrieval.serving.telemetry.board.time.monotonic", lambda: 1000.0)
    gone.refresh(9, 5, 5)
    monkeypatch.setattr("retrieval.serving.telemetry.board.time.monotonic", lambda: 2000.0)
    here.refresh(3, 4, 1)
    told = lines(here.text())
    assert told["peephole_workers"] == "1" and told["peephole_queue"] == "1"
    assert told['peephole_requests_total{route="/search",status="200"}'] == "1"


def test_a_clock_that_is_set_changes_no_gauge(monkeypatch):
    metrics = Metrics(["/search"])
    metrics.refresh(9, 5, 5)
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert lines(metrics.text())["peephole_workers"] == "1"
    monkeypatch.setattr(time, "time", lambda: 1e12)
    assert lines(metrics.text())["peephole_workers"] == "1"


def test_every_phase_of_a_search_is_measured():
    root = Path(__file__).parents[3]
    sources = [file.read_text() for part in ("retrieval", "index") for file in (root / part).rglob("*.py")]
    named = set(re.findall(r'with phase\("(\w+)"\)', "".join(sources)))
    assert named == set(PHASES)


def test_pages_that_a_browser_has_already_are_counted(run):
    async def scenario(served):
        page = await served.client.get("/")
        again = await served.client.get("/", headers={"If-None-Match": page.headers["etag"]})
        assert again.status_code == 304
        metrics = (await served.client.get("/metrics")).text
        assert 'peephole_requests_total{route="other",status="304"} 1\n' in metrics

    run(scenario)


def test_a_worker_that_cannot_start_says_why_in_the_log(folder, tmp_path, capfd):
    async def play():
        messages, sent = asyncio.Queue(), []
        messages.put_nowait({"type": "lifespan.startup"})

        async def send(message):
            sent.append(message["type"])

        await Application(Settings(folder, board=tmp_path / "none"))({"type": "lifespan"}, messages.get, send)
        assert sent == ["lifespan.startup.failed"]

    asyncio.run(play())
    said = json.loads(capfd.readouterr().err)
    assert said["event"] == "worker_failed" and "No such file or directory" in said["problem"]


@pytest.mark.parametrize(
    ("error", "told"), [(RuntimeError("no locator"), 1), (ModuleNotFoundError("numba"), 0)]
)
def test_loops_that_numba_cannot_keep_are_told_once(folder, capfd, monkeypatch, error, told):
    class Broken:
        def find_spec(self, name, path=None, target=None):
            if name == "index.dense.compiled":
                raise error

    monkeypatch.delitem(sys.modules, "index.dense.compiled", raising=False)
    monkeypatch.delattr("index.dense.compiled", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    state = State(Settings(folder))
    state.open()
    state.engine.close()
    assert capfd.readouterr().err.count("NUMBA_CACHE_DIR") == told


@pytest.mark.parametrize("problem", [None, StorageError("a server is away"), MemoryError()])
def test_a_worker_has_searched_once_before_it_is_open(folder, monkeypatch, problem):
    searched = []

    def spy(retriever, query, **options):
        searched.append(query)
        if problem is not None:
            raise problem
        return []

    monkeypatch.setattr(Retriever, "search", spy)
    state = State(Settings(folder))
    state.open()
    state.engine.close()
    assert len(searched) == 1


def test_a_log_line_holds_no_query_unless_asked(run, capfd):
    async def scenario(served):
        await served.client.get("/search?q=secret+words&k=2&mode=dense")

    run(scenario)
    said = capfd.readouterr().err
    line = json.loads(said.splitlines()[-1])
    assert "secret" not in said
    assert (line["route"], line["status"], line["hits"], line["method"]) == ("/search", 200, 2, "GET")
    assert line["generation"].startswith("generation-") and line["phases_ms"]["dense"] >= 0
    run(scenario, log_queries=True)
    assert json.loads(capfd.readouterr().err.splitlines()[-1])["queries"] == ["secret words"]
    run(scenario, log_requests=False)
    assert capfd.readouterr().err == ""


def test_a_token_is_read_from_a_file_or_the_environment(tmp_path, monkeypatch):
    monkeypatch.delenv("PEEPHOLE_TOKEN", raising=False)
    assert read_token(None) is None
    monkeypatch.setenv("PEEPHOLE_TOKEN", "0123456789abcdef")
    assert read_token(None) == "0123456789abcdef"
    (tmp_path / "token").write_text("fedcba9876543210\n")
    assert read_token(tmp_path / "token") == "fedcba9876543210"
    for wrong in ("", "short", "a" * 15, "0123456789 abcdef\n\x00", "é" * 20):
        (tmp_path / "token").write_text(wrong)
        with pytest.raises(Exception, match="openssl rand"):
            read_token(tmp_path / "token")
    with pytest.raises(Exception, match="cannot be read"):
        read_token(Path(tmp_path / "none"))
