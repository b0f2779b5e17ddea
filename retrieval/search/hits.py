"""Hits: the documents of a ranking with their texts, long ones with the passage that answers best.

In: an index and the rows that a search found. Out: hits. Knows nothing of how they were ranked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from index.dense.passages import Span
from index.documents.store import Document
from index.values import Json
from retrieval.search.passages import Passage, lexical_span, passage_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from index.protocol import OpenIndex


class Hit(NamedTuple):
    """A document that a search found."""

    rank: int  # from 1
    id: str  # of the document
    score: float  # higher is better; comparable within one search only
    title: str
    text: str
    # The part of a long document that answers best; None if the document was not split.
    passage: Passage | None = None
    # The probability that the document is relevant; None if the model has no calibration.
    probability: float | None = None
    # The metadata of the document; None if it was not asked for.
    metadata: Mapping[str, Json] | None = None


def hits_of(
    index: OpenIndex,
    query: str,
    embedding: NDArray[np.float32] | None,
    scores: NDArray[np.float32],
    rows: NDArray[np.int64],
    probabilities: NDArray[np.float32] | None,
    offset: int,
    metadata: bool,
) -> list[Hit]:
    """The hits of one query.

    index: that was searched.
    query: its text.
    embedding: float32 (dimension,), of the query; None to choose passages by their words.
    scores: float32 (k,).
    rows: int64 (k,), -1 where there are no more documents.
    probabilities: float32 (hits,); None for none.
    offset: how many better documents there are.
    metadata: whether to read the metadata. That takes longer, because only texts are kept in memory.
    """
    found = rows[rows >= 0]
    documents = index.documents(found.tolist()) if metadata else index.texts(found.tolist())
    if embedding is not None:
        spans = index.nearest_spans(found, embedding)
    else:
        spans = [_lexical_span(index, query, *one) for one in zip(found.tolist(), documents, strict=True)]
    likely = [None] * len(found) if probabilities is None else probabilities.tolist()
    return [
        Hit(
            rank,
            document.id,
            score,
            document.title,
            document.text,
            None if span is None else passage_of(document, span),
            probability,
            document.metadata if metadata else None,
        )
        for rank, (score, document, span, probability) in enumerate(
            zip(scores.tolist(), documents, spans, likely, strict=False), offset + 1
        )
    ]


def _lexical_span(index: OpenIndex, query: str, row: int, document: Document) -> Span | None:
    spans = index.spans(row)
    return lexical_span(spans, document.text, query) if spans else None
