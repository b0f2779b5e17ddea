"""Why a query found a document: each word's share of the cosine, and what the cells picked.

In: a model folder or an index, a query and, given an index, a document's id. Out: an `Explanation`.

A tower whose embedding is a sum over words, e = sum_t p(t), splits the cosine without a rest:

    cos(Q, D) = sum_t sum_u p_Q(t) . p_D(u) / (|e_Q| |e_D|)

A query word's share is its sum over u, a document word's its sum over t, and a pair's its terms wherever the
two words stand. The bag and attention over word rows are such sums; a part belongs to the place that brings
it, which for an LSTM has read its neighbours. For the other towers (DSSM, and the papers' CNN and LSTM) a
share is the cosine lost when the word is left out, and shares do not sum to anything. Beside a query alone
stands the query itself, and the cosine to split is 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from index.documents.store import Document
from index.errors import InputError
from index.reader import Index
from retrieval.explain.keywords import CELLS, ActiveCell, active_cells, counts, is_keyword
from retrieval.explain.trace import Array, Cells, Reader, Reading
from retrieval.model.folder import FILES, TrainedModel, read_model
from retrieval.text.words import document_text

_PAIRS = 10


@dataclass(frozen=True)
class Word:
    """A word at its place.

    share: its part of the cosine. weight: what attention multiplies its row by, 0 to 1; None
    without attention. left_to_right, right_to_left: how many of the ten most active cells detected it in each
    direction; None where that direction read it first, or without an LSTM. pooled: how many of the ten
    strongest max-pooled features of a CNN it won as a window's centre; None for other towers. keyword: see
    `retrieval.explain.keywords`. known: whether training saw it.
    """

    word: str
    known: bool
    share: float
    weight: float | None = None
    left_to_right: int | None = None
    right_to_left: int | None = None
    pooled: int | None = None
    keyword: bool = False


@dataclass(frozen=True)
class Explained:
    """One text. cells: the most active ones of each direction; reading: all there is to plot."""

    text: str
    words: list[Word]
    cells: dict[str, list[ActiveCell]]
    reading: Reading


class Pair(NamedTuple):
    """A query word, a document word and their part of the cosine."""

    query: str
    document: str
    share: float


@dataclass(frozen=True)
class Explanation:
    """What `explain` found. cosine: None without a document. exact: whether shares sum to the cosine.

    pairs: the ten with the largest parts of the cosine; empty where it is no sum, or without a document.
    """

    tower: str
    pooling: str
    exact: bool
    cosine: float | None
    query: Explained
    document_id: str | None = None
    document: Explained | None = None
    pairs: tuple[Pair, ...] = ()


def explain(folder: Path, query: str, document_id: str | None = None) -> Explanation:
    """Explain a query to the model in `folder`, which is a model folder or an index.

    Raises InputError for an empty query, a document that is not there or a document without an index, and
    what reading a model or an index raises.
    """
    if not query.strip():
        raise InputError("the query is empty; give at least one word")
    with _opened(folder, document_id) as (model, document):
        reader = Reader(model, "query")
        asked = reader.read(query)
        if document is None:
            exact, shares = shares_of(reader, asked, _unit(asked.joined.embedding))
            return _explanation(reader, exact, _explained(query, asked, shares, reader))
        other = Reader(model, "document")
        text = document_text(document.title, document.text)
        found = other.read(text)
    ends = _unit(asked.joined.embedding), _unit(found.joined.embedding)
    exact, shares = shares_of(reader, asked, ends[1])
    return replace(
        _explanation(reader, exact, _explained(query, asked, shares, reader)),
        cosine=float(ends[0] @ ends[1]),
        document_id=document.id,
        document=_explained(text, found, shares_of(other, found, ends[0])[1], other),
        pairs=pairs_of(asked, found),
    )


def _explanation(reader: Reader, exact: bool, query: Explained) -> Explanation:
    return Explanation(reader.config.tower, reader.config.pooling, exact, None, query)


@contextmanager
def _opened(folder: Path, document_id: str | None) -> Iterator[tuple[TrainedModel, Document | None]]:
    if (folder / FILES.config).is_file():
        if document_id is not None:
            raise InputError("a model holds no documents; give an index to explain one", path=folder)
        yield read_model(folder), None
        return
    with Index.open(folder) as index:
        document = None
        if document_id is not None:
            row = index.row_of(document_id)
            if row is None:
                raise InputError(f"no document has the id {document_id!r}; `search` shows ids", path=folder)
            (document,) = index.documents([row])
        yield read_model(index.model_folder), document


def _unit(embedding: Array) -> Array:
    return embedding / _length(embedding)


def _length(embedding: Array) -> float:
    return max(float(np.linalg.norm(embedding)), 1e-12)


def shares_of(reader: Reader, reading: Reading, other: Array) -> tuple[bool, Array]:
    """Whether the shares are an exact sum, and each word's share of the cosine with `other`, of unit length.

    float64 (words,).
    """
    joined = reading.joined
    if joined.parts is not None:
        return True, joined.parts @ other / _length(joined.embedding)
    whole = _unit(joined.embedding) @ other
    rest = [
        # Nothing has no direction: of a single word, the whole cosine is lost.
        _unit(reader.join(np.delete(reading.rows, place, 0)).embedding) @ other
        if len(reading.rows) > 1
        else 0
        for place in range(len(reading.rows))
    ]
    return False, whole - np.array(rest)


def pairs_of(query: Reading, document: Reading) -> tuple[Pair, ...]:
    """The pairs of words with the largest parts of the cosine, largest first; none where it is no sum."""
    if query.joined.parts is None or document.joined.parts is None:
        return ()
    ours, our_parts = _by_word(query.words, query.joined.parts)
    theirs, their_parts = _by_word(document.words, document.joined.parts)
    terms = our_parts @ their_parts.T
    terms /= _length(query.joined.embedding) * _length(document.joined.embedding)
    best = np.argsort(-terms, axis=None, kind="stable")[:_PAIRS]
    places = zip(*np.unravel_index(best, terms.shape), strict=True)
    return tuple(Pair(ours[t], theirs[u], float(terms[t, u])) for t, u in places)


def _by_word(words: list[str], parts: Array) -> tuple[list[str], Array]:
    """The distinct words in order, and the sum of the parts of each."""
    numbers = {word: number for number, word in enumerate(dict.fromkeys(words))}
    sums = np.zeros((len(numbers), parts.shape[1]))
    np.add.at(sums, [numbers[word] for word in words], parts)
    return list(numbers), sums


def _explained(text: str, reading: Reading, shares: Array, reader: Reader) -> Explained:
    length = len(reading.words)
    cells: dict[str, list[ActiveCell]] = {}
    votes: dict[str, list[int | None]] = {}
    for way, (traces, first) in _directions(reading).items():
        cells[way] = active_cells(traces.output, way == "right_to_left")
        votes[way] = list(counts(cells[way], length))
        votes[way][first] = None
    pooled = _pooled_wins(reading)
    weights = reading.joined.weights
    found = []
    for place, word in enumerate(reading.words):
        picked = {way: vote[place] for way, vote in votes.items()}
        found.append(
            Word(
                word,
                reader.vocabulary.knows(word),
                float(shares[place]),
                None if weights is None else float(weights[place]),
                pooled=None if pooled is None else pooled[place],
                keyword=is_keyword(list(picked.values())),
                **picked,
            )
        )
    return Explained(text, found, cells, reading)


def _directions(reading: Reading) -> dict[str, tuple[Cells, int]]:
    """Each direction's cells, and the place that it reads first."""
    if reading.left_to_right is None or reading.right_to_left is None:
        return {}
    last = len(reading.words) - 1
    return {"left_to_right": (reading.left_to_right, 0), "right_to_left": (reading.right_to_left, last)}


def _pooled_wins(reading: Reading) -> list[int] | None:
    """How many of the strongest max-pooled features each word won; None without max pooling."""
    winners, pooled = reading.joined.winners, reading.joined.pooled
    if winners is None or pooled is None:
        return None
    strongest = np.argsort(-pooled, kind="stable")[:CELLS]
    return [int(wins) for wins in np.bincount(winners[strongest], minlength=len(reading.words))]
