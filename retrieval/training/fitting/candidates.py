"""The candidates that re-scoring is fitted to, with their features; the vectors of words come first.

In: a `Retriever` over an index of the dev documents, and the data set. Out: for each dev query and for
pseudo-queries the documents that re-scoring will choose from. The vectors of words, by which most features
are computed, are learned from the training queries. Knows nothing of how features become a score.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from index.documents.store import Document
from index.interaction.matches import Matches
from index.interaction.words import Words
from index.interaction.writing import write_words
from index.values import Progress, Rows, Vectors, no_progress
from retrieval.model.folder import TrainedModel, read_model_of
from retrieval.model.rescoring import Rescorer
from retrieval.search.features import OF_TITLE_AND_TEXT
from retrieval.search.ordering import features_of
from retrieval.search.rescoring import RESCORING_DEPTH, CompareWords, Rescoring
from retrieval.search.retriever import Retriever
from retrieval.text.vocabulary import Lexicon, ragged
from retrieval.text.words import document_text
from retrieval.training.examples.dataset import TrainingData
from retrieval.training.examples.pseudo_queries import pseudo_queries
from retrieval.training.fitting.dev_rankings import DevRankings, rank_dev
from retrieval.training.fitting.interaction import (
    CANDIDATES,
    DOCUMENT_WORDS,
    QUERY_WORDS,
    Examples,
    learn_projection,
)
from retrieval.training.fitting.linear import Judged, spreads

# The most training queries that the vectors of words are learned from, and how deep hybrid search looks for
# their candidates.
_MOST_QUERIES = 10_000
_DEPTH = 60
# Pseudo-queries that the spreads of the features are measured on.
_MOST_PSEUDO_QUERIES = 300
# Queries searched at once.
_BATCH = 256


class FoundCandidates(NamedTuple):
    """What weights and networks are fitted to.

    untrained: has the vectors of words that the features were computed with, and no network.
    judged: the candidates of the dev queries.
    spread: float64 (F,), see `spreads`.
    """

    untrained: Rescorer
    judged: Judged
    spread: NDArray[np.float64]


def candidates_of(
    retriever: Retriever,
    dataset: TrainingData,
    ranked: DevRankings,
    folder: Path,
    seed: int,
    progress: Progress = no_progress,
    stop: Callable[[], bool] = lambda: False,
) -> FoundCandidates:
    """Learn the vectors of words, and find the candidates of dev queries and of pseudo-queries.

    The parameters are those of `fit_rescorer`.
    """
    model = read_model_of(retriever.index)
    learned = learn_projection(_examples(model, retriever, dataset, seed), seed, progress, stop)
    known = any(document.queries for document in retriever.index.live_documents())
    none = np.zeros((1, np.count_nonzero(own_features(known))), np.float32)
    untrained = Rescorer(*learned, none, none[:, 0], none[:, 0], none[0], reads_queries=known)
    rescoring = Rescoring(model, untrained, model.word_rows("query"))
    compare = word_comparison(retriever, rescoring, folder)
    asked = _pseudo(model, retriever, seed)
    spread = spreads(
        judged_candidates(rescoring, retriever, asked, rank_dev(retriever, asked), compare, progress, stop)
    )
    judged = judged_candidates(rescoring, retriever, dataset, ranked, compare, progress, stop)
    return FoundCandidates(untrained, judged, spread)


def own_features(reads_queries: bool) -> NDArray[np.bool_]:
    """The features that a rescorer has, bool (len(NAMES),)."""
    return OF_TITLE_AND_TEXT | reads_queries


def _examples(model: TrainedModel, retriever: Retriever, dataset: TrainingData, seed: int) -> Examples:
    """Training queries with a relevant document each and others that hybrid search ranks high."""
    documents = retriever.index.texts(retriever.index.rows().tolist())
    rows = {document.id: row for row, document in enumerate(documents)}
    relevant = {
        query: [rows[each] for each, grade in grades.items() if grade > 0 and each in rows]
        for query, grades in dataset.train.items()
    }
    query_ids = [query for query, found in relevant.items() if found]
    rng = np.random.default_rng(seed)
    query_ids = [query_ids[at] for at in rng.permutation(len(query_ids))[:_MOST_QUERIES].tolist()]
    texts = [dataset.queries[query] for query in query_ids]
    candidates = [
        _drawn(relevant[query], found, rng)
        for start in range(0, len(texts), _BATCH)
        for query, found in zip(
            query_ids[start : start + _BATCH],
            retriever.rank(texts[start : start + _BATCH], _DEPTH, "hybrid", as_typed=True).rows,
            strict=True,
        )
    ]
    lexicon = Lexicon(model.vocabulary)
    of_documents = ragged(
        [
            sorted(set(lexicon.word_ids(document_text(document.title, document.text), DOCUMENT_WORDS)))
            for document in documents
        ]
    )
    of_queries = ragged([sorted(set(lexicon.word_ids(text, QUERY_WORDS))) for text in texts])
    of_words = model.word_rows("query").of(lexicon.words)
    return Examples(of_words, of_queries, of_documents, ragged(candidates))


def _drawn(relevant: Sequence[int], ranked: NDArray[np.int64], rng: np.random.Generator) -> list[int]:
    """One relevant document, then others that were ranked, in random order."""
    others = ranked[(ranked >= 0) & ~np.isin(ranked, relevant)]
    return [int(rng.choice(relevant)), *rng.permutation(others)[: CANDIDATES - 1].tolist()]


def _pseudo(model: TrainedModel, retriever: Retriever, seed: int) -> TrainingData:
    """Pseudo-queries of some documents of the index, one each, as dev queries.

    A document of a single sentence is its own pseudo-query. That does no harm, because only the features of
    other documents are used.
    """
    rows = np.random.default_rng(seed).permutation(retriever.index.rows())
    lexicon = Lexicon(model.vocabulary)
    rng = np.random.default_rng(seed)
    found: dict[str, str] = {}
    for document in retriever.index.texts(rows[:_MOST_PSEUDO_QUERIES].tolist()):
        text = document_text(document.title, document.text)
        parts = pseudo_queries(document, lexicon.word_ids(text, model.config.document_words), lexicon)
        texts = [part.text for part in parts] or [text]
        found[document.id] = texts[rng.integers(len(texts))]
    return TrainingData((), found, {}, {document: {document: 1} for document in found})


def word_comparison(retriever: Retriever, rescoring: Rescoring, folder: Path) -> CompareWords:
    """A function that compares words, for an index without them: writes the words of all its documents.

    retriever: over the documents.
    rescoring: of the model; only its vectors of words are used.
    folder: a new folder, for the words.
    Raises StorageError.
    """
    write_words(folder, map(Document.texts, retriever.index.live_documents()), rescoring.words)
    words = Words(folder, retriever.index.count, rescoring.words.width)

    def compare(rows: Rows, query: Vectors) -> list[tuple[slice, Matches]]:
        return [(slice(None), words.match(rows, query))]

    return compare


def judged_candidates(
    rescoring: Rescoring,
    retriever: Retriever,
    dataset: TrainingData,
    ranked: DevRankings,
    compare: CompareWords,
    progress: Progress = no_progress,
    stop: Callable[[], bool] = lambda: False,
) -> Judged:
    """The candidates of all dev queries; parameters as for `fit_rescorer`.

    rescoring: of the model; only its vectors of words are used.
    compare: of `word_comparison`.
    """
    index = retriever.index
    own = own_features(rescoring.words.reads_queries)
    found: list[tuple[NDArray[np.int64], NDArray[np.float32]]] = []
    query_ids = list(dataset.dev)
    dense, lexical = ranked.dense.top(RESCORING_DEPTH), ranked.lexical.top(RESCORING_DEPTH)
    for start in range(0, len(query_ids), _BATCH):
        texts = [dataset.queries[query] for query in query_ids[start : start + _BATCH]]
        for number, (text, embedding) in enumerate(zip(texts, retriever.encode(texts), strict=True), start):
            candidates = dense.of(number), lexical.of(number)
            # It learns from all of them: fusion passes over some only where their number costs time.
            compared = rescoring.compared(index, text, embedding, *candidates, 2 * RESCORING_DEPTH, compare)
            rows, features = features_of(compared)
            found.append((rows, features[:, own]))
        progress("candidates", len(found), len(query_ids))
        if stop():
            raise KeyboardInterrupt
    gains: list[int] = []
    for query, (rows, _) in zip(query_ids, found, strict=True):
        judged = dataset.dev[query]
        grades = {row: judged[document] for document, row in index.rows_of(list(judged)).items()}
        gains.extend(max(0, grades.get(row, 0)) for row in rows.tolist())
    return Judged(
        np.concatenate([np.empty(0, np.int64), *(rows for rows, _ in found)]),
        np.concatenate([np.empty((0, np.count_nonzero(own)), np.float32), *(each for _, each in found)]),
        np.array(gains, np.float32),
        np.cumsum([0, *(len(rows) for rows, _ in found)]),
    )
