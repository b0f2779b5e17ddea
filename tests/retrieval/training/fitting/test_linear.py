"""Weighted sums of features: the posterior's mode, against an independent minimiser of the same loss."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from retrieval.search.features import NAMES
from retrieval.training.fitting.linear import PRIOR, PRIORS, Judged, fit_linear, mean_prior, spreads


def made(queries: int, each: int = 6, features: int = 3) -> Judged:
    """Of each query the first candidate is relevant and has more of the first feature."""
    rng = np.random.default_rng(0)
    table = rng.normal(size=(queries, each, features)).astype(np.float32)
    table[:, 0, 0] += 1
    table[:, :, -1] = 5
    gains = np.tile(np.eye(1, each, dtype=np.float32)[0], queries)
    starts = np.arange(queries + 1) * each
    return Judged(np.arange(queries * each), table.reshape(-1, features), gains, starts)


def test_the_spread_is_that_within_a_query_among_irrelevant_candidates():
    features = np.array([[99, 1], [1, 1], [3, 1], [10, 2], [14, 2], [-99, 2]], np.float32)
    gains = np.array([1, 0, 0, 0, 0, 2], np.float32)
    judged = Judged(np.arange(6), features, gains, np.array([0, 3, 6]))
    assert spreads(judged).tolist() == [pytest.approx(np.sqrt((1 + 1 + 4 + 4) / 4)), 0]


def test_without_queries_the_weights_are_the_prior_in_units_of_the_spread():
    none = Judged(
        np.empty(0, np.int64), np.empty((0, 2), np.float32), np.empty(0, np.float32), np.zeros(1, np.int64)
    )
    assert spreads(none).tolist() == [0, 0]
    fitted = fit_linear(none, np.empty(0, bool), np.array([2.0, 0]), np.array([3.0, 4.0]))
    assert fitted.tolist() == [1.5, 0]  # what does not vary has no weight


@pytest.mark.parametrize("pull", [0.1, 20.0])
def test_weights_minimise_the_loss(pull):
    judged = made(40)
    prior, spread = np.array([0.2, -0.5, 1.0]), np.array([2.0, 0.5, 0])
    fitted = fit_linear(judged, np.ones(40, bool), spread, prior, pull)
    x = torch.from_numpy(judged.features).double().view(40, 6, 3)[:, :, :2] / torch.tensor(spread[:2])
    w = torch.tensor(prior[:2], requires_grad=True)
    optimiser = torch.optim.LBFGS([w], max_iter=200, tolerance_grad=1e-12, tolerance_change=1e-14)

    def loss():
        optimiser.zero_grad()
        value = -torch.log_softmax(x @ w, 1)[:, 0].sum() + pull * ((w - torch.tensor(prior[:2])) ** 2).sum()
        value.backward()
        return value

    optimiser.step(loss)
    assert fitted[:2] * spread[:2] == pytest.approx(w.detach().numpy(), abs=1e-5)
    assert fitted[2] == 0


def test_only_the_chosen_queries_with_a_relevant_candidate_count():
    judged = made(30)
    judged.gains[6 * 29] = 0  # the last query has none
    chosen = np.arange(30) >= 10
    part = Judged(judged.rows[60:174], judged.features[60:174], judged.gains[60:174], judged.starts[:20])
    spread = np.ones(3)
    some = fit_linear(judged, chosen, spread, np.zeros(3))
    assert some == pytest.approx(fit_linear(part, np.ones(19, bool), spread, np.zeros(3)), abs=1e-6)
    assert some[0] > 0.1


def test_the_prior_names_features_and_is_the_mean_of_the_sets():
    assert all(prior.keys() <= set(NAMES) for prior in PRIORS.values())
    first = PRIOR[NAMES.index("cosine")]
    assert first == pytest.approx(np.mean([prior["cosine"] for prior in PRIORS.values()]))
    one = next(iter(PRIORS))
    assert mean_prior([one])[NAMES.index("BM25")] == PRIORS[one]["BM25"]
