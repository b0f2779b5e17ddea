"""How much less often people look at a result the lower it stands, estimated from the clicks themselves.

In: a `ClickLog`. Out: `Propensities`, the examination of each rank relative to the rank that is looked at
most.

The model is the position-based one (Craswell, Zoeter, Taylor and Ramsey, WSDM 2008): a result is clicked if
it is examined, which depends on its rank alone, and attractive, which depends on query and document alone. So
a pair of query and document that was shown at several ranks is an experiment: what differs between its rates
of clicks is due to the ranks (intervention harvesting; Agarwal, Zaitsev, Wang, Li, Najork and Joachims, WSDM
2019). The estimator is Poisson regression with a fixed effect for each pair (Hausman, Hall and Griliches,
Econometrica 1984), which conditions on the clicks of the pair. It needs neither a guess of how attractive
the pair is nor many impressions of it, and it is consistent whatever the distribution of the clicks, as long
as their mean is the model's (Wooldridge, Journal of Econometrics 1999). Without such pairs nothing is known
of the ranks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval.data.clicks.log import ClickLog

# A rank's own estimate counts as much as the power law's if its pairs have this many clicks.
PRIOR_CLICKS = 10.0
# Bounds of the power law's exponent: an eye that falls less than this is no eye that reads from above.
_EXPONENTS = (0.0, 4.0)
_MOST_ROUNDS = 500
_PRECISION = 1e-6


@dataclass(frozen=True)
class Propensities:
    """The examination of each rank of a log, relative to the rank that is examined most."""

    ranks: NDArray[np.int64]  # (m,): ascending
    values: NDArray[np.float64]  # (m,): in (0, 1], and 1 for at least one rank
    why_equal: str = ""  # why nothing could be estimated and all values are 1; "" if they were estimated

    def of(self, rank: NDArray[np.int64]) -> NDArray[np.float64]:
        """The propensity of each rank of an array, all of which the log has."""
        return self.values[np.searchsorted(self.ranks, rank)]

    def by_rank(self) -> dict[str, float]:
        """As JSON has it; empty if nothing could be estimated."""
        by_rank = zip(self.ranks.tolist(), self.values.tolist(), strict=True)
        return {} if self.why_equal else {str(rank): round(value, 4) for rank, value in by_rank}


def equal_propensities(log: ClickLog, why: str) -> Propensities:
    """No correction: every rank is examined as often as every other."""
    ranks = np.unique(log.rank)
    return Propensities(ranks, np.ones(len(ranks)), why)


def estimate_propensities(log: ClickLog) -> Propensities:
    """The propensity of each rank, or equal ones with the reason if the log does not tell them."""
    if not log.impressions.all():
        return equal_propensities(log, "the log does not say how often a document was shown")
    if not log.rank.all():
        return equal_propensities(log, "the log does not say at which rank a document was shown")
    ranks, column = np.unique(log.rank, return_inverse=True)
    if len(ranks) == 1:
        return equal_propensities(log, f"every document was shown at rank {ranks[0]}")
    cells = _moved_cells(log, column)
    if not cells.clicks.any():
        return equal_propensities(log, "no document was shown at two ranks for a query and clicked there")
    prior = _power_law(cells, ranks)
    values = _fixed_effects(cells, prior)
    return Propensities(ranks, values / values.max())


@dataclass(frozen=True)
class _Cells:
    """Cells of the pairs that were shown at several ranks."""

    pair: NDArray[np.int64]  # (n,): from 0
    column: NDArray[np.int64]  # (n,): of the rank
    clicks: NDArray[np.int64]  # (n,)
    impressions: NDArray[np.int64]  # (n,)


def _moved_cells(log: ClickLog, column: NDArray[np.int64]) -> _Cells:
    owner = log.pairs()[2]
    moved = np.bincount(owner)[owner] > 1
    pair = np.unique(owner[moved], return_inverse=True)[1]
    return _Cells(pair, column[moved], log.clicks[moved], log.impressions[moved])


def _power_law(cells: _Cells, ranks: NDArray[np.int64]) -> NDArray[np.float64]:
    """Propensities rank ** -exponent, float64 (m,), with the exponent of the greatest likelihood."""
    falls = np.log(ranks)[cells.column]
    of_pair = np.bincount(cells.pair, cells.clicks)

    def excess(exponent: float) -> float:
        """The slope of the log likelihood, which falls with the exponent."""
        share = cells.impressions * np.exp(-exponent * falls)
        expected = of_pair[cells.pair] * share / np.bincount(cells.pair, share)[cells.pair]
        return float(((expected - cells.clicks) * falls).sum())

    low, high = _EXPONENTS
    while high - low > _PRECISION:
        middle = (low + high) / 2
        low, high = (middle, high) if excess(middle) > 0 else (low, middle)
    return np.asarray(ranks, np.float64) ** -low


def _fixed_effects(cells: _Cells, prior: NDArray[np.float64]) -> NDArray[np.float64]:
    """Propensities, float64 (m,), of the greatest likelihood times a gamma prior around `prior`.

    Alternates between the attractiveness of the pairs and the propensities, each given the other.
    """
    of_pair = np.bincount(cells.pair, cells.clicks)
    clicks = np.bincount(cells.column, cells.clicks, minlength=len(prior))
    values = prior
    for _ in range(_MOST_ROUNDS):
        examined = np.bincount(cells.pair, cells.impressions * values[cells.column])
        rates = (of_pair / examined)[cells.pair]
        chances = np.bincount(cells.column, cells.impressions * rates, minlength=len(prior))
        better = (clicks + PRIOR_CLICKS) / (chances + PRIOR_CLICKS / prior)
        done = np.abs(np.log(better / values)).max() < _PRECISION
        values = better
        if done:
            break
    return values
