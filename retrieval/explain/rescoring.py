"""How hybrid search ranks a document by fusion and by re-scoring, and what each feature adds to its score.

In: an index, a query and a document id. Out: a `RankExplanation`. Knows nothing of printing.

The effect of a feature is how much lower the document's score would be with the mean value of all candidates
in place of the document's own. The network is not linear, so effects do not sum to the score.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from index.errors import InputError
from index.values import Texts
from retrieval.search.features import NAMES, shares_of
from retrieval.search.fusion import fuse
from retrieval.search.ordering import features_of
from retrieval.search.rescoring import RESCORING_DEPTH, Rescoring
from retrieval.search.retriever import Retriever
from retrieval.text.words import words


class FeatureEffect(NamedTuple):
    """A feature of a document, and its effect on the score."""

    feature: str
    value: float
    effect: float


class WordMatch(NamedTuple):
    """A query word, its share of the weight of all, and the document word that is nearest to it."""

    query: str
    share: float
    document: str
    cosine: float
    known: bool  # whether the document has that word only in the queries that it is known to answer


@dataclass(frozen=True)
class RankExplanation:
    """Where hybrid search ranks a document, and why; ranks count from 1."""

    candidates: int  # documents that were re-scored
    fused_rank: int | None  # by fusion alone; None if the document is no candidate
    rank: int | None  # after re-scoring; likewise
    score: float | None  # of the network, before it is scaled; likewise
    words: tuple[WordMatch, ...]  # one a distinct query word, in order; none if the document has no words
    features: tuple[FeatureEffect, ...]  # by size of the effect; none if it is no candidate


def explain_rank(folder: Path, query: str, document_id: str) -> RankExplanation | None:
    """Explain the rank of a document in hybrid search; None if the index is not re-scored.

    folder: the index.
    query: text, more than white space.
    document_id: of a document of the index.
    Raises InputError for an unknown document id, and what `Retriever.open` raises.
    """
    with Retriever.open(folder) as retriever:
        index, rescoring = retriever.index, retriever.rescoring
        if rescoring is None:
            return None
        row = index.row_of(document_id)
        if row is None:
            raise InputError(f"the index holds no document with the id {document_id!r}")
        (document,) = index.documents([row])
        matches = _word_matches(rescoring, query, document.texts())
        # The two rankings as hybrid search asks for them: compressed vectors find others at another depth.
        embeddings = retriever.encode([query])
        dense = index.search_dense(embeddings, RESCORING_DEPTH)
        lexical = index.search_lexical([query], RESCORING_DEPTH)
        rows, table = features_of(rescoring.compared(index, query, embeddings[0], dense, lexical))
        fused = fuse(dense, lexical, len(rows), retriever.dense_share).rows[0]
    (place,) = np.flatnonzero(rows == row)[:1].tolist() or (None,)
    if place is None:
        return RankExplanation(len(rows), None, None, None, matches, ())
    scores = rescoring.rescorer.scores(table)
    rank = 1 + int((scores > scores[place]).sum() + (scores[:place] == scores[place]).sum())
    fused_rank = 1 + int(np.flatnonzero(fused == row)[0])
    effects = _effects(rescoring, table, place)
    return RankExplanation(len(rows), fused_rank, rank, float(scores[place]), matches, effects)


def _effects(rescoring: Rescoring, table: NDArray[np.float32], place: int) -> tuple[FeatureEffect, ...]:
    own = table[place]
    without = np.tile(own, (len(NAMES), 1))
    np.fill_diagonal(without, table.mean(axis=0))
    effects = rescoring.rescorer.scores(own[None])[0] - rescoring.rescorer.scores(without)
    found = map(FeatureEffect, NAMES, own.tolist(), effects.tolist())
    return tuple(sorted(found, key=lambda one: -abs(one.effect)))


def _word_matches(rescoring: Rescoring, query: str, texts: Texts) -> tuple[WordMatch, ...]:
    of_query = list(dict.fromkeys(words(query, rescoring.query_words)))
    title, text, queries = rescoring.words.distinct_words(texts)
    own = {*title, *text}
    of_document = [*title, *text, *queries]
    if not of_document:
        return ()
    vectors, weights = rescoring.words.encode_words(of_query)
    cosines = vectors @ rescoring.words.encode_words(of_document)[0].T
    best = cosines.argmax(axis=1).tolist()
    shares = shares_of(weights).tolist()
    return tuple(
        WordMatch(word, share, of_document[place], float(line[place]), of_document[place] not in own)
        for word, share, place, line in zip(of_query, shares, best, cosines, strict=True)
    )
