"""A click log of a data set whose relevant documents are known.

In: a BEIR folder. Out: a `ClickLog`, and which of its pairs are relevant. Two rankers answer in rotation, as
they do where a team tries a new ranking: BM25 over titles and texts, and BM25 over texts alone. So many
documents are shown at two ranks. The user is the position-based model: rank r is examined with probability
r ** -eta; an examined document is clicked with one probability if it is relevant, and with another if not.
The number of sessions of a query has a long tail, as in real logs.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from index.lexical.bm25 import Bm25, weigh
from index.lexical.postings import write_bm25
from retrieval.data.clicks.log import ClickLog
from retrieval.data.dataset import Dataset


@dataclass(frozen=True)
class User:
    """How results are looked at and clicked."""

    eta: float = 1.0
    clicks_relevant: float = 0.9
    clicks_others: float = 0.1

    def examines(self, rank: NDArray[np.int64]) -> NDArray[np.float64]:
        """The chance that a result is examined, by its rank from 1."""
        return np.asarray(rank, np.float64) ** -self.eta


@dataclass(frozen=True)
class Results:
    """What the rankers answer. A result is a document at a rank of one ranker for a query; n in all."""

    query_ids: tuple[str, ...]
    queries: tuple[str, ...]
    documents: tuple[str, ...]
    ranker: NDArray[np.int64]  # (n,)
    query: NDArray[np.int64]  # (n,)
    document: NDArray[np.int64]  # (n,)
    rank: NDArray[np.int64]  # (n,): from 1
    relevant: NDArray[np.bool_]  # (n,)


def results(dataset: Dataset, split: str, depth: int) -> Results:
    """The first `depth` results of both rankers for every query of a split."""
    documents = list(dataset.documents())
    qrels = dataset.qrels(split)
    query_ids = tuple(qrels)
    queries = tuple(dataset.queries[query_id] for query_id in query_ids)
    rankings = (
        _ranked([f"{document.title} {document.text}" for document in documents], queries, depth),
        _ranked([document.text for document in documents], queries, depth),
    )
    numbered = [_numbered(ranker, rows) for ranker, rows in enumerate(rankings)]
    ranker, query, document, rank = (np.concatenate(part) for part in zip(*numbered, strict=True))
    ids = tuple(each.id for each in documents)
    pairs = zip(query.tolist(), document.tolist(), strict=True)
    good = [qrels[query_ids[q]].get(ids[d], 0) > 0 for q, d in pairs]
    return Results(query_ids, queries, ids, ranker, query, document, rank, np.array(good))


def _ranked(texts: Sequence[str], queries: Sequence[str], depth: int) -> NDArray[np.int64]:
    """Rows of the best documents of each query, int64 (queries, depth), -1 where there are fewer."""
    with tempfile.TemporaryDirectory() as work:
        write_bm25(Path(work) / "bm25", texts)
        bm25 = Bm25(Path(work) / "bm25", len(texts))
        found = np.full((len(queries), depth), -1, np.int64)
        for row, query in enumerate(queries):
            rows = bm25.search([weigh([bm25], query).by_segment[0]], depth).rows[0]
            found[row, : len(rows)] = rows
    return found


def _numbered(ranker: int, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], ...]:
    query, column = np.nonzero(rows >= 0)
    return np.full(len(query), ranker), query, rows[query, column], column + 1


def simulate(shown: Results, user: User, sessions: float, seed: int) -> ClickLog:
    """A log of `sessions` sessions a query on average, added up by query, document and rank."""
    random = np.random.default_rng(seed)
    wanted = random.lognormal(sigma=1.0, size=len(shown.queries))
    of_query = random.poisson(sessions * wanted / wanted.mean())
    of_ranker = random.binomial(of_query, 0.5)
    impressions = np.where(shown.ranker == 0, of_ranker[shown.query], (of_query - of_ranker)[shown.query])
    attractive = np.where(shown.relevant, user.clicks_relevant, user.clicks_others)
    clicks = random.binomial(impressions, user.examines(shown.rank) * attractive)
    return _added_up(shown, clicks, impressions)


def _added_up(shown: Results, clicks: NDArray[np.int64], impressions: NDArray[np.int64]) -> ClickLog:
    place = np.stack([shown.query, shown.document, shown.rank], 1)[impressions > 0]
    cells, owner = np.unique(place, axis=0, return_inverse=True)
    sums = [
        np.bincount(owner.ravel(), part[impressions > 0]).astype(np.int64) for part in (clicks, impressions)
    ]
    return ClickLog(shown.queries, shown.documents, *cells.T, *sums)
