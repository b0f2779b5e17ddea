"""Grades of documents from their clicks, corrected for how often they were examined.

In: a `ClickLog` and the `Propensities` of its ranks. Out: `GradedPairs`.

A pair's impressions count as much as their ranks are examined (inverse propensity scoring; Joachims,
Swaminathan and Schnabel, WSDM 2017). Its rate, clicks over examined impressions, is drawn towards the log's
average by a prior whose weight is how alike the rates of this log are (empirical Bayes by the method of
moments), so that few impressions make no high rate. The grade is the number of times, up to 3, that the odds
of the rate are twice those of the average. A document without clicks has no grade: it may be relevant, and
nobody looked.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval.data.clicks.log import ClickLog
from retrieval.data.clicks.propensity import Propensities

LEAST_CLICKS = 3
HIGHEST_GRADE = 3
# Where most of what is shown is clicked, an average document would else leave no room above it.
_HIGHEST_AVERAGE = 0.5
# The prior weighs as much as this many examined impressions, at least and at most. Without the upper bound, a
# good document among a thousand dull ones would need a thousand impressions to be heard.
_PRIOR_WEIGHT = (2.0, 20.0)


@dataclass(frozen=True)
class GradedPairs:
    """The graded pairs of a log, by query and document, and what became of the other queries."""

    query: NDArray[np.int64]  # (n,): rows of the log's queries
    document: NDArray[np.int64]  # (n,): rows of the log's documents
    rate: NDArray[np.float64]  # (n,): clicks over examined impressions, with the prior
    grade: NDArray[np.int64]  # (n,): 1 to 3
    average: float  # the rate of the whole log
    queries_with_few_clicks: int  # none of their documents has enough clicks
    queries_without_preference: int  # one has, but its rate is not above the average

    def __len__(self) -> int:
        return len(self.query)


def grade_pairs(
    log: ClickLog,
    propensities: Propensities,
    *,
    least_clicks: int = LEAST_CLICKS,
) -> GradedPairs:
    """The pairs of a log that are clicked clearly more often than the average.

    log: the clicks.
    propensities: of the log's ranks.
    least_clicks: a pair with fewer gets no grade.
    """
    query, document, owner = log.pairs()
    clicks = np.bincount(owner, log.clicks).astype(np.float64)
    examined = np.bincount(owner, _impressions(log) * propensities.of(log.rank)).astype(np.float64)
    average, weight = _prior(clicks, examined)
    rate = (clicks + average * weight) / (examined + weight)
    enough = clicks >= least_clicks
    grade = np.where(enough, _grades(rate, average), 0)
    kept = grade > 0
    counted = len(np.unique(query[enough]))
    return GradedPairs(
        query=query[kept],
        document=document[kept],
        rate=rate[kept],
        grade=grade[kept],
        average=average,
        queries_with_few_clicks=len(log.queries) - counted,
        queries_without_preference=counted - len(np.unique(query[kept])),
    )


def _impressions(log: ClickLog) -> NDArray[np.int64]:
    """Impressions of each cell; where they are not known, the clicks of the query's most clicked document."""
    if log.impressions.all():
        return log.impressions
    query, _, owner = log.pairs()
    most = np.zeros(len(log.queries), np.int64)
    np.maximum.at(most, query, np.bincount(owner, log.clicks).astype(np.int64))
    first = np.zeros(len(log.query), bool)
    first[np.unique(owner, return_index=True)[1]] = True  # a pair's ranks share them
    return np.where(first, most[log.query], 0)


def _prior(clicks: NDArray[np.float64], examined: NDArray[np.float64]) -> tuple[float, float]:
    """The average rate, and how many examined impressions it weighs."""
    average = float(clicks.sum() / examined.sum())
    least, most = _PRIOR_WEIGHT
    if average >= _HIGHEST_AVERAGE:
        return _HIGHEST_AVERAGE, least
    # The variance of the rates is that of the clicks beyond what chance, of the Poisson kind, makes.
    beyond = (clicks - average * examined) ** 2 - average * examined
    variance = float(beyond.sum() / (examined**2).sum())
    return average, most if variance <= average / most else max(least, average / variance)


def _grades(rate: NDArray[np.float64], average: float) -> NDArray[np.int64]:
    """0 to 3: how many times the odds of each rate double those of the average."""
    below_one = np.minimum(rate, 1 - 1e-9)  # propensities are relative, so that a rate may exceed 1
    odds = below_one / (1 - below_one) * (1 - average) / average
    # Equal counts must not round to different grades.
    doublings = np.floor(np.log2(odds) + 1e-9)
    return np.clip(doublings, 0, HIGHEST_GRADE).astype(np.int64)  # type: ignore[no-any-return]
