"""Searches of which somebody went on typing."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.data.clicks.half_typed import Search, marked_half_typed


def search(key: str, seconds: int, clicks: int = 0, *, is_first: bool = True) -> Search:
    return Search(key, key, seconds, is_first, False, clicks, clicks)


def half_typed(*searches: Search, within: float = 5) -> list[str]:
    return [each.key for each in marked_half_typed(searches, within) if each.half_typed]


def test_only_the_last_of_what_was_typed_counts():
    typed = [
        search(each, second) for second, each in enumerate(["c", "cop", "copy", "copy a", "copy a file"])
    ]
    assert half_typed(*typed) == ["c", "cop", "copy", "copy a"]


@pytest.mark.parametrize(
    ("searches", "marked"),
    [
        ([search("copy", 0), search("copy a", 5)], ["copy"]),
        ([search("copy", 0), search("copy a", 6)], []),  # too late
        ([search("copy", 0), search("copy", 1)], []),  # the same is another search
        ([search("copy a", 0), search("copy", 1)], []),  # nobody went on
        ([search("copy", 0), search("scopy", 1)], []),
        ([search("copy", 0, clicks=1), search("copy a", 1)], []),  # it was meant
        ([search("copy", 0), search("copy a", 1, clicks=1)], ["copy"]),
        ([search("copy", 0), search("copy", 0), search("copy a", 1)], ["copy"]),  # one continues one
        ([search("c", 0), search("copy", 1), search("c", 2), search("copy a", 3)], ["c", "copy"]),
        ([search("copy", 0), search("copy a", 1, is_first=False)], []),  # further results are no search
        ([search("", 0), search("copy", 1)], [""]),
        ([search("启", 0), search("启动", 1)], ["启"]),
    ],
)
def test_what_is_half_typed(searches, marked):
    assert half_typed(*searches) == marked


def test_nothing_is_with_0_seconds():
    assert half_typed(search("copy", 0), search("copy a", 0), within=0) == []


def test_logs_of_two_servers_one_after_the_other_are_told_apart_by_their_times():
    assert half_typed(search("copy", 1000), search("copy a", 0)) == []


def test_of_very_many_at_once_only_the_last_ones_are_looked_at():
    others = [search(f"{number:02d}", 0) for number in range(50)]
    assert half_typed(search("copy", 0), *others[:49], search("copy a", 0)) == ["copy"]
    assert half_typed(search("copy", 0), *others, search("copy a", 0)) == []


TYPED = st.builds(
    search,
    st.text("ab", max_size=4),
    st.integers(0, 3),
    st.integers(0, 3).map(lambda drawn: int(drawn == 0)),
    is_first=st.booleans(),
)


def marked_by_looking_back(searches: Sequence[Search], within: float) -> list[bool]:
    """Whether each search is half typed, each later one compared with all before it."""
    marked = [False] * len(searches)
    for now, one in enumerate(searches):
        begun = [
            (len(other.key), at)
            for at, other in enumerate(searches[:now])
            if one.is_first and other.is_first and not other.clicks and not marked[at]
            if one.seconds - other.seconds <= within
            if one.key != other.key and one.key.startswith(other.key)
        ]
        if begun:
            marked[max(begun)[1]] = True
    return marked


@given(st.lists(TYPED, max_size=30), st.integers(1, 6))
def test_all_searches_come_out_marked_as_a_plain_look_back_marks_them(steps, within):
    seconds, searches = 0, []
    for step in steps:
        seconds += step.seconds
        searches.append(search(step.key, seconds, step.clicks, is_first=step.is_first))
    expected = marked_by_looking_back(searches, within)
    came = list(marked_half_typed(searches, within))
    assert sorted(map(id, came)) == sorted(map(id, searches))
    assert [each.half_typed for each in searches] == expected
