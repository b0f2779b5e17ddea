"""The passage of a hit, and its choice by the words of a query.

In: a document, its spans and a query. Out: a `Passage`. Knows nothing of ranking or vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from index.dense.passages import Span
from index.documents.store import Document
from index.lexical.tokens import is_character, lexical_tokens


class Passage(NamedTuple):
    """A part of a document's text."""

    start: int  # its first character in the text
    end: int  # behind its last character
    text: str


def passage_of(document: Document, span: Span) -> Passage:
    """The passage at a span of a document's text."""
    return Passage(span.start, span.end, document.text[span.start : span.end])


def lexical_span(spans: Sequence[Span], text: str, query: str) -> Span:
    """The passage with the most different words of the query; of equal ones the first.

    spans: the passages of a document.
    text: of the document.
    query: the text of the query.
    """
    wanted = set(lexical_tokens(query))
    characters = set(filter(is_character, wanted))

    def words_in(span: Span) -> int:
        found = set(lexical_tokens(text[span.start : span.end]))
        parts = sum(any(one in token for token in found) for one in characters - found)
        return len(wanted & found) + parts

    return max(spans, key=words_in)
