"""Searches of which somebody went on typing: `copy`, and three seconds later `copy a directory`.

In: searches in the order of the log. Out: the same, each with whether it is half typed. A search is half
typed if nothing of it was clicked and another one follows within some seconds, whose text begins with all of
its text and goes on. Each search continues one other at most, of several the one with the longest text, and
of those with this text the last.

The log does not say who searched. So where many search at once, some searches are taken for half typed that
another person's search happened to continue. Knows nothing of files.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

# Who stops typing for a second, after which the page records, and goes on is recorded again in a few more.
TYPING_SECONDS = 5
# Searches that are looked back at. Of more nearly all would be others', where many search at once.
_MOST_WAITING = 50


@dataclass(slots=True)
class Search:
    """A search of the log, with its clicks that count."""

    query: str  # as it was typed
    key: str  # by which texts are compared, see `query_key`
    seconds: int  # since 1970
    is_first: bool  # whether it shows the first results; else those that follow others
    is_empty: bool  # whether it showed nothing
    clicks: int
    first_rank: int  # of what was clicked first, from 1; 0 without a click
    half_typed: bool = False


def marked_half_typed(searches: Iterable[Search], within: float = TYPING_SECONDS) -> Iterator[Search]:
    """The searches, those that are half typed marked so.

    searches: in the order of the log. A few are held until it is known whether somebody typed on.
    within: seconds until the search that goes on; 0 marks none.
    """
    if not within:
        yield from searches
        return
    waiting = deque[Search]()
    unclicked: dict[str, deque[Search]] = {}  # by key, of those that wait
    for search in searches:
        if not search.is_first:
            yield search
            continue
        while waiting and (len(waiting) > _MOST_WAITING or abs(search.seconds - waiting[0].seconds) > within):
            yield _let_go(waiting, unclicked)
        _mark_what_it_continues(search.key, unclicked)
        waiting.append(search)
        if not search.clicks:
            unclicked.setdefault(search.key, deque()).append(search)
    while waiting:
        yield _let_go(waiting, unclicked)


def _let_go(waiting: deque[Search], unclicked: dict[str, deque[Search]]) -> Search:
    """The search that waited longest, which no other continues any more."""
    search = waiting.popleft()
    if not search.clicks and not search.half_typed:
        unclicked[search.key].popleft()
        _forget_if_none(search.key, unclicked)
    return search


def _mark_what_it_continues(key: str, unclicked: dict[str, deque[Search]]) -> None:
    begun = max((each for each in unclicked if each != key and key.startswith(each)), key=len, default=None)
    if begun is not None:
        unclicked[begun].pop().half_typed = True
        _forget_if_none(begun, unclicked)


def _forget_if_none(key: str, unclicked: dict[str, deque[Search]]) -> None:
    if not unclicked[key]:
        del unclicked[key]
