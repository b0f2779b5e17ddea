"""Simulated people who search an index and click, recorded as `peephole serve --clicks` records them.

In: an open Retriever, queries and the documents that are relevant to them. Out: events in a file. Three in
five searches are hybrid, the others lexical or dense, as where somebody compares modes: documents stand at
several ranks, and are found that the fusion misses. The people are the position-based model
(`benchmarks.clicks.simulation`); the other behaviours are what must not be learnt from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.clicks.simulation import User
from retrieval.data.clicks.recorded import Clicked, Event, Shown, encode
from retrieval.data.dataset import Dataset
from retrieval.data.queries import Qrels
from retrieval.search.modes import Mode
from retrieval.search.retriever import Retriever

SHOWN = 10
MODES: tuple[tuple[Mode, float], ...] = (("hybrid", 0.6), ("lexical", 0.2), ("dense", 0.2))

# From ranks, int64 (n,), and whether each result is relevant, bool (n,), to chances of a click, float64 (n,).
Behaviour = Callable[[NDArray[np.int64], NDArray[np.bool_]], NDArray[np.float64]]


def people(ranks: NDArray[np.int64], relevant: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Read from above, click what is relevant nine times in ten, and something else once in ten."""
    user = User()
    return user.examines(ranks) * np.where(relevant, user.clicks_relevant, user.clicks_others)


def at_random(ranks: NDArray[np.int64], relevant: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Click anything, anywhere."""
    return np.full(len(ranks), 0.2)


def at_random_from_above(ranks: NDArray[np.int64], relevant: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Read from above and click anything."""
    return 0.5 * User().examines(ranks)


def the_last(ranks: NDArray[np.int64], relevant: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Always click the last result."""
    return np.asarray(ranks == len(ranks), np.float64)


def the_second(ranks: NDArray[np.int64], relevant: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Always click the second result."""
    return np.asarray(ranks == min(2, len(ranks)), np.float64)


@dataclass(frozen=True)
class Visits:
    """Who searches what, and how often."""

    behaviour: Behaviour
    sessions: float = 20.0  # of each query on average, with a long tail
    seed: int = 0


def some_queries(dataset: Dataset, split: str, part: int, parts: int) -> Qrels:
    """Every `parts`th query of a split, from the `part`th on."""
    qrels = dataset.qrels(split)
    return {query: qrels[query] for query in list(qrels)[part::parts]}


def record(
    log: Path, retriever: Retriever, dataset: Dataset, qrels: Qrels, visits: Visits
) -> tuple[int, int]:
    """Search, click and append the events to a log; returns the numbers of searches and clicks.

    log: the file.
    retriever: the index that is searched.
    dataset: has the texts of the queries.
    qrels: the queries that are searched, and what is relevant to them.
    visits: who searches.
    """
    random = np.random.default_rng(visits.seed)
    wanted = random.lognormal(sigma=1.0, size=len(qrels))
    counts = random.poisson(visits.sessions * wanted / wanted.mean())
    searches = clicks = 0
    with log.open("ab") as file:
        for mode, share in MODES:
            texts = [dataset.queries[query] for query in qrels]
            found = retriever.search_all(texts, SHOWN, mode)
            for (query, grades), hits, count in zip(qrels.items(), found, counts.tolist(), strict=True):
                shown = [hit.id for hit in hits]
                relevant = np.array([grades.get(document, 0) > 0 for document in shown], bool)
                chances = visits.behaviour(np.arange(1, len(shown) + 1), relevant)
                for clicked in random.random((random.binomial(count, share), len(shown))) < chances:
                    searches += 1
                    clicks += int(clicked.sum())
                    file.write(_session(random, dataset.queries[query], mode, shown, np.flatnonzero(clicked)))
    return searches, clicks


def _session(
    random: np.random.Generator, query: str, mode: Mode, shown: Sequence[str], clicked: NDArray[np.int64]
) -> bytes:
    time, search = "2026-11-28T12:00:00Z", random.bytes(8).hex()
    clicks: list[Event] = [Clicked(time, search, shown[place], place + 1) for place in clicked.tolist()]
    return b"".join(map(encode, [Shown(time, search, query, mode, 0, tuple(shown)), *clicks]))
