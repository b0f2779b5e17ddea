"""Other estimators of propensities, to hold against ours.

In: a `ClickLog` whose ranks are 1 to m. Out: propensities, float64 (m,), 1 at rank 1.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from retrieval.data.clicks.log import ClickLog

_ROUNDS = 200


def expectation_maximisation(log: ClickLog) -> NDArray[np.float64]:
    """The position-based model with an attractiveness for every pair, by EM.

    As Wang, Golbandi, Bendersky, Metzler and Najork (WSDM 2018) have it before they add their regression.
    Starts from 1 / rank and from one half.
    """
    column, owner = log.rank - 1, log.pairs()[2]
    shown = log.impressions.astype(np.float64)
    examined = 1.0 / np.arange(1, log.rank.max() + 1)
    attractive = np.full(owner.max() + 1, 0.5)
    for _ in range(_ROUNDS):
        p, a = examined[column], attractive[owner]
        missed = (shown - log.clicks) / (1 - p * a)
        seen = log.clicks + missed * p * (1 - a)
        liked = log.clicks + missed * a * (1 - p)
        examined = np.bincount(column, seen) / np.bincount(column, shown)
        attractive = np.clip(np.bincount(owner, liked) / np.bincount(owner, shown), 1e-6, 1 - 1e-6)
        examined = np.clip(examined, 1e-6, 1 - 1e-6)
    return np.asarray(examined / examined[0], np.float64)


def chain(log: ClickLog) -> NDArray[np.float64]:
    """Each rank against the one above it, multiplied up.

    AdjacentChain of Agarwal, Zaitsev, Wang, Li, Najork and Joachims (WSDM 2019).
    """
    ratios = [1.0] + [_ratio(log, rank - 1, rank) for rank in range(2, int(log.rank.max()) + 1)]
    return np.asarray(np.cumprod(ratios), np.float64)


def _ratio(log: ClickLog, upper: int, lower: int) -> float:
    """Rates of clicks at two ranks, summed over the pairs that stood at both, the lower over the upper."""
    owner = log.pairs()[2]
    count = owner.max() + 1
    shown, rates = [], []
    for rank in (upper, lower):
        here = log.rank == rank
        shown.append(np.bincount(owner[here], log.impressions[here], minlength=count))
        clicks = np.bincount(owner[here], log.clicks[here], minlength=count)
        rates.append(clicks / np.maximum(shown[-1], 1))
    both = (shown[0] > 0) & (shown[1] > 0)
    return float(rates[1][both].sum() / max(rates[0][both].sum(), 1e-12))
