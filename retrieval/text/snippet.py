"""Snippets: the part of a document that has most words of a query, with these words marked.

In: a query and a text. Out: pieces of the text, each marked or not. Knows nothing of ranking or printing.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Callable, Sequence
from itertools import groupby, pairwise
from typing import NamedTuple

from index.lexical.cjk import CLOSING
from retrieval.text.words import is_cjk, words

# Characters at the start of a document that are read, about 40,000 words. The limit bounds the cost.
_LONGEST_TEXT = 1 << 18

# Where a text may be cut: at a space and, as Chinese writes none, behind punctuation.
_BREAK = f" |[。！？；，、：…]+[{CLOSING}]*"
# Letters of a Latin word, of full width too, as Chinese input methods write them. "\w" would take in Chinese
# characters, which stand beside it without a space.
_WIDE = r"\uff10-\uff19\uff21-\uff3a\uff41-\uff5a"
_ASCII = "0-9A-Za-z_"
_LATIN = rf"{_ASCII}\u00c0-\u024f\u1e00-\u1eff{_WIDE}"
_TO_WIDE = 0xFEE0  # from the number of a character of ASCII to that of its full-width form
# Joins two characters to one, as in an emoji of a family.
_JOINER = "\u200d"

_Span = tuple[int, int]  # start and end of a match


class Piece(NamedTuple):
    """A part of a text."""

    text: str
    marked: bool  # whether it is a word of the query


def snippet(query: str, text: str, width: int = 200) -> list[Piece]:
    """The part of a text with the most words of the query, as pieces that follow one another.

    Every run of white space becomes one space. An ellipsis stands where text was left out.

    query: its words are marked, and inflections of them.
    text: of a very long one only the first 262,144 characters are read.
    width: about how many characters the part has; it is cut at white space or Chinese punctuation.

    >>> [(piece.text, piece.marked) for piece in snippet("list files", "ls - list directory contents")]
    [('ls - ', False), ('list', True), (' directory contents', False)]
    """
    text, cut = _beginning(text)
    spans = _spans(query, text)
    start, stop = _window(text, spans, width)
    pieces = [Piece("… ", False)] if start else []
    at = start
    for left, right in _shown(spans, text, start, stop):
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
    if len(parts) > 1 and parts[-1].isascii():  # may be half a word; in Chinese it may be nearly all
        parts.pop()
    return " ".join(parts), True


def _spans(query: str, text: str) -> list[_Span]:
    """Start and end of each match of the query's words, in order; those of CJK pairs overlap."""
    found = words(query, limit=64)
    spans = [] if text.isascii() else _cjk_spans(found, text)
    # A class of letters beyond ASCII takes a millisecond to compile, for which a search from the shell waits.
    pattern = _pattern(found, _ASCII if text.isascii() else _LATIN)
    if pattern is None:
        return spans
    if not text.isascii() and re.search(f"[{_WIDE}]", text):
        for letter in {letter for word in found for letter in word + word.upper() if "!" <= letter <= "~"}:
            text = text.replace(chr(ord(letter) + _TO_WIDE), letter)
    others = [match.span() for match in pattern.finditer(text)]
    return sorted(spans + others) if spans else others


def _cjk_spans(found: Sequence[str], text: str) -> list[_Span]:
    pairs = {word for word in found if len(word) == 2 and is_cjk(word)}
    # The last character of a run is a word too, which counts only if it is all of the run.
    alone = {
        word
        for before, word in pairwise(["", *found])
        if len(word) == 1 and before[1:] != word and is_cjk(word)
    }
    if not pairs and not alone:
        return []
    # Sets of characters are found many times as fast as alternatives.
    pattern = f"[{''.join(word[0] for word in pairs | alone)}]"
    if not alone:
        pattern += f"(?=[{''.join(pair[1] for pair in pairs)}])"
    begins = [match.start() for match in re.finditer(pattern, text)]
    spans = [(at, at + 2) for at in begins if text[at : at + 2] in pairs]
    if alone:
        spans = sorted(spans + [(at, at + 1) for at in begins if text[at] in alone])
    return spans


