"""Passages: the parts of a document that the document tower reads one by one.

In: title and text of a document. Out: spans of the text. Each is short enough for the tower together with its
context, and consists of whole sentences if possible. Neighbours overlap, so that no answer is cut in two, but
not from one paragraph to the next. Knows nothing of vectors or indexes.

A document scores as its best passage: MaxP of Dai and Callan 2019 (Deeper Text Understanding for IR with
Contextual Neural Language Modeling, section 3).
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from index.dense.passages import Span
from index.lexical.cjk import CLOSING
from retrieval.text.words import document_text, words

# The end of a sentence, or of a line, with the white space behind. Chinese ends a sentence without a space.
_END = re.compile(rf"(?<=[.!?])\s+|(?<=[。！？])(?![{CLOSING}])\s*|(?<=[。！？][{CLOSING}])\s*|\n+")
_PARAGRAPH = re.compile(r"\n[^\S\n]*\n\s*")
_SPACE = re.compile(r"\s+|(?<=[，；：、])")
_NOT_SPACE = re.compile(r"\S")
# A passage repeats at most this part of the words of the passage before it.
_OVERLAP = 0.25
# No text has more words than characters, and no ASCII text has more than three words in four characters.
_CHARACTERS_A_WORD = 4 / 3
# A passage that is filled to this part ends with its paragraph, for the next one may be about something else.
_FILLED = 0.25
# Title and first sentence of the paragraph have at most this part each of the words that are read.
_CONTEXT = 0.2
# So many characters are looked at for each of these words: a text without the end of a sentence may be
# megabytes long, and all of its passages have the same context.
_CHARACTERS_A_CONTEXT_WORD = 100


class _Sentence(NamedTuple):
    """A sentence of a text: characters [start, end)."""

    start: int
    end: int
    words: int
    ends_paragraph: bool  # whether a blank line follows


def passages(title: str, text: str, whole: int, limit: int) -> list[Span]:
    """The passages of a document in order, at least one. A short document is one passage.

    title: of the document.
    text: the text to split.
    whole: words of title and text, as `words` counts them, up to which a document is not split.
    limit: most words that are read of a passage of a document that is split, its context included.
    """
    if is_short(title, text, whole):
        return [Span(0, len(text))]
    context = len(words(_beginning(title, limit), limit)) if title.strip() else 0
    room = max(limit - context - int(limit * _CONTEXT), 1)
    return list(_packed(list(_sentences(text, room)), room))


def passage_texts(title: str, text: str, spans: Sequence[Span], limit: int) -> list[str]:
    """What the document tower reads of passages: the title, the first sentence of the paragraph, the passage.

    A passage that continues a paragraph often does not say what it is about. Title and sentence are cut to
    their first words.

    title: of the document.
    text: of the document.
    spans: the passages, in order.
    limit: as for `passages`.
    """
    if list(spans) == [(0, len(text))]:
        return [document_text(title, text)]
    ends = [match.end() for match in _PARAGRAPH.finditer(text)]
    title = _beginning(title, limit)
    texts = []
    for span in spans:
        place = bisect_right(ends, span.start)
        topic = _topic(text, ends[place - 1] if place else 0, span.start, limit)
        context = f"{title} {_beginning(topic, limit)}"
        texts.append(document_text(context.strip(), text[span.start : span.end]))
    return texts


def _topic(text: str, start: int, end: int, limit: int) -> str:
    """The first sentence of a paragraph that begins at `start`, as far as it stands before `end`.

    limit: as for `passages`; of a sentence that is far too long for it the beginning is enough.
    """
    first = _NOT_SPACE.search(text, start, end)
    if first is None:
        return ""
    end = min(end, first.start() + int(limit * _CONTEXT + 1) * _CHARACTERS_A_CONTEXT_WORD)
    sentence = _END.search(text, first.start(), end)
    return text[first.start() : sentence.start() if sentence else end]


def _beginning(text: str, limit: int) -> str:
    """The first words of a title or sentence: as many as a passage of `limit` words may spend on it."""
    context, count = "", 0
    for part in text.split():
        count += len(words(part))
        if count > limit * _CONTEXT:
            return context or part[: int(limit * _CONTEXT)]
        context = f"{context} {part}".lstrip()
    return context


def is_short(title: str, text: str, limit: int) -> bool:
    """Whether the words are few enough. If the number of characters tells that, no words are counted."""
    characters = len(title) + len(text) + 1
    if characters <= limit or (
        characters <= limit * _CHARACTERS_A_WORD and title.isascii() and text.isascii()
    ):
        return True
    return len(words(f"{title} {text}", limit + 1)) <= limit


def _packed(sentences: list[_Sentence], room: int) -> Iterator[Span]:
    """Passages of as many whole sentences as fit, at least one.

    The last one begins as early as it can, but not before the passage in front of it. A passage that is
    filled to `_FILLED` ends with its paragraph.
    """
    first = stop = before = 0
    while stop < len(sentences):
        stop, count = first, 0
        while stop < len(sentences) and (stop == first or count + sentences[stop].words <= room):
            count += sentences[stop].words
            stop += 1
            if sentences[stop - 1].ends_paragraph and count >= room * _FILLED:
                break
        if stop == len(sentences):
            first = max(before, min(first, _earliest(sentences, stop, room)))
        before = first
        yield Span(sentences[first].start, sentences[stop - 1].end)
        if stop < len(sentences):
            overlap = min(int(room * _OVERLAP), room - sentences[stop].words)
            within = 0 if sentences[stop - 1].ends_paragraph else overlap
            first = max(first + 1, _earliest(sentences, stop, within))


def _earliest(sentences: list[_Sentence], stop: int, room: int) -> int:
    """The number of the first sentence such that it and all others before `stop` have at most `room` words.

    If a beginning of a paragraph leaves them at least `_FILLED` of `room`, they begin there.
    """
    first, count = stop, 0
    while first > 0 and count + sentences[first - 1].words <= room:
        if sentences[first - 1].ends_paragraph and first < stop and count >= room * _FILLED:
            break
        first -= 1
        count += sentences[first].words
    return first


def _sentences(text: str, room: int) -> Iterator[_Sentence]:
    """The sentences in order; one of more than `room` words is cut at white space or Chinese commas."""
    start = 0
    for end, gap in [*(match.span() for match in _END.finditer(text)), (len(text), len(text))]:
        ends_paragraph = _PARAGRAPH.search(text, end, gap) is not None
        left, right = _stripped(text, start, end)
        start = end
        if left < right:
            *parts, (last, count) = _cut(text, Span(left, right), room)
            for part, words_of_part in parts:
                yield _Sentence(*part, words_of_part, False)
            yield _Sentence(*last, count, ends_paragraph)


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
