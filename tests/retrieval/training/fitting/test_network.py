"""The network that re-scores: it must learn a made rule, and only from queries that can teach it."""

from __future__ import annotations

import numpy as np
import pytest

from retrieval.model.rescoring import Rescorer
from retrieval.training.fitting import network
from retrieval.training.fitting.linear import Judged
from retrieval.training.fitting.network import fit_network


def never() -> bool:
    return False


@pytest.fixture(autouse=True)
def few_steps(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(network, "_LEAST_STEPS", 60)
    monkeypatch.setattr(network, "_EPOCHS", 1)


def empty(features: int) -> Rescorer:
    none = np.zeros((1, features), np.float32)
    one = np.ones((1, 1), np.float32)
    return Rescorer(one, one[0], one[0], none, none[:, 0], none[:, 0], none[0])


def test_the_network_learns_a_rule_that_no_weighting_has():
    rng = np.random.default_rng(0)
    # Relevant is the candidate whose two features agree in sign; features have other means and spreads.
    queries, each = 200, 8
    signs = rng.choice([-1, 1], (queries, each, 2))
    signs[:, :, 1] = -signs[:, :, 0]
    signs[:, 0] = rng.choice([-1, 1], (queries, 1))
    features = (signs * [3, 0.01] + [50, 2] + 0.001 * rng.normal(size=signs.shape)).astype(np.float32)
    gains = np.tile(np.eye(1, each, dtype=np.float32)[0], queries)
    starts = np.arange(queries + 1) * each
    judged = Judged(np.arange(queries * each), features.reshape(-1, 2), gains, starts)
    fitted = fit_network(empty(2), judged, np.arange(150), 0, never)
    best = fitted.scores(judged.features).reshape(queries, each).argmax(1)
    assert (best[150:] == 0).mean() > 0.95
    again = fit_network(empty(2), judged, np.arange(150), 0, never)
    assert np.array_equal(fitted.hidden, again.hidden)


def test_queries_without_a_relevant_candidate_teach_nothing():
    features = np.random.default_rng(0).normal(size=(30, 2)).astype(np.float32)
    gains = np.zeros(30, np.float32)
    gains[[2, 11]] = 1
    judged = Judged(np.arange(30), features, gains, np.array([0, 10, 20, 30]))
    whole = fit_network(empty(2), judged, np.arange(3), 0, never)
    part = fit_network(empty(2), judged, np.arange(2), 0, never)
    assert np.array_equal(whole.hidden, part.hidden)


def test_judgements_without_a_relevant_candidate_leave_the_rescorer_as_it_was():
    features = np.ones((4, 2), np.float32)
    judged = Judged(np.arange(4), features, np.zeros(4, np.float32), np.array([0, 2, 4, 4]))
    fitted = fit_network(empty(2), judged, np.arange(3), 0, never)
    assert fitted.scores(features).tolist() == [0] * 4


def test_a_query_without_candidates_is_not_one_of_its_neighbour():
    features = np.random.default_rng(0).normal(size=(4, 2)).astype(np.float32)
    judged = Judged(np.arange(4), features, np.array([1, 0, 1, 0], np.float32), np.array([0, 2, 2, 4]))
    whole = fit_network(empty(2), judged, np.arange(3), 0, never)
    part = fit_network(empty(2), judged, np.array([0, 2]), 0, never)
    assert np.array_equal(whole.hidden, part.hidden)


def test_fitting_can_be_interrupted():
    judged = Judged(
        np.arange(4), np.eye(4, dtype=np.float32), np.array([1, 0, 0, 0], np.float32), np.array([0, 4])
    )
    with pytest.raises(KeyboardInterrupt):
        fit_network(empty(4), judged, np.arange(1), 0, lambda: True)
