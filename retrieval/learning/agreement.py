"""How far a ranking agrees with clicks, beyond what the ranks of the clicked results explain.

In: a `ClickLog` with ranks and impressions, and runs. Out: held-out queries, and a measure of a run on them.

A result at rank r is expected to be clicked as often as results at rank r are in the whole log. What it is
clicked more or less often is its surplus, which says something of the document. The agreement of a ranking is
the sum of the surpluses of what was shown, each discounted by the place that the ranking gives the document
among these, as in DCG (Järvelin and Kekäläinen, TOIS 2002), for one search.

Clicks that do not depend on the document have a surplus of 0 on average, whatever their ranks, so that no
ranking agrees with them better than another one. That holds for clicks at random, and for those on the first
or the last result. Documents that were never shown have none and are left out of the ranking (condensed
lists; Sakai, SIGIR 2007).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from retrieval.data.clicks.corpus import click_query_id, split_of
from retrieval.data.clicks.log import ClickLog
from retrieval.evaluation.measures import RunMeasures
from retrieval.evaluation.runs import Run, ranking

AGREEMENT = "click agreement"
HELD_OUT = "test"  # the split of the queries that judge


@dataclass(frozen=True)
class ClickedQueries:
    """Queries by id, and by document the surplus of clicks of a search, of all that was shown for them."""

    queries: Mapping[str, str]
    surplus: Mapping[str, Mapping[str, float]]

    def __len__(self) -> int:
        return len(self.queries)


def held_out_clicks(log: ClickLog) -> ClickedQueries:
    """The queries that a hash of their text holds out; none of a log without ranks and impressions."""
    if not (log.impressions.all() and log.rank.all()):
        return ClickedQueries({}, {})
    _, at = np.unique(log.rank, return_inverse=True)
    rates = np.bincount(at, log.clicks) / np.bincount(at, log.impressions)
    surpluses = log.clicks - log.impressions * rates[at]
    searches = np.zeros(len(log.queries), np.int64)
    np.maximum.at(searches, log.query, log.impressions)  # a rank is shown once a search
    ids = {row: click_query_id(text) for row, text in enumerate(log.queries)}
    held_out = {row: name for row, name in ids.items() if split_of(name) == HELD_OUT}
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
    """One query's: surplus by document, and the scores of a ranking."""
    discounts = 1 / np.log2(2 + np.arange(len(surplus)))
    found = [document for document in ranking(scores) if document in surplus]
    lost = [value for document, value in surplus.items() if document not in scores]
    total = float(discounts[: len(found)] @ np.array([surplus[document] for document in found]))
    return total + (float(discounts[len(found) :].mean()) * sum(lost) if lost else 0.0)
