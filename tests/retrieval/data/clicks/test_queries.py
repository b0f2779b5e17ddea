"""Counts by query of a recorded log, and the lists that are made of them."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.errors import InputError
from retrieval.data.clicks.half_typed import Search, marked_half_typed
from retrieval.data.clicks.log import query_key
from retrieval.data.clicks.queries import QueryCount, QueryCounts, count_queries
from retrieval.data.clicks.query_lists import (
    deeply_clicked,
    hidden,
    most_frequent,
    unclicked,
    without_results,
)
from retrieval.data.clicks.recorded import Clicked, Event, Shown, encode, time_text

ROOT = Path(__file__).parents[4]
DAY = 1_790_000_000


def shown(number: int, query: str, *documents: str, offset: int = 0, at: int = 0) -> Shown:
    """A search, minutes after the one of the number before, so that none is half typed."""
    return Shown(time_text(DAY + 60 * number + at), f"{number:016x}", query, "hybrid", offset, documents)


def clicked(number: int, document: str) -> Clicked:
    return Clicked(time_text(DAY + 60 * number), f"{number:016x}", document)


def write(path: Path, *events: Event) -> None:
    path.write_bytes(b"".join(map(encode, events)))


def queries(counts: QueryCounts) -> list[QueryCount]:
    return [counts.at(row) for row in range(len(counts.ends)) if counts.searches[row]]


def names(listed: Sequence[QueryCount]) -> list[str]:
    return [each.query for each in listed]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "clicks.jsonl"


def test_counts_of_a_query(path):
    write(
        path,
        shown(1, "Copy  it", "a", "b", "c"),
        clicked(1, "c"),
        clicked(1, "a"),
        clicked(1, "a"),  # counts once
        shown(2, " copy IT", "a", "b"),
        clicked(2, "b"),
        clicked(2, "z"),  # was not shown
        shown(3, "copy it"),
        shown(4, "copy it", "a"),
        clicked(99, "a"),  # whose search is not there
        shown(5, "wait", "a"),
    )
    counts = count_queries(path)
    copy, wait = queries(counts)
    assert copy == QueryCount("Copy it", 4, 1, 3, 2, 0.5, 2.5, time_text(DAY + 240))
    assert wait == QueryCount("wait", 1, 0, 0, 0, 0.0, None, time_text(DAY + 300))
    assert (counts.first, counts.latest()) == (time_text(DAY + 60), time_text(DAY + 300))


def test_further_results_are_no_search_but_clicks_on_them_count(path):
    write(
        path,
        shown(1, "copy", "a"),
        shown(2, "copy", "k", "l", offset=10),
        clicked(2, "l"),
        shown(3, "copy", offset=20),  # the end of the results
        shown(4, "other", "a", offset=10),  # whose first results were not recorded
    )
    (copy,) = queries(count_queries(path))
    assert copy == QueryCount("copy", 1, 0, 1, 1, 1.0, 12.0, time_text(DAY + 120))


def test_a_share_is_1_at_most_where_several_pages_were_clicked(path):
    write(path, shown(1, "q", "a"), clicked(1, "a"), shown(2, "q", "b", offset=1), clicked(2, "b"))
    (one,) = queries(count_queries(path))
    assert (one.clicked_searches, one.clicked_share, one.mean_first_rank) == (2, 1.0, 1.5)


def test_what_is_half_typed_is_not_counted(path):
    write(
        path,
        shown(1, "copy"),
        shown(2, "cop", "a"),
        shown(2, "copy", "a", at=3),
        shown(2, "copy a file", "a", at=6),
    )
    counts = count_queries(path)
    assert [(each.query, each.searches, each.last) for each in queries(counts)] == [
        ("copy", 1, time_text(DAY + 60)),
        ("copy a file", 1, time_text(DAY + 126)),
    ]
    assert counts.half_typed == 2
    assert [each.searches for each in queries(count_queries(path, typing_seconds=0))] == [2, 1, 1]


def test_a_click_may_stand_in_another_file_before_its_search(path):
    write(path.with_name("clicks.jsonl.2"), clicked(2, "a"), shown(1, "first", "a"))
    write(path.with_name("clicks.jsonl.1"), shown(2, "second", "a"))
    write(path, clicked(1, "a"))
    assert [(each.query, each.clicks) for each in queries(count_queries(path))] == [
        ("first", 1),
        ("second", 1),
    ]
    path.unlink()
    assert [each.clicks for each in queries(count_queries(path))] == [0, 1]


def test_a_click_on_a_search_that_stands_twice_counts_once(path):
    write(path, shown(1, "q", "a"), shown(1, "q", "a"), clicked(1, "a"))
    assert [(each.searches, each.clicks) for each in queries(count_queries(path))] == [(2, 1)]


def test_searches_before_a_time_are_left_out_with_their_clicks(path):
    write(path, shown(1, "old", "a"), shown(2, "new", "a"), clicked(1, "a"), clicked(2, "a"))
    counts = count_queries(path, since=time_text(DAY + 120))
    assert [(each.query, each.clicks) for each in queries(counts)] == [("new", 1)]
    assert counts.first == counts.latest() == time_text(DAY + 120)


def test_words_that_are_keys_of_the_log_are_queries_and_documents_like_others(path):
    write(
        path,
        shown(1, "clicked", "shown", "clicked"),
        clicked(1, "shown"),
        clicked(1, "clicked"),
        shown(2, 'say "clicked"', "clicked"),
        clicked(2, "clicked"),
    )
    assert [(each.query, each.clicks) for each in queries(count_queries(path))] == [
        ("clicked", 2),
        ('say "clicked"', 1),
    ]


def test_a_log_without_searches_has_no_queries(path):
    for content in (b"", encode(clicked(1, "a"))):
        path.write_bytes(content)
        counts = count_queries(path)
        assert queries(counts) == most_frequent(counts, 1, 20) == deeply_clicked(counts, 1, 20) == []
        assert (counts.first, counts.latest(), hidden(counts, 2)) == (None, None, 0)


def test_what_a_crash_cut_short_is_passed_over_in_any_file(path):
    whole = encode(shown(1, "q", "a")) + encode(clicked(1, "a"))
    for torn in (encode(shown(2, "启动", "a")), encode(clicked(1, "启动"))):
        for cut in range(1, len(torn) - 1):
            path.with_name("clicks.jsonl.1").write_bytes(whole + torn[:cut])
            path.write_bytes(torn[:cut])
            assert [(each.query, each.clicks) for each in queries(count_queries(path))] == [("q", 1)]


def test_a_server_that_starts_again_meanwhile_and_cuts_the_torn_end_off_does_no_harm(path):
    whole = (encode(shown(1, "q", "a")) + encode(clicked(1, "a"))) * 10_000
    path.write_bytes(whole + encode(shown(2, "x" * 1000))[:-5])

    def record(stage: str, done: int, total: int | None) -> None:
        if stage.startswith("searches"):
            path.write_bytes(whole + (encode(shown(3, "new", "a")) + encode(clicked(3, "a"))) * 20)

    counted = {
        each.query: (each.searches, each.clicks) for each in queries(count_queries(path, progress=record))
    }
    assert counted["q"] == (10_000, 1) and set(counted) <= {"q", "new"}


def test_a_damaged_line_is_named_whichever_pass_reads_it(path):
    for line, says in (
        (encode(clicked(1, "a"))[:-5] + b"\n", "broken JSON"),
        (encode(shown(1, "q", "a"))[:-5] + b"\n", "broken JSON"),
        (b"notes\n", "broken JSON"),
        (encode(replace(shown(1, "q"), time="2026-13-01T00:00:00Z")), "which is no date and time; remove"),
        (encode(replace(shown(1, "q"), time="2026-02-31T00:00:00Z")), "which is no date and time; remove"),
        (encode(replace(shown(1, "q"), time="2026-12-01T99:00:00Z")), "which is no date and time; remove"),
    ):
        path.write_bytes(encode(shown(1, "q", "a")) + line + encode(shown(1, "q", "a")))
        with pytest.raises(InputError, match=says) as caught:
            count_queries(path)
        assert (caught.value.path, caught.value.line) == (path, 2)


def test_a_click_on_a_document_that_is_shown_twice_is_at_its_first_rank(path):
    write(path, shown(1, "q", "a", "b", "c", "b", offset=10), shown(2, "q", "a"), clicked(1, "b"))
    assert [each.mean_first_rank for each in queries(count_queries(path))] == [12.0]


def test_too_many_clicks_are_refused_before_they_fill_the_memory(path, monkeypatch):
    monkeypatch.setattr("retrieval.data.clicks.recorded.MOST_CLICKS", 2)
    write(path, *[clicked(1, "a")] * 3)
    with pytest.raises(InputError, match=r"clicks.jsonl:3: more than 2 clicks"):
        count_queries(path)


def test_progress_is_told_of_both_passes(path):
    path.write_bytes(encode(shown(1, "q", *map(str, range(40)))) * 20_000)
    told = []
    count_queries(path, progress=lambda *each: told.append(each))
    size = path.stat().st_size // 1_000_000
    assert told == [
        ("clicks, MB", size // 2, size),
        ("clicks, MB", size, size),
        ("searches, MB", size // 2, size),
        ("searches, MB", size, size),
    ]


@pytest.fixture
def counts(path: Path) -> QueryCounts:
    """Queries by letter: how often searched, empty, clicked, and at which rank."""
    table = {
        "often": (5, 0, 2, 1),
        "deep": (3, 0, 2, 4),
        "shallow": (3, 0, 2, 3),
        "ignored": (4, 1, 0, 0),
        "later": (4, 1, 0, 0),
        "nothing": (2, 2, 0, 0),
        "once": (1, 1, 0, 0),
        "deep once": (2, 0, 1, 9),
    }
    events: list[Event] = []
    number = 0
    for query, (searches, empty, clicks, rank) in table.items():
        for each in range(searches):
            number += 1
            documents = () if each < empty else tuple("abcdefghi")
            events.append(shown(number, query, *documents))
            if each < clicks:
                events.append(clicked(number, documents[rank - 1]))
    write(path, *events)
    return count_queries(path)


def test_lists_have_what_is_frequent_first_and_of_equals_the_last_one(counts):
    assert names(most_frequent(counts, 2, 20)) == [
        *("often", "later", "ignored", "shallow", "deep", "deep once", "nothing")
    ]
    assert names(most_frequent(counts, 2, 3)) == ["often", "later", "ignored"]
    assert names(most_frequent(counts, 1, 20))[-1] == "once"


def test_each_list_has_its_queries(counts):
    assert names(unclicked(counts, 2, 20)) == ["later", "ignored"]
    assert names(without_results(counts, 2, 20)) == ["nothing", "later", "ignored"]
    assert names(without_results(counts, 1, 20)) == ["nothing", "once", "later", "ignored"]
    assert names(deeply_clicked(counts, 2, 20)) == ["deep"]
    assert names(deeply_clicked(counts, 1, 20)) == ["deep", "deep once"]
    assert (hidden(counts, 2), hidden(counts, 3), hidden(counts, 1)) == (1, 3, 0)


def test_equals_of_one_time_come_in_the_order_of_the_log(path):
    write(path, *(replace(shown(1, query, "a"), search=f"{n:016x}") for n, query in enumerate("zaq")))
    assert names(most_frequent(count_queries(path), 1, 20)) == ["z", "a", "q"]


def counted_plainly(events: Sequence[Event], since: str, within: float) -> dict[str, tuple[int, ...]]:
    """Searches, empty ones, clicks, clicked searches and the sum of first ranks, by query."""
    searches: list[Search] = []
    seen: set[str] = set()
    for event in events:
        if not isinstance(event, Shown) or event.time < since:
            continue
        ranks = [
            event.offset + event.shown.index(each.clicked) + 1
            for each in events
            if isinstance(each, Clicked) and each.search == event.search and event.search not in seen
            if each.clicked in event.shown
        ]
        seen.add(event.search)
        at = int(event.time[14:16]) * 60 + int(event.time[17:19])
        first = ranks[0] if ranks else 0
        is_first = event.offset == 0
        searches.append(
            Search(event.query, query_key(event.query), at, is_first, not event.shown, len(set(ranks)), first)
        )
    found: dict[str, list[int]] = {}
    for search in marked_half_typed(searches, within):
        if not search.half_typed:
            sums = found.setdefault(search.key, [0] * 5)
            more = (
                search.is_first,
                search.is_first and search.is_empty,
                search.clicks,
                search.clicks > 0,
                search.first_rank,
            )
            found[search.key] = [a + b for a, b in zip(sums, more, strict=True)]
    return {key: tuple(sums) for key, sums in found.items() if sums[0]}


@given(st.integers(0, 10**6))
def test_counts_agree_with_a_plain_count_of_random_logs(tmp_path_factory, seed):
    draw = random.Random(seed)
    events: list[Event] = []
    seconds = 0
    for _ in range(draw.randrange(60)):
        seconds += draw.randrange(6)
        search, at = f"{draw.randrange(12):016x}", f"2026-11-28T12:{seconds // 60:02d}:{seconds % 60:02d}Z"
        if draw.random() < 0.5:
            events.append(Clicked(at, search, draw.choice("abcdx"), draw.choice((None, 3))))
        else:
            query = draw.choice(("a", "A ", "ab", "a b", "b", "clicked"))
            documents = tuple(draw.sample("abcd", draw.randrange(4)))
            events.append(Shown(at, search, query, "dense", draw.choice((0, 0, 10)), documents))
    path = tmp_path_factory.mktemp("random") / "log"
    cuts = sorted(draw.randrange(len(events) + 1) for _ in range(2))
    parts = (events[: cuts[0]], events[cuts[0] : cuts[1]], events[cuts[1] :])
    for name, part in zip(("log.2", "log.1", "log"), parts, strict=True):
        write(path.with_name(name), *part)
    since, within = draw.choice(("", "2026-11-28T12:01:00Z")), draw.choice((0, 2, 5))
    counts = count_queries(path, since=since, typing_seconds=within)
    expected = counted_plainly(events, since, within)
    found = {}
    for each in queries(counts):
        rank_sum = round((each.mean_first_rank or 0) * each.clicked_searches)
        found[query_key(each.query)] = (
            *(each.searches, each.empty, each.clicks, each.clicked_searches),
            rank_sum,
        )
    assert found == expected
    frequent = most_frequent(counts, 1, 100)
    assert {query_key(each.query) for each in frequent} == expected.keys()
    times = [each.searches for each in frequent]
    assert times == sorted(times, reverse=True)


# Records searches for one text, each with a click, in small files.
WRITER = """
import sys
from pathlib import Path
from retrieval.data.clicks.recorded import Clicked, Shown, encode
from retrieval.data.clicks.rotation import append
for n in range(300):
    search = f"{int(sys.argv[2]) * 1000 + n:016x}"
    for event in (Shown("2026-11-28T12:00:00Z", search, "Copy", "dense", 0, ("a",)),
                  Clicked("2026-11-28T12:00:00Z", search, "a")):
        append(Path(sys.argv[1]), encode(event), most_bytes=5000, kept=10_000)
"""


def test_a_log_is_counted_while_several_processes_record(path):
    command = [sys.executable, "-c", WRITER, str(path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    path.touch()
    writers = [subprocess.Popen([*command, str(name)], env=environment) for name in range(2)]
    before = 0
    while any(each.poll() is None for each in writers):
        for each in queries(count_queries(path)):
            assert each.query == "Copy" and before <= each.searches
            assert each.searches - 2 <= each.clicks <= each.searches  # a writer is between the two
            before = each.searches
    assert [each.wait() for each in writers] == [0, 0]
    assert [(each.searches, each.clicks) for each in queries(count_queries(path))] == [(600, 600)]
