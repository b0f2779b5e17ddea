"""Re-scoring by a weighted sum of the features, for models with few dev queries or none.

In: candidates of queries with their features and gains; how much each feature varies for queries without
judgements. Out: a weight for each feature. Knows nothing of indexes or models.

A network that is fitted to fifty queries learns noise, and without queries it learns nothing. But once
features are divided by their spread, their weights hardly differ from one data set to the next. So the
weights start from those of other data sets, `PRIOR`, and the dev queries move them: the fit is the mode of
the posterior with a normal prior (MAP), which minimises

    sum over queries of cross-entropy(softmax of scores, gains) + PULL |w - PRIOR|^2

Where the numbers come from: `python -m benchmarks.few_pairs.prior`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from retrieval.search.features import NAMES

# How strongly the prior holds: as if the weights of two data sets differed by .16 (standard deviation). On
# three sets with 50 dev queries each, by a prior of the other two, 20 to 30 ranked best.
PULL = 20.0
_STEPS = 30
_SHORTEST = 1e-4  # step of Newton's method, as a share of the whole one
_NO_SPREAD = 1e-6
# The weights of three data sets, of models trained on 500 pairs.
PRIORS: dict[str, dict[str, float]] = {
    "tldr": {
        "cosine": 0.102,
        "cosine below best": 0.102,
        "BM25": 0.175,
        "BM25 share of best": 0.262,
        "dense rank": -0.144,
        "lexical rank": -0.241,
        "share of query terms": 0.137,
        "query in document": 0.152,
        "query in title": -0.03,
        "query above 0.3 in document": 0.121,
        "query above 0.5 in document": 0.155,
        "query above 0.7 in document": 0.096,
        "query above 0.95 in document": 0.074,
        "query above 0.3 in title": 0.006,
        "query above 0.5 in title": 0.019,
        "query above 0.7 in title": -0.016,
        "query above 0.95 in title": -0.035,
        "soft count in document": 0.163,
        "soft count in title": 0.006,
        "document in query": 0.103,
        "title in query": 0.045,
        "document same in query": 0.042,
        "title same in query": -0.024,
        "document words": -0.031,
        "title words": -0.124,
        "least matched in document": -0.022,
    },
    "tldr-zh": {
        "cosine": 0.163,
        "cosine below best": 0.163,
        "BM25": 0.125,
        "BM25 share of best": 0.174,
        "dense rank": -0.195,
        "lexical rank": -0.138,
        "share of query terms": -0.04,
        "query in document": 0.181,
        "query in title": -0.024,
        "query above 0.3 in document": 0.099,
        "query above 0.5 in document": 0.192,
        "query above 0.7 in document": 0.149,
        "query above 0.95 in document": 0.104,
        "query above 0.3 in title": -0.019,
        "query above 0.5 in title": 0.052,
        "query above 0.7 in title": 0.056,
        "query above 0.95 in title": 0.036,
        "soft count in document": 0.182,
        "soft count in title": 0.028,
        "document in query": 0.053,
        "title in query": 0.05,
        "document same in query": 0.016,
        "title same in query": 0.088,
        "document words": 0.018,
        "title words": -0.114,
        "least matched in document": 0.006,
    },
    "medquad": {
        "cosine": 0.165,
        "cosine below best": 0.165,
        "BM25": 0.004,
        "BM25 share of best": 0.114,
        "dense rank": -0.242,
        "lexical rank": -0.109,
        "share of query terms": 0.083,
        "query in document": 0.156,
        "query above 0.3 in document": 0.07,
        "query above 0.5 in document": 0.211,
        "query above 0.7 in document": 0.197,
        "query above 0.95 in document": 0.012,
        "soft count in document": 0.109,
        "document in query": 0.195,
        "document same in query": -0.044,
        "document words": -0.242,
        "least matched in document": 0.174,
    },
}


def mean_prior(sets: Iterable[str] = PRIORS) -> NDArray[np.float64]:
    """The mean weights of data sets, float64 (F,); a feature that none of them has weighs 0."""
    priors = [PRIORS[name] for name in sets]
    return np.array([sum(prior.get(name, 0.0) for prior in priors) / len(priors) for name in NAMES])


PRIOR = mean_prior()


def prior_of(features: NDArray[np.bool_]) -> NDArray[np.float64]:
    """`PRIOR` of some features. features: bool (len(NAMES),)."""
    return PRIOR[features]


class Judged(NamedTuple):
    """The candidates of queries, query by query.

    rows: int64 (candidates,), of the index.
    features: float32 (candidates, F).
    gains: float32 (candidates,), the grade of each; 0 if it is not relevant.
    starts: int64 (queries + 1,), where the candidates of each query begin.
    """

    rows: NDArray[np.int64]
    features: NDArray[np.float32]
    gains: NDArray[np.float32]
    starts: NDArray[np.int64]

    def owners(self) -> NDArray[np.int64]:
        """The query of each candidate, int64 (candidates,)."""
        return np.repeat(np.arange(len(self.starts) - 1), np.diff(self.starts))

    def of(self, chosen: NDArray[np.bool_]) -> Judged:
        """Some of the candidates, bool (candidates,). Queries that keep none are left out."""
        counts = np.bincount(self.owners()[chosen], minlength=len(self.starts) - 1)
        starts = np.cumsum([0, *counts[counts > 0]])
        return Judged(self.rows[chosen], self.features[chosen], self.gains[chosen], starts)


def spreads(judged: Judged) -> NDArray[np.float64]:
    """How much each feature varies among the irrelevant candidates of a query, float64 (F,).

    This is the standard deviation from the mean of the query. It needs no judgements of people: among the
    candidates of a pseudo-query, without its own document, features vary as much as among those of a real
    query.
    """
    others = judged.of(judged.gains == 0)
    if not len(others.rows):
        return np.zeros(judged.features.shape[1])
    means = _sums(others.features.astype(np.float64), others.starts) / np.diff(others.starts)[:, None]
    spread: NDArray[np.float64] = np.sqrt(np.mean((others.features - means[others.owners()]) ** 2, axis=0))
    return spread


def fit_linear(
    judged: Judged,
    queries: NDArray[np.bool_],
    spread: NDArray[np.float64],
    prior: NDArray[np.float64],
    pull: float = PULL,
) -> NDArray[np.float32]:
    """The weight of each feature, float32 (F,); 0 for a feature that does not vary.

    judged: candidates of queries; there may be none.
    queries: bool (queries,), which of them to fit to. Those without a relevant candidate teach nothing.
    spread: of the features, see `spreads`.
    prior: float64 (F,), the weights of features, divided by their spread, before any query is seen.
    pull: how strongly the prior holds.
    """
    scale = np.where(spread > _NO_SPREAD, 1 / np.maximum(spread, _NO_SPREAD), 0)
    gained = _sums(judged.gains, judged.starts) > 0
    part = judged.of((queries & gained)[judged.owners()])
    weights = prior
    if len(part.rows):
        weights = _maximise(part, part.features.astype(np.float64) * scale, prior, pull)
    return (weights * scale).astype(np.float32)


def _maximise(
    judged: Judged, features: NDArray[np.float64], prior: NDArray[np.float64], pull: float
) -> NDArray[np.float64]:
    """Newton's method with steps that are halved until they lead down. The loss is convex."""
    targets = judged.gains / _sums(judged.gains, judged.starts)[judged.owners()]

    def loss(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        scores = features @ weights
        scores -= np.maximum.reduceat(scores, judged.starts[:-1])[judged.owners()]
        totals = _sums(np.exp(scores), judged.starts)[judged.owners()]
        penalty = pull * float(((weights - prior) ** 2).sum())
        return penalty - float(targets @ (scores - np.log(totals))), np.exp(scores) / totals

    weights = prior.copy()
    value, likely = loss(weights)
    for _ in range(_STEPS):
        gradient = features.T @ (likely - targets) + 2 * pull * (weights - prior)
        weighted = features * likely[:, None]
        means = _sums(weighted, judged.starts)
        curvature = features.T @ weighted - means.T @ means + 2 * pull * np.eye(len(prior))
        direction = np.linalg.solve(curvature, gradient)
        step = 1.0
        while (tried := loss(weights - step * direction))[0] > value and step > _SHORTEST:
            step /= 2
        gain = value - tried[0]
        if gain <= 1e-9 * max(1.0, abs(value)):
            break
        weights = weights - step * direction
        value, likely = tried
    return weights


def _sums(values: NDArray[np.floating], starts: NDArray[np.int64]) -> NDArray[np.floating]:
    """Sums over the candidates of each query. Each query has at least one."""
    if len(starts) < 2:
        return np.zeros((0, *values.shape[1:]))
    return np.add.reduceat(values, starts[:-1])
