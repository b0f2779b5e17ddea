"""Clicks counted by query, document and rank.

In: sightings of documents as results. Out: a `ClickLog` of arrays. Knows nothing of files.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Sighting(NamedTuple):
    """A document as a result of a query, once or many times."""

    query: str
    document: str  # its id
    rank: int  # from 1; 0 if it is not known
    clicks: int
    impressions: int  # how often it was shown there; 0 if it is not known


@dataclass(frozen=True)
class ClickLog:
    """Counts of n cells. A cell is a document at one rank for one query; no cell occurs twice.

    A pair is a query with a document; the cells of a pair differ in their rank.
    """

    queries: tuple[str, ...]  # texts; those that differ only in case and white space are one
    documents: tuple[str, ...]  # ids
    query: NDArray[np.int64]  # (n,): rows of `queries`
    document: NDArray[np.int64]  # (n,): rows of `documents`
    rank: NDArray[np.int64]  # (n,): from 1; 0 where it is not known
    clicks: NDArray[np.int64]  # (n,)
    impressions: NDArray[np.int64]  # (n,): 0 where they are not known

    def pairs(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """The distinct pairs, by query and document.

        Returns their query rows and document rows, int64 (pairs,), and the pair of each cell, int64 (n,).
        """
        keys, owner = np.unique(self.query * len(self.documents) + self.document, return_inverse=True)
        return keys // len(self.documents), keys % len(self.documents), owner


@dataclass(frozen=True)
class ReadLog:
    """A log as it was read."""

    log: ClickLog
    rows: int  # of the file; of a recorded log, results of queries that have a click
    rows_passed_over: int  # those that name documents that the corpus lacks


def query_key(text: str) -> str:
    """What queries that count as one have in common.

    >>> query_key(" List  Files ")
    'list files'
    """
    return " ".join(text.casefold().split())


def click_log(sightings: Iterable[Sighting]) -> ClickLog:
    """Add up sightings, in the order in which queries and documents first occur."""
    texts: dict[str, str] = {}
    queries: dict[str, int] = {}
    documents: dict[str, int] = {}
    cells: dict[tuple[int, int, int], list[int]] = {}
    for query, document, rank, clicks, impressions in sightings:
        key = query_key(query)
        texts.setdefault(key, " ".join(query.split()))
        cell = (
            queries.setdefault(key, len(queries)),
            documents.setdefault(document, len(documents)),
            rank,
        )
        counts = cells.setdefault(cell, [0, 0])
        counts[0] += clicks
        counts[1] += impressions
    query_rows, document_rows, ranks = np.array(list(cells), np.int64).reshape(-1, 3).T
    clicks_of, impressions_of = np.array(list(cells.values()), np.int64).reshape(-1, 2).T
    return ClickLog(
        queries=tuple(texts.values()),
        documents=tuple(documents),
        query=query_rows,
        document=document_rows,
        rank=ranks,
        clicks=clicks_of,
        impressions=impressions_of,
    )


def clicks_alone(log: ClickLog) -> ClickLog:
    """The clicks of each pair at any rank, for logs that lack what was shown and not clicked."""
    query, document, owner = log.pairs()
    clicks = np.bincount(owner, log.clicks).astype(np.int64)
    unknown = np.zeros(len(query), np.int64)
    return ClickLog(log.queries, log.documents, query, document, unknown, clicks, unknown)
