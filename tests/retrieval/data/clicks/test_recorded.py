"""The log that a server records: its lines, and what is made of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from index.errors import InputError
from retrieval.data.clicks.recorded import Clicked, Shown, decode, encode, events, is_recorded, read_recorded
from retrieval.data.lines import Place

TIME = "2026-11-28T12:00:00Z"


def shown(number: int, query: str, *documents: str, offset: int = 0) -> bytes:
    return encode(Shown(TIME, f"{number:016x}", query, "hybrid", offset, documents))


def clicked(number: int, document: str, rank: int | None = None) -> bytes:
    return encode(Clicked(TIME, f"{number:016x}", document, rank))


def cells(path: Path) -> dict[tuple[str, str, int], tuple[int, int]]:
    """Query, document and rank to clicks and impressions."""
    log = read_recorded(path).log
    rows = zip(log.query, log.document, log.rank, log.clicks, log.impressions, strict=True)
    return {(log.queries[q], log.documents[d], int(r)): (int(c), int(i)) for q, d, r, c, i in rows}


def then_write(read: Callable[..., Iterator], path: Path, content: bytes, *arguments: object) -> Iterator:
    """What a function reads; a file is written when it has read all."""
    yield from read(*arguments)
    path.write_bytes(content)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "clicks.jsonl"


def test_an_event_is_the_line_that_the_documentation_shows():
    event = Shown(TIME, "9f86d081884c7d65", "list files", "hybrid", 0, ("ls(1)", "find(1)"))
    line = (
        '{"time":"2026-11-28T12:00:00Z","search":"9f86d081884c7d65","query":"list files","mode":"hybrid",'
        '"offset":0,"shown":["ls(1)","find(1)"]}\n'
    )
    assert encode(event) == line.encode()
    click = Clicked(TIME, "9f86d081884c7d65", "find(1)", 2)
    assert json.loads(encode(click)) == {
        "time": TIME,
        "search": "9f86d081884c7d65",
        "clicked": "find(1)",
        "rank": 2,
    }
    assert b"rank" not in encode(Clicked(TIME, "9f86d081884c7d65", "find(1)"))


@pytest.mark.parametrize("query", ["启动 服务", "a\nb\u2028c\x00", '"}\\', "\U0001f600"])
def test_an_event_is_read_as_it_was_written(query):
    for event in (Shown(TIME, "0" * 16, query, "dense", 20, (query, "d")), Clicked(TIME, "f" * 16, query)):
        line = encode(event)
        assert line.count(b"\n") == 1 and decode(Place("x", 1), line) == event


def test_half_of_a_surrogate_pair_does_not_spoil_the_log():
    event = decode(Place("x", 1), encode(Shown(TIME, "0" * 16, "a\ud800b", "dense", 0, ())))
    assert isinstance(event, Shown) and event.query == "a?b"


def test_keys_that_a_later_version_adds_are_ignored():
    line = encode(Clicked(TIME, "0" * 16, "d", 1))[:-2] + b',"new":[1]}\n'
    assert decode(Place("x", 1), line) == Clicked(TIME, "0" * 16, "d", 1)


def test_results_are_impressions_at_their_ranks_and_clicks_count_once(path):
    path.write_bytes(
        shown(1, "Copy  it", "a", "b")
        + clicked(1, "b", 2)
        + clicked(1, "b", 2)
        + clicked(1, "a")
        + shown(2, "copy it", "a", "b")
        + shown(3, "copy it", "c", offset=10)
        + clicked(3, "c", 77)  # the search says at which rank it was
    )
    assert cells(path) == {
        ("Copy it", "a", 1): (1, 2),
        ("Copy it", "b", 2): (1, 2),
        ("Copy it", "c", 11): (1, 1),
    }
    assert read_recorded(path).rows == 5


def test_a_click_may_stand_before_its_search(path):
    path.write_bytes(clicked(1, "a") + shown(1, "q", "a"))
    assert cells(path) == {("q", "a", 1): (1, 1)}


def test_clicks_on_what_was_not_shown_do_not_count(path):
    path.write_bytes(
        shown(1, "q", "a", "b") + clicked(1, "z") + clicked(9, "a") + shown(2, "q", "a") + clicked(2, "a")
    )
    assert cells(path) == {("q", "a", 1): (1, 2), ("q", "b", 2): (0, 1)}


def test_queries_without_any_click_are_left_out(path):
    path.write_bytes(
        shown(1, "cop", "a") + shown(2, "copy", "a", "b") + clicked(2, "b") + shown(3, "COPY", "b")
    )
    assert read_recorded(path).log.queries == ("copy",)
    assert cells(path)[("copy", "b", 1)] == (0, 1)


def test_files_put_aside_are_read_the_oldest_first(path):
    for number, name in enumerate(("clicks.jsonl.10", "clicks.jsonl.2", "clicks.jsonl.1", "clicks.jsonl")):
        (path.parent / name).write_bytes(shown(number, f"q{number}", "a") + clicked(max(0, number - 1), "a"))
    for other in (
        "clicks.jsonl.01",
        "clicks.jsonl.0",
        "clicks.jsonl.1.tmp",
        "clicks.jsonl.x",
        "clicksxjsonl.3",
    ):
        (path.parent / other).write_bytes(b"no events\n")
    assert read_recorded(path).log.queries == ("q0", "q1", "q2")
    path.unlink()
    assert read_recorded(path).log.queries == ("q0", "q1")  # the click of q2 was in FILE


def test_a_torn_last_line_of_any_file_is_passed_over(path):
    whole = shown(1, "q", "a") + clicked(1, "a")
    for cut in range(1, len(clicked(2, "启动"))):
        (path.parent / "clicks.jsonl.1").write_bytes(whole + clicked(2, "启动")[:cut])
        path.write_bytes(shown(3, "r", "a")[: cut - 1])
        assert cells(path) == {("q", "a", 1): (1, 1)}
    path.write_bytes(whole + b"\0" * 700)  # as a power cut leaves it
    assert cells(path) == {("q", "a", 1): (1, 2)}


def test_other_lines_in_the_place_of_a_torn_one_between_two_passes_do_no_harm(path, monkeypatch):
    """As a server writes them that starts meanwhile."""
    whole = shown(1, "q", "a") + clicked(1, "a")
    for torn, fresh in ((shown(2, "x" * 1000)[:-5], shown(3, "y") * 20), (shown(2, "q", "a")[:-1], b"{")):
        path.write_bytes(whole + torn)
        with monkeypatch.context() as patched:
            slow = partial(then_write, events, path, whole + fresh)
            patched.setattr("retrieval.data.clicks.recorded.events", slow)
            assert cells(path)[("q", "a", 1)][0] == 1


def test_a_last_event_that_lacks_only_its_line_end_counts(path):
    path.write_bytes(shown(1, "q", "a") + b" \n\n" + clicked(1, "a")[:-1])
    assert cells(path) == {("q", "a", 1): (1, 1)}


BROKEN = {
    b"{": "broken JSON",
    b"[]": "not a JSON object",
    b"\xff": "not UTF-8 (byte 0 of the line)",
    b"{}": '"time" is missing',
    b'{"time":1}': '"time" is of the wrong type',
    b'{"time":"yesterday","search":"0123456789abcdef"}': "\"time\" is 'yesterday', not as",
    b'{"time":"2026-11-28T12:00:00Z","search":"XYZ"}': "\"search\" is 'XYZ', not 16",
    shown(1, "q", "a").replace(b'["a"]', b'["a",1]'): '"shown" is not a list of texts',
    shown(1, "q", "a").replace(b'["a"]', b"{}"): '"shown" is of the wrong type',
    shown(1, "q", "a").replace(b":0,", b":-1,"): '"offset" must be a whole number from 0',
    shown(1, "q", "a").replace(b":0,", b":true,"): '"offset" must be a whole number from 0',
    clicked(1, "a", 0): '"rank" must be a whole number from 1',
    clicked(1, "a", 10**10): '"rank" must be',
    clicked(1, "a").replace(b"clicked", b"opened"): '"query" is missing',
}


@pytest.mark.parametrize(("line", "says"), BROKEN.items(), ids=list(BROKEN.values()))
def test_a_damaged_line_is_named(path, line, says):
    old = path.parent / "clicks.jsonl.1"
    old.write_bytes(shown(1, "q", "a") + line.rstrip(b"\n") + b"\n" + clicked(1, "a"))
    path.write_bytes(b"")
    with pytest.raises(InputError) as caught:
        read_recorded(path)
    assert (caught.value.path, caught.value.line) == (old, 2)
    assert says in str(caught.value) and str(caught.value).endswith("line")


def test_documents_that_the_corpus_lacks_are_an_error_or_passed_over(path):
    path.write_bytes(shown(1, "q", "a", "gone") + clicked(1, "a"))
    with pytest.raises(InputError, match=r"clicks.jsonl:1: unknown document 'gone'"):
        read_recorded(path, {"a"})
    read = read_recorded(path, {"a"}, missing_ok=True)
    assert (read.log.documents, read.rows, read.rows_passed_over) == (("a",), 2, 1)


def test_too_many_clicks_are_refused_before_they_fill_the_memory(path, monkeypatch):
    monkeypatch.setattr("retrieval.data.clicks.recorded.MOST_CLICKS", 2)
    path.write_bytes(clicked(1, "a") * 3)
    with pytest.raises(InputError, match=r"clicks.jsonl:3: more than 2 clicks"):
        read_recorded(path)


def test_no_file_and_no_regular_file_are_said(path):
    with pytest.raises(InputError, match="no such file"):
        read_recorded(path)
    path.mkdir()
    with pytest.raises(InputError, match="not a regular file"):
        read_recorded(path)


def test_a_recorded_log_is_recognised_by_its_keys(path):
    for content, recorded in (
        (shown(1, "q", "a"), True),
        (clicked(1, "a"), True),
        (b"\n" + clicked(1, "a")[:-1], True),
        (b"", False),
        (b'{"query":"q","doc_id":"a","clicked":1}\n', False),
        (b"query,doc_id\n", False),
        (b"\x1f\x8b\x08", False),
    ):
        path.write_bytes(content)
        assert is_recorded(path) is recorded, content
    path.unlink()
    assert not is_recorded(path)
    (path.parent / "clicks.jsonl.1").write_bytes(shown(1, "q", "a"))
    assert is_recorded(path)
