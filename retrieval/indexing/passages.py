"""Documents split into passages, and the texts of these that the document tower reads.

In: documents, and how many words a passage may have. Out: documents with their spans; texts. Knows nothing of
vectors or indexes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from index.dense.passages import Span
from index.documents.store import Document
from index.errors import InputError
from retrieval.model.config import ModelConfig
from retrieval.text.passages import passages
from retrieval.text.words import document_text


class SplitDocument(NamedTuple):
    """A document and its passages, at least one."""

    document: Document
    spans: list[Span]


def passage_words_of(config: ModelConfig, words: int | None) -> int:
    """Most words of a passage: as many as the tower reads by default; 0 if documents are not to be split.

    config: of the model.
    words: what the user wants; 0 to leave documents whole, None for the default.
    Raises InputError for more words than the document tower reads.
    """
    if words is not None and words > config.document_words:
        raise InputError(f"the model reads {config.document_words} words; --passages must not be more")
    return config.document_words if words is None else words


def split_document(document: Document, passage_words: int) -> SplitDocument:
    """A document with its passages of at most so many words; 0 leaves it whole."""
    if not passage_words:
        return SplitDocument(document, [Span(0, len(document.text))])
    return SplitDocument(document, passages(document.title, document.text, passage_words))


def passage_texts(documents: Sequence[SplitDocument]) -> list[str]:
    """What the document tower reads of each passage, document by document."""
    return [
        document_text(document.title, document.text[start:end])
        for document, spans in documents
        for start, end in spans
    ]
