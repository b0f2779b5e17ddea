"""The part of a document worth showing for a query, with the query's words marked.

In: a query and a text. Out: pieces of the text, each marked or not. Knows nothing of ranking or printing.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from typing import NamedTuple

from retrieval.text.words import words

# Characters of a document that are looked at, some 40,000 words: a longer one must not cost more.
_LOOKED_AT = 1 << 18


class Piece(NamedTuple):
    """A stretch of text; marked if it is one of the query's words."""

    text: str
    marked: bool


def snippet(query: str, text: str, width: int = 200) -> list[Piece]:
    """The stretch of about `width` characters with the most of the query's words in it, cut at white space.

    Runs of white space become one space; an ellipsis stands where text was left out. Of a very long text only
    the first 262,144 characters are looked at.

    >>> snippet("list files", "ls - list directory contents")
    [Piece(text='ls - ', marked=False), Piece(text='list', marked=True), Piece(text=' directory contents',
    marked=False)]
    """
    text, cut = _beginning(text)
    spans = [match.span() for match in _pattern(query).finditer(text)]
    start, stop = _window(text, spans, width)
    pieces = [Piece("… ", False)] if start else []
    at = start
    for left, right in spans:
        if at <= left and right <= stop:
            if at < left:
                pieces.append(Piece(text[at:left], False))
            pieces.append(Piece(text[left:right], True))
            at = right
    if at < stop:
        pieces.append(Piece(text[at:stop], False))
    return [*pieces, Piece(" …", False)] if cut or stop < len(text) else pieces


def _beginning(text: str) -> tuple[str, bool]:
    """What is looked at, white space as single blanks, and whether that is not the whole text."""
    if len(text) <= _LOOKED_AT:
        return " ".join(text.split()), False
    seen = text.lstrip()[:_LOOKED_AT].split()
    return " ".join(seen[:-1] or seen), True  # the last word may be half a word


def _pattern(query: str) -> re.Pattern[str]:
    """Matches the query's words and their inflections: a word of four letters or more may end otherwise."""
    parts = []
    for word in sorted(set(words(query, limit=64)), key=len, reverse=True):
        if word[:1].isalpha() and word.isascii():
            ending = r"\w*" if len(word) >= 4 else r"(?!\w)"
            parts.append(rf"\b{re.escape(word[: max(4, len(word) - 2)])}{ending}")
        elif len(word) > 1 and not word.isspace():
            parts.append(re.escape(word))
    return re.compile("|".join(parts) if parts else r"(?!)", re.IGNORECASE)


def _window(text: str, spans: list[tuple[int, int]], width: int) -> tuple[int, int]:
    """Start and end of the stretch that holds most spans, the first of equals; a little is kept before the
    first one.
    """
    if len(text) <= width:
        return 0, len(text)
    lefts = [left for left, _ in spans]
    best, most = 0, 0
    for number, left in enumerate(lefts):
        held = bisect_right(lefts, left + width // 2) - number
        if held > most:
            best, most = left, held
    start = max(0, min(best - width // 4, len(text) - width))
    if start:
        space = text.find(" ", start, start + width // 4)
        start = space + 1 if space >= 0 else start
    stop = min(len(text), start + width)
    if stop < len(text):
        space = text.rfind(" ", stop - width // 4, stop)
        stop = space if space > start else stop
    return start, stop
