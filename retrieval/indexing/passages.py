"""Documents split into passages, the texts of these that the document tower reads, and their final vectors.

In: documents, and how many words a passage may have. Out: documents with their spans; texts; vectors. Knows
nothing of towers or indexes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from index.dense.passages import Span
from index.documents.store import Document
from index.errors import InputError
from index.values import Vectors
from retrieval.model.config import ModelConfig, Side
from retrieval.text.passages import passage_texts, passages

# The weight of the whole document in the vector of a passage, chosen on the dev split of `medquad`.
DOCUMENT_SHARE = 0.5
# Fewer words say little, and there would be very many vectors.
_FEWEST_WORDS = 8
# Documents between two checkpoints: a few seconds of work, beside which syncing the disk costs little.
_DOCUMENTS_PER_SHARD = 4096


@dataclass(frozen=True, slots=True)
class SplitDocument:
    """A document and its passages, at least one."""

    document: Document
    spans: list[Span]
    passage_words: int  # most words of a passage; 0 if the document is left whole

    def texts(self) -> list[str]:
        """What the document tower reads of each passage."""
        return passage_texts(self.document.title, self.document.text, self.spans, self.passage_words)


def passage_words_of(config: ModelConfig, words: int | None = None, side: Side = "document") -> int:
    """Most words of a passage: as many as the tower reads by default; 0 if documents are not to be split.

    config: of the model.
    words: what the user wants; 0 to leave documents whole, None for the default.
    side: which tower encodes; queries have no passages.
    Raises InputError for more words than the document tower reads, for very few, for passages of queries and
    for a side that there is not.
    """
    config.word_limit(side)
    if words and side == "query":
        raise InputError("queries have no passages; leave --passages (passage_words) out")
    fewest = min(_FEWEST_WORDS, config.document_words)
    if words and words < fewest:
        raise InputError(
            f"passages of {words} words are too short; give {fewest} words or more, or 0 for none"
        )
    if words is not None and words > config.document_words:
        raise InputError(f"the model reads {config.document_words} words; --passages must not be more")
    return config.document_words if words is None else words


def split_document(document: Document, document_words: int, passage_words: int) -> SplitDocument:
    """A document with its passages.

    document: the document.
    document_words: words up to which it is not split, as many as the tower reads.
    passage_words: most words of a passage; 0 to leave the document whole.
    """
    if not passage_words:
        return SplitDocument(document, [Span(0, len(document.text))], 0)
    spans = passages(document.title, document.text, document_words, passage_words)
    return SplitDocument(document, spans, passage_words)


def shards_of(
    documents: Iterable[Document], document_words: int, passage_words: int
) -> Iterator[list[SplitDocument]]:
    """The documents, split and in lists of as many as are encoded between two checkpoints.

    documents: any number.
    document_words, passage_words: as for `split_document`.
    """
    stream = (split_document(document, document_words, passage_words) for document in documents)
    while shard := list(islice(stream, _DOCUMENTS_PER_SHARD)):
        yield shard


def texts_to_encode(documents: Sequence[SplitDocument]) -> list[str]:
    """What the document tower reads of each passage, document by document."""
    return [text for document in documents for text in document.texts()]


def vector_names(documents: Sequence[SplitDocument]) -> list[dict[str, str | int]]:
    """The name of each vector outside an index: the document's id, and for a passage its start and end."""
    return [
        {"id": split.document.id} | ({"start": start, "end": end} if split.passage_words else {})
        for split in documents
        for start, end in split.spans
    ]


def passage_vectors(embeddings: Vectors, documents: Sequence[SplitDocument]) -> Vectors:
    """The vectors to search by: each passage's embedding, drawn towards the mean of its document's.

    A passage alone often does not say what it is about.

    embeddings: float32 (passages, dimension), unit length, document by document.
    documents: the documents of the passages.
    Returns vectors of the same shape, unit length. That of an unsplit document is its embedding.
    """
    counts = np.array([len(document.spans) for document in documents])
    if len(embeddings) == len(documents):
        return embeddings
    sums = np.add.reduceat(embeddings, np.cumsum(counts) - counts)
    means = (sums / counts[:, None]).astype(np.float32)
    means[counts == 1] = 0
    vectors = embeddings + np.float32(DOCUMENT_SHARE) * np.repeat(means, counts, axis=0)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.where(np.repeat(counts, counts)[:, None] > 1, vectors / np.maximum(lengths, 1e-12), vectors)
