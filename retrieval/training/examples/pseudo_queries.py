"""Pseudo-queries: title and sentences of a document, as queries that the rest of the document answers.

In: a document and its word ids. Out: its pseudo-queries, and where in the document they stand. They train a
model without judged pairs, and on documents that no judged query belongs to: the inverse cloze task of Lee et
al. 2019 (Latent Retrieval for Weakly Supervised Open Domain Question Answering, section 4). Knows nothing of
batches or models.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from index.documents.store import Document
from retrieval.text.vocabulary import Lexicon

# Sentences, clauses of a list and lines; Chinese ends a sentence without a space.
_END = re.compile(r"(?<=[.!?;:])\s+|(?<=[。！？；])\s*|\n+")
# The first sentences tell what a document is about.
MAX_PER_DOCUMENT = 8
# A shorter sentence is no query. The rest of the document must have at least as many words.
_MIN_WORDS = 3
_MIN_WORDS_LEFT = 2


class PseudoQuery(NamedTuple):
    """A title or sentence that stands at words [start, end) of its document."""

    text: str
    words: list[int]  # word ids
    start: int
    end: int


def pseudo_queries(document: Document, words: Sequence[int], lexicon: Lexicon) -> list[PseudoQuery]:
    """The title and the first sentences of a document, at most `MAX_PER_DOCUMENT`.

    document: the document to split.
    words: word ids of its title and text, cut to the model's number of words.
    lexicon: the lexicon that gave the word ids.
    """
    queries: list[PseudoQuery] = []
    start = 0
    whole = document.text.strip()
    for part, min_words in _parts(document):
        if not start and part == whole:
            break  # nothing would be left of the document
        part_words = lexicon.word_ids(part, len(words))
        end = start + len(part_words)
        if start >= len(words) or len(queries) == MAX_PER_DOCUMENT:
            break
        if part_words[: len(words) - start] != list(words[start:end]):
            continue  # an empty part, or signs alone, which are words only where there is nothing else
        words_left = len(words) - (min(end, len(words)) - start)
        if len(part_words) >= min_words and words_left >= _MIN_WORDS_LEFT:
            queries.append(PseudoQuery(part, part_words, start, end))
        start = end
    return queries


def _parts(document: Document) -> Iterator[tuple[str, int]]:
    """The parts of a document in order, and how many words each needs to be a query."""
    yield document.title.strip(), 1
    for part in _END.split(document.text):
        yield part.strip(), _MIN_WORDS