def _pattern(found: Sequence[str], letters: str) -> re.Pattern[str] | None:
    """A pattern for the words that are not CJK; None if there are none.

    found: the words.
    letters: those of a Latin word, for a character class.

    A word of four letters or more matches with other endings too, unless it has a digit: RTX4060 is another
    model than RTX4090.
    """
    by_length = sorted(set(found), key=len, reverse=True)
    latin = [word for word in by_length if word[:1].isalpha() and word.isascii()]
    parts = []
    for inflected, group in groupby(latin, key=_is_inflected):  # the longer ones are tried first
        if inflected:
            stems = "|".join(re.escape(word[: max(4, len(word) - 2)]) for word in group)
            parts.append(f"(?i:{stems})[{letters}]*+")
        else:
            parts.append(f"(?i:{'|'.join(map(re.escape, group))})(?![{letters}])")
    # The first look at a character is short, for most begin no word.
    parts = [f"(?=[A-Za-z])(?<![{letters}])(?:{'|'.join(parts)})"] if parts else []
    others = [word for word in by_length if word not in latin and not is_cjk(word) and len(word) > 1]
    parts += [f"(?i:{re.escape(word)})" for word in others]
    return re.compile("|".join(parts)) if parts else None


def _is_inflected(word: str) -> bool:
    return len(word) >= 4 and not any(map(str.isdigit, word))


def _window(text: str, spans: Sequence[_Span], width: int) -> tuple[int, int]:
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
        while i + most < len(lefts) and lefts[i + most] <= left + width // 2:
            best, most = left, most + 1
    start = max(0, min(best - width // 4, len(text) - width))
    if start:
        found = _breaks(text).search(text, start, start + width // 4)
        start = found.end() if found else _cut(text, range(start, start + width // 4))
    stop = min(len(text), start + width)
    if stop < len(text):
        ends = [
            found.start() if found[0] == " " else found.end()
            for found in _breaks(text).finditer(text, stop - width // 4, stop)
        ]
        last = ends[-1] if ends else _cut(text, range(stop, stop - width // 4, -1))
        stop = last if last > start else stop
    return start, stop


def _breaks(text: str) -> re.Pattern[str]:
    return re.compile(" " if text.isascii() else _BREAK)


def _shown(spans: Sequence[_Span], text: str, start: int, stop: int) -> list[_Span]:
    """The matches between two places, with the signs of their last character; those that overlap as one."""
    shown: list[_Span] = []
    for left, right in spans[bisect_left(spans, (start, 0)) : bisect_left(spans, (stop, 0))]:
        end = min(right, stop)
        while end < stop and _parts_a_character(text, end):
            end += 1
        if shown and left < shown[-1][1]:
            shown[-1] = shown[-1][0], max(end, shown[-1][1])
        else:
            shown.append((left, end))
    return shown


def _cut(text: str, places: range) -> int:
    """The first of some places that parts no word of ASCII; else that parts no character; else the first."""
    parting: tuple[Callable[[str, int], bool], ...] = (_parts_a_word, _parts_a_character)
    for parts in parting:
        for at in places:
            if not parts(text, at):
                return at
    return places.start


def _parts_a_word(text: str, at: int) -> bool:
    """Whether a cut here would be within a character, or between two of ASCII as in a word or an address."""
    return text[at - 1 : at + 1].isascii() or _parts_a_character(text, at)


def _parts_a_character(text: str, at: int) -> bool:
    """Whether a cut here would part a vowel sign, an accent or a piece of an emoji from what is before it."""
    here = text[at]
    return (
        unicodedata.category(here)[0] == "M"
        or _JOINER in text[at - 1 : at + 1]
        or here in "\u0e33\u0eb3"  # vowels of Thai and Lao that count as letters
        or "\U0001f3fb" <= here <= "\U0001f3ff"  # colours of skin
    )
