"""Passages: the parts of a document that the document tower reads one by one.

In: title and text of a document. Out: spans of the text, each of whole sentences where that is possible, each
short enough for the tower together with its context. Neighbours overlap, so that no answer is cut in two.
The context is what tells what the document is about: its title, or its first sentence. Knows nothing of
vectors or indexes.

A document scores as its best passage: MaxP of Dai and Callan 2019 (Deeper Text Understanding for IR with
Contextual Neural Language Modeling, section 3).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from index.dense.passages import Span
from retrieval.text.words import document_text, words

# The end of a sentence, or of a line. Chinese ends a sentence without a space.
_END = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])\s*|\n+")
_SPACE = re.compile(r"\s+")
# A passage repeats at most this part of the words of the passage before it.
_OVERLAP = 0.25
# No text has more words than characters, and no ASCII text more than three words in four characters.
_CHARACTERS_A_WORD = 4 / 3
# The context has at most this part of the words that the tower reads.
_CONTEXT = 0.2


def passages(title: str, text: str, limit: int) -> list[Span]:
    """The passages of a document in order, at least one; the only one of a short document is its whole text.

    title: of the document.
    text: the text to split.
    limit: most words of context and passage together, as `words` counts them.
    """
    if _is_short(title, text, limit):
        return [Span(0, len(text))]
    room = max(limit - len(words(_context(title, text, limit), limit)), 1)
    sentences = list(_sentences(text, room))
    if sum(count for _, count in sentences) <= room:
        return [Span(0, len(text))]
    return list(_packed(sentences, room))


def passage_text(title: str, text: str, span: Span, limit: int) -> str:
    """What the document tower reads of a passage: the context of the document, then the passage.

    title: of the document.
    text: of the document.
    span: the passage.
    limit: as for `passages`.
    """
    if span == (0, len(text)):
        return document_text(title, text)
    first = not title.strip() and span.start == 0  # the context would stand there twice
    return document_text("" if first else _context(title, text, limit), text[span.start : span.end])


def _context(title: str, text: str, limit: int) -> str:
    """The beginning of the title, or without one of the first sentence."""
    context, count = "", 0
    for part in (title.strip() or _END.split(text.strip(), maxsplit=1)[0]).split():
        count += len(words(part))
        if count > limit * _CONTEXT:
            return context or part[: int(limit * _CONTEXT)]
        context = f"{context} {part}".lstrip()
    return context


def _is_short(title: str, text: str, limit: int) -> bool:
    """Whether the words are few enough, told by the characters alone if possible, which is quick."""
    characters = len(title) + len(text) + 1
    if characters <= limit or (
        characters <= limit * _CHARACTERS_A_WORD and title.isascii() and text.isascii()
    ):
        return True
    return len(words(f"{title} {text}", limit + 1)) <= limit


def _packed(sentences: list[tuple[Span, int]], room: int) -> Iterator[Span]:
    """Passages of as many whole sentences as fit; the last one begins as early as it can."""
    first = 0
    while True:
        stop, count = first, 0
        while stop < len(sentences) and count + sentences[stop][1] <= room:
            count += sentences[stop][1]
            stop += 1
        if stop == len(sentences):
            first = _earliest(sentences, stop, room)
            yield Span(sentences[first][0].start, sentences[-1][0].end)
            return
        yield Span(sentences[first][0].start, sentences[stop - 1][0].end)
        overlap = min(int(room * _OVERLAP), room - sentences[stop][1])
        first = max(first + 1, _earliest(sentences, stop, overlap))


def _earliest(sentences: list[tuple[Span, int]], stop: int, room: int) -> int:
    """The first of the sentences before `stop` that have at most `room` words together."""
    first, count = stop, 0
    while first > 0 and count + sentences[first - 1][1] <= room:
        first -= 1
        count += sentences[first][1]
    return first


def _sentences(text: str, room: int) -> Iterator[tuple[Span, int]]:
    """Each sentence with its number of words; one of more than `room` words is cut at white space."""
    start = 0
    for end in [*(match.start() for match in _END.finditer(text)), len(text)]:
        sentence = _stripped(text, start, end)
        start = end
        if sentence.start < sentence.end:
            yield from _cut(text, sentence, room)


def _cut(text: str, span: Span, room: int) -> Iterator[tuple[Span, int]]:
    """The span if it has at most `room` words, otherwise its halves, cut again."""
    count = len(words(text[span.start : span.end], room + 1))
    if count <= room or span.end - span.start < 2:
        yield span, count
        return
    middle = (span.start + span.end) // 2
    space = _SPACE.search(text, middle, span.end)
    if space is None or space.end() == span.end:
        middle_end = middle
    else:
        middle, middle_end = space.span()
    yield from _cut(text, Span(span.start, middle), room)
    yield from _cut(text, Span(middle_end, span.end), room)


def _stripped(text: str, start: int, end: int) -> Span:
    """The span without the white space around it."""
    part = text[start:end]
    start += len(part) - len(part.lstrip())
    return Span(start, max(start, end - (len(part) - len(part.rstrip()))))
