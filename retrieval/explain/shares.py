"""Why a query found a document: the share of each word in the cosine, and the words that the cells detected.

In: a model folder or an index, a query and, with an index, a document id. Out: a `MatchExplanation`.
Knows nothing of ranking, printing or pictures.

Additive towers (the bag, and attention over word rows): the embedding is a sum over the words,
e = sum_t p(t), so the cosine is a sum over pairs of words, and the shares are exact:

    cos(Q, D) = sum_t sum_u p_Q(t) . p_D(u) / (|e_Q| |e_D|)
    share of query word t = the terms of t, summed over u
    share of document word u = the terms of u, summed over t
    share of a pair of words = the terms of all places where the two words stand

An LSTM has read other words before it weighs the row of a word. The share still belongs to that word.

Other towers (DSSM, and the CNN and LSTM of the papers): leave-one-out. The share of a word is the cosine lost
when the word is left out. These shares do not sum to the cosine.

A document of several passages is explained by the one nearest to the query, as the tower reads it. Its vector
in the index is drawn towards the rest of the document, so the cosine is not the score.

A query without a document is compared with itself, and the cosine is 1. Misspelt words are corrected first,
as a search of the index corrects them; a model alone has no documents to correct by.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from index.dense.passages import Span
from index.documents.store import Document
from index.errors import InputError
from index.opened import open_index
from index.protocol import OpenIndex
from retrieval.explain.keywords import CELLS, ActiveCell, active_cells, detection_counts, is_keyword
from retrieval.explain.trace import CellStates, Float64Array, Trace, Tracer
from retrieval.model.folder import FILES, TrainedModel, read_model, read_model_of
from retrieval.search.spelling import Spelling
from retrieval.text.passages import passage_texts
from retrieval.text.words import document_text

_PAIRS = 10


@dataclass(frozen=True)
class WordExplanation:
    """One word at its place in a text.

    A direction does not judge the word that it reads first: then its count is None.
    """

    word: str
    known: bool  # whether the word was seen in training
    share: float  # its share of the cosine
    weight: float | None = None  # its attention weight, 0 to 1; None without attention
    left_to_right: int | None = None  # how many of the ten most active cells detected it; None without LSTM
    right_to_left: int | None = None  # the same in the other direction
    pooled: int | None = None  # of the ten strongest max-pooled CNN features, how many its window won
    keyword: bool = False  # see `retrieval.explain.keywords`


@dataclass(frozen=True)
class TextExplanation:
    """One text, explained word by word."""

    text: str
    words: list[WordExplanation]
    cells: dict[str, list[ActiveCell]]  # the most active cells of each direction; empty without LSTM
    trace: Trace  # the values for a plot


class WordPair(NamedTuple):
    """A query word, a document word and their share of the cosine."""

    query: str
    document: str
    share: float


@dataclass(frozen=True)
class MatchExplanation:
    """A query explained, alone or against a document."""

    tower: str
    pooling: str
    exact: bool  # whether the shares sum to the cosine
    cosine: float | None  # None without a document
    typed: str  # the query before its misspelt words were corrected
    query: TextExplanation
    document_id: str | None = None
    document: TextExplanation | None = None
    passage: Span | None = None  # the part of the document that is explained; None for all of it
    pairs: tuple[WordPair, ...] = ()  # the ten largest; empty without a document or if not exact


def explain(
    folder: Path,
    query: str,
    document_id: str | None = None,
    *,
    as_typed: bool = False,
) -> MatchExplanation:
    """Explain a query, alone or against a document of an index.

    folder: a model folder or an index.
    query: the text of the query.
    document_id: id of a document of the index; None explains the query alone.
    as_typed: as for `Retriever.search`.

    Raises InputError for an empty query, an unknown document id, or a document id with a model folder; and
    what `read_model` and `open_index` raise.
    """
    if not query.strip():
        raise InputError("the query is empty; give at least one word")
    with _opened(folder, document_id) as (model, index):
        read = query if as_typed or index is None else _corrected(model, index, query)
        tracer = Tracer(model, "query")
        trace = tracer.trace(read)
        if index is None or document_id is None:
            return _query_explanation(tracer, query, read, trace, _unit(trace.composition.embedding))
        document, span = _passage(index, document_id, trace.composition.embedding)
        document_tracer = Tracer(model, "document")
        text = _text_read(document, span, index.manifest.passage_words)
        document_trace = document_tracer.trace(text)
    embedding, document_embedding = (_unit(t.composition.embedding) for t in (trace, document_trace))
    _, document_shares = shares_of(document_tracer, document_trace, embedding)
    return replace(
        _query_explanation(tracer, query, read, trace, document_embedding),
        cosine=float(embedding @ document_embedding),
        document_id=document.id,
        passage=span,
        document=_text_explanation(document_tracer, text, document_trace, document_shares),
        pairs=pairs_of(trace, document_trace),
    )


def _query_explanation(
    tracer: Tracer,
    typed: str,
    read: str,
    trace: Trace,
    target: Float64Array,
) -> MatchExplanation:
    exact, shares = shares_of(tracer, trace, target)
    explained = _text_explanation(tracer, read, trace, shares)
    return MatchExplanation(tracer.config.tower, tracer.config.pooling, exact, None, typed, explained)


def _corrected(model: TrainedModel, index: OpenIndex, query: str) -> str:
    return Spelling(index, model.vocabulary).corrected(query, index.unknown_terms(query))


@contextmanager
def _opened(folder: Path, document_id: str | None) -> Iterator[tuple[TrainedModel, OpenIndex | None]]:
    if (folder / FILES.config).is_file():
        if document_id is not None:
            raise InputError("a model holds no documents; give an index to explain one", path=folder)
        yield read_model(folder), None
        return
    with open_index(folder) as index:
        yield read_model_of(index), index


def _passage(index: OpenIndex, document_id: str, embedding: Float64Array) -> tuple[Document, Span | None]:
    """A document, and its passage nearest to the query; None for the whole text."""
    row = index.row_of(document_id)
    if row is None:
        raise InputError(f"no document has the id {document_id!r}; `search` shows ids", path=index.folder)
    (document,) = index.documents([row])
    return document, index.nearest_spans(np.array([row]), embedding.astype(np.float32))[0]


def _text_read(document: Document, span: Span | None, passage_words: int) -> str:
    if span is None:
        return document_text(document.title, document.text)
    return passage_texts(document.title, document.text, [span], passage_words)[0]


def _unit(embedding: Float64Array) -> Float64Array:
    return embedding / _length(embedding)


def _length(embedding: Float64Array) -> float:
    return max(float(np.linalg.norm(embedding)), 1e-12)


def shares_of(tracer: Tracer, trace: Trace, target: Float64Array) -> tuple[bool, Float64Array]:
    """The share of each word of a text in its cosine with another embedding.

    tracer: the tower that made the trace.
    trace: the trace of the text.
    target: float64 (dimension,), the other embedding, of unit length.

    Returns whether the shares sum to the cosine, and the shares, float64 (words,).
    """
    composition = trace.composition
    if composition.contributions is not None:
        return True, composition.contributions @ target / _length(composition.embedding)
    cosine = _unit(composition.embedding) @ target
    without = [
        # A text of a single word loses the whole cosine with it.
        _unit(tracer.compose(np.delete(trace.rows, place, 0)).embedding) @ target
        if len(trace.rows) > 1
        else 0
        for place in range(len(trace.rows))
    ]
    return False, cosine - np.array(without)


def pairs_of(query: Trace, document: Trace) -> tuple[WordPair, ...]:
    """The pairs of words with the largest shares, largest first; none if the cosine is not a sum of pairs."""
    if query.composition.contributions is None or document.composition.contributions is None:
        return ()
    query_words, query_sums = _by_word(query.words, query.composition.contributions)
    document_words, document_sums = _by_word(document.words, document.composition.contributions)
    terms = query_sums @ document_sums.T
    terms /= _length(query.composition.embedding) * _length(document.composition.embedding)
    best = np.argsort(-terms, axis=None, kind="stable")[:_PAIRS]
    places = zip(*np.unravel_index(best, terms.shape), strict=True)
    return tuple(WordPair(query_words[t], document_words[u], float(terms[t, u])) for t, u in places)


def _by_word(words: list[str], contributions: Float64Array) -> tuple[list[str], Float64Array]:
    """The distinct words in order, and the sum of the contributions of each."""
    numbers = {word: number for number, word in enumerate(dict.fromkeys(words))}
    sums = np.zeros((len(numbers), contributions.shape[1]))
    np.add.at(sums, [numbers[word] for word in words], contributions)
    return list(numbers), sums


def _text_explanation(tracer: Tracer, text: str, trace: Trace, shares: Float64Array) -> TextExplanation:
    cells: dict[str, list[ActiveCell]] = {}
    detections: dict[str, list[int | None]] = {}
    for direction, (states, first) in _directions(trace).items():
        cells[direction] = active_cells(states.output, direction == "right_to_left")
        detections[direction] = list(detection_counts(cells[direction], len(trace.words)))
        detections[direction][first] = None
    wins = _pooled_wins(trace)
    weights = trace.composition.weights
    words = []
    for place, word in enumerate(trace.words):
        counts = {direction: by_place[place] for direction, by_place in detections.items()}
        words.append(
            WordExplanation(
                word,
                tracer.vocabulary.knows(word),
                float(shares[place]),
                None if weights is None else float(weights[place]),
                pooled=None if wins is None else wins[place],
                keyword=is_keyword(list(counts.values())),
                **counts,
            )
        )
    return TextExplanation(text, words, cells, trace)


def _directions(trace: Trace) -> dict[str, tuple[CellStates, int]]:
    """The cell states of each direction, and the place that it reads first."""
    if trace.left_to_right is None or trace.right_to_left is None:
        return {}
    last = len(trace.words) - 1
    return {"left_to_right": (trace.left_to_right, 0), "right_to_left": (trace.right_to_left, last)}


def _pooled_wins(trace: Trace) -> list[int] | None:
    """How many of the strongest max-pooled features each word won; None without max pooling."""
    winners, pooled = trace.composition.winners, trace.composition.pooled
    if winners is None or pooled is None:
        return None
    strongest = np.argsort(-pooled, kind="stable")[:CELLS]
    return [int(wins) for wins in np.bincount(winners[strongest], minlength=len(trace.words))]
