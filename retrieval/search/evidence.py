"""What speaks for documents as answers to a query, and the probability that follows.

In: what is known of documents, or an index that tells it. Out: evidence and probabilities. Knows nothing of
how documents were ranked.

    cosine        of the embeddings of query and document, of a split document the largest of its passages
    bm25          the BM25 score, as a share of the highest that a document could have
    share         the share of the query's words that the document has, weighted by their idf
    words         ln of the number of different words of the query
    cosine_logit  ln(cosine / (1 - cosine)), because a small step between high cosines says much
    matched       1 if the document has a word of the query, else 0

All are of one query and one document. Idf is that of the whole index, so filters change nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from index.values import Rows
from retrieval.model.calibration import EVIDENCE, ModeCalibration
from retrieval.search.found import Known

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from index.protocol import OpenIndex

# Lower and higher cosines get the logits of these two: the logit of 0 or 1 is infinite.
LEAST_COSINE, MOST_COSINE = 0.02, 0.98

# A function with the parameters and the result of `probabilities_of_known`.
Probabilities: TypeAlias = "Callable[[ModeCalibration, Known, Rows], NDArray[np.float32] | None]"


def known_of(
    index: OpenIndex,
    query: str,
    embedding: NDArray[np.float32],
    rows: Rows,
    known: Known | None = None,
) -> Known:
    """What an index tells of documents as answers to one query.

    index: that holds the documents.
    query: its text.
    embedding: float32 (dimension,), of the query.
    rows: int64 (n,), of the documents.
    known: what is known of some of them already, its rows ascending. Their cosines are taken from it, so that
        a hit is as likely in a long search as in a short one.
    """
    matches = index.match_words(query, rows)
    if known is None:
        return Known(rows, index.cosines(rows, embedding), matches)
    places = np.searchsorted(known.rows, rows)
    cosines = known.cosines.take(places, mode="clip")
    others = known.rows.take(places, mode="clip") != rows
    cosines[others] = index.cosines(rows[others], embedding)
    return Known(rows, cosines, matches)


def evidence_of(known: Known) -> NDArray[np.float32]:
    """The evidence for n documents as answers to one query, float32 (n, EVIDENCE)."""
    rows, cosines, match = known
    evidence = np.empty((len(rows), len(EVIDENCE)), np.float32)
    evidence[:, 0] = cosines
    np.divide(match.scores, np.float32(match.weight), out=evidence[:, 1])
    evidence[:, 2] = match.shares
    evidence[:, 3] = math.log(max(1, match.words))
    between = np.clip(cosines, LEAST_COSINE, MOST_COSINE)
    np.log(between / (1 - between), out=evidence[:, 4])
    np.greater(match.shares, 0, out=evidence[:, 5])
    return evidence


def probabilities_of_known(
    fitted: ModeCalibration,
    known: Known,
    rows: Rows,
) -> NDArray[np.float32] | None:
    """The probabilities that documents are relevant, float32 (n,); None if one of them is not known.

    fitted: of the mode that ranked them.
    known: what is known of documents, their rows ascending.
    rows: int64 (n,), of the documents, the first hit of the ranking first.
    """
    known_of_them = known.of(rows)
    return None if known_of_them is None else fitted.probabilities(evidence_of(known_of_them))
