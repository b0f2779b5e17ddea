"""How far a ranking agrees with clicks, beyond what the ranks of the clicked results explain.

In: a `ClickLog` with ranks and impressions, and runs. Out: held-out queries, and a measure of a run on them.

A result at rank r is expected to be clicked as often as the results at rank r of the whole log. The surplus
of a result is how much more often (or, below 0, less often) it is clicked. It says something about the
document. The agreement of a ranking with one search is a sum over the documents that were shown: the surplus
of each, discounted as in DCG (Järvelin and Kekäläinen, TOIS 2002) by its place among them in the ranking.

Clicks that do not depend on the document have a mean surplus of 0 at every rank, so no ranking agrees with
them better than another. That holds for random clicks, and for clicks on the first or the last result only.
Documents that were never shown have no surplus, and are left out of the ranking (condensed lists; Sakai,
SIGIR 2007).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from retrieval.data.clicks.corpus import click_query_id
from retrieval.data.clicks.log import ClickLog
from retrieval.data.splits import split_of_id
from retrieval.evaluation.measures import RunMeasures
from retrieval.evaluation.runs import Run, ranking

AGREEMENT = "click agreement"
HELD_OUT = "test"  # the split of the queries that judge


@dataclass(frozen=True)
class ClickedQueries:
    """Queries by id, and for each the surplus of clicks of every document that was shown for it."""

    queries: Mapping[str, str]
    surplus: Mapping[str, Mapping[str, float]]

    def __len__(self) -> int:
        return len(self.queries)


def held_out_clicks(log: ClickLog) -> ClickedQueries:
    """The queries that a hash of their text holds out; none if the log lacks ranks or impressions."""
    if not (log.impressions.all() and log.rank.all()):
        return ClickedQueries({}, {})
    _, at = np.unique(log.rank, return_inverse=True)
    rates = np.bincount(at, log.clicks) / np.bincount(at, log.impressions)
    surpluses = log.clicks - log.impressions * rates[at]
    searches = np.zeros(len(log.queries), np.int64)
    np.maximum.at(searches, log.query, log.impressions)  # a rank is shown once a search
    ids = {row: click_query_id(text) for row, text in enumerate(log.queries)}
    held_out = {row: name for row, name in ids.items() if split_of_id(name) == HELD_OUT}
    surplus: dict[str, dict[str, float]] = {name: {} for name in held_out.values()}
    for row, document, value in zip(
        log.query.tolist(), log.document.tolist(), surpluses.tolist(), strict=True
    ):
        if row in held_out:
            of_query, name = surplus[held_out[row]], log.documents[document]
            of_query[name] = of_query.get(name, 0.0) + value / int(searches[row])
    return ClickedQueries({name: log.queries[row] for row, name in held_out.items()}, surplus)


def agreement(clicked: ClickedQueries, run: Run) -> RunMeasures:
    """The agreement of a run with the clicks on each query.

    clicked: the queries, at least one.
    run: scores by query id and document id. Documents that it lacks share the last places.
    """
    values = [_agreement(surplus, run.get(query, {})) for query, surplus in clicked.surplus.items()]
    return RunMeasures(tuple(clicked.surplus), {AGREEMENT: np.array(values)})


def _agreement(surplus: Mapping[str, float], scores: Mapping[str, float]) -> float:
    """The agreement for one query.

    surplus: document id to surplus.
    scores: document id to score in the ranking.
    """
    discounts = 1 / np.log2(2 + np.arange(len(surplus)))
    found = [document for document in ranking(scores) if document in surplus]
    lost = [value for document, value in surplus.items() if document not in scores]
    total = float(discounts[: len(found)] @ np.array([surplus[document] for document in found]))
    return total + (float(discounts[len(found) :].mean()) * sum(lost) if lost else 0.0)
