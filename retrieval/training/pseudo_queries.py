"""Title and sentences of a document as questions that the rest of the document answers.

In: documents. Out: stretches of them. They teach a model which words go together where nobody has told which
queries belong to which documents, and documents that no query belongs to.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from index.documents.store import Document
from retrieval.text.vocabulary import Lexicon

# Sentences, clauses of a list and lines; Chinese ends a sentence without a space.
_END = re.compile(r"(?<=[.!?;:])\s+|(?<=[。！？；])\s*|\n+")
# Of a document at most so many: the first sentences tell what it is about.
MOST = 8
# A shorter sentence asks nothing, and what is left of the document must still be a text.
_FEWEST_WORDS = 3
_FEWEST_LEFT = 2


class Span(NamedTuple):
    """Words [start, end) of a document, by their ids."""

    text: str
    words: list[int]
    start: int
    end: int


def document_spans(document: Document, words: Sequence[int], lexicon: Lexicon) -> list[Span]:
    """The title and the first sentences of a document whose text has the given words; at most `MOST`."""
    found: list[Span] = []
    start = 0
    for part, least in _parts(document):
        mine = lexicon.word_ids(part, len(words))
        end = start + len(mine)
        if start >= len(words) or len(found) == MOST:
            break
        if mine[: len(words) - start] != list(words[start:end]):
            continue  # nothing, or signs alone, which are words only where there is nothing else
        left = len(words) - (min(end, len(words)) - start)
        if len(mine) >= least and left >= _FEWEST_LEFT:
            found.append(Span(part, mine, start, end))
        start = end
    return found


def _parts(document: Document) -> Iterator[tuple[str, int]]:
    """The parts of a document in order, and how many words each needs to be a question."""
    yield document.title.strip(), 1
    for part in _END.split(document.text):
        yield part.strip(), _FEWEST_WORDS
