"""What speaks for a document as an answer to a query, whatever ranked it, and the probability that follows.

In: an open generation, queries, and rows of documents. Out: evidence and probabilities. Knows nothing of modes
or of how documents were ranked.

    cosine   of the embeddings of query and document, of a split document the largest of its passages
    bm25     its BM25 score, as a share of the highest that a document could have
    share    the share of the query's words that it has, weighted by their idf
    unknown  the share of the query's words that no document has, weighted by their idf
    words    ln of the number of different words of the query

Weights and shares come from the whole index, so they do not depend on filters. All five are of one query and
one document: a hit has the same probability in every mode, on every page and beside any other hits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from index.phases import phase
from index.reader import Index
from index.values import Rows, Vectors
from retrieval.model.calibration import EVIDENCE, Calibration
from retrieval.search.generation import OpenGeneration


def evidence_of(
    index: Index,
    query: str,
    embedding: NDArray[np.float32],
    rows: Rows,
) -> NDArray[np.float32]:
    """The evidence for documents as answers to one query, float32 (n, EVIDENCE).

    index: that holds the documents.
    query: its text.
    embedding: float32 (dimension,), of the query.
    rows: int64 (n,), of the documents.
    """
    match = index.match_words(query, rows)
    evidence = np.empty((len(rows), len(EVIDENCE)), np.float32)
    evidence[:, 0] = index.cosines(rows, embedding)
    evidence[:, 1] = match.scores / np.float32(match.weight)
    evidence[:, 2] = match.shares
    evidence[:, 3] = match.unknown
    evidence[:, 4] = math.log(max(1, match.words))
    return evidence


def probabilities_of(
    opened: OpenGeneration,
    queries: Sequence[str],
    embeddings: Vectors | None,
    rows: NDArray[np.int64],
) -> list[NDArray[np.float32]] | None:
    """The probability of each hit that it is relevant; None if the model has no calibration.

    opened: what was searched.
    queries: n texts.
    embeddings: float32 (n, dimension); None to encode the queries here, which a lexical search does not need.
    rows: int64 (n, k), -1 where there are no more documents.
    Returns for each query float32 (hits,).
    """
    calibration: Calibration | None = opened.tower.calibration
    if calibration is None:
        return None
    if embeddings is None:
        embeddings = opened.tower.encode(queries)
    with phase("probability"):
        return [
            calibration.probabilities(evidence_of(opened.index, query, embedding, found[found >= 0]))
            for query, embedding, found in zip(queries, embeddings, rows, strict=True)
        ]
