"""Snippets: the part of a document that has most words of a query, with these words marked.

In: a query and a text. Out: pieces of the text, each marked or not. Knows nothing of ranking or printing.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from typing import NamedTuple

from retrieval.text.words import words

# Characters at the start of a document that are read, about 40,000 words. The limit bounds the cost.
_LONGEST_TEXT = 1 << 18


class Piece(NamedTuple):
    """A part of a text."""

    text: str
    marked: bool  # whether it is a word of the query


def snippet(query: str, text: str, width: int = 200) -> list[Piece]:
    """The part of a text with the most words of the query, as pieces that follow one another.

    Every run of white space becomes one space. An ellipsis stands where text was left out.

    query: its words are marked, and inflections of them.
    text: of a very long one only the first 262,144 characters are read.
    width: about how many characters the part has; it is cut at white space.

    >>> [(piece.text, piece.marked) for piece in snippet("list files", "ls - list directory contents")]
    [('ls - ', False), ('list', True), (' directory contents', False)]
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
    """The part of a text that is read, with single spaces, and whether text was cut off."""
    if len(text) <= _LONGEST_TEXT:
        return " ".join(text.split()), False
    parts = text.lstrip()[:_LONGEST_TEXT].split()
    return " ".join(parts[:-1] or parts), True  # the last word may be cut in half


def _pattern(query: str) -> re.Pattern[str]:
    """A pattern for the query's words; a word of four letters or more matches with other endings too."""
    parts = []
    for word in sorted(set(words(query, limit=64)), key=len, reverse=True):
        if word[:1].isalpha() and word.isascii():
            ending = r"\w*" if len(word) >= 4 else r"(?!\w)"
            parts.append(rf"\b{re.escape(word[: max(4, len(word) - 2)])}{ending}")
        elif len(word) > 1 and not word.isspace():
            parts.append(re.escape(word))
    return re.compile("|".join(parts) if parts else r"(?!)", re.IGNORECASE)


def _window(text: str, spans: list[tuple[int, int]], width: int) -> tuple[int, int]:
    """Start and end of the part that has the most matches; of equal parts, the first.

    text: the text that is read.
    spans: start and end of each match, in order.
    width: about how many characters the part has, a quarter of them before the first match.
    """
    if len(text) <= width:
        return 0, len(text)
    lefts = [left for left, _ in spans]
    best, most = 0, 0
    for i, left in enumerate(lefts):
        matches = bisect_right(lefts, left + width // 2) - i
        if matches > most:
            best, most = left, matches
    start = max(0, min(best - width // 4, len(text) - width))
    if start:
        space = text.find(" ", start, start + width // 4)
        start = space + 1 if space >= 0 else start
    stop = min(len(text), start + width)
    if stop < len(text):
        space = text.rfind(" ", stop - width // 4, stop)
        stop = space if space > start else stop
    return start, stop
