"""Calibration error and reliability: by hand, and on probabilities that are made to be true."""

from __future__ import annotations

import numpy as np
import pytest

from retrieval.evaluation.calibration import calibration_error, reliability


def test_bins_hold_their_hits_with_mean_and_share():
    bins = reliability(np.array([0.05, 0.31, 0.39, 1.0]), np.array([False, True, False, True]))
    assert [(each.low, each.hits) for each in bins] == [(0, 1), (0.3, 2), (0.9, 1)]
    assert bins[1].probability == pytest.approx(0.35)
    assert bins[1].relevant == pytest.approx(0.5)
    assert bins[2] == (0.9, 1.0, 1, 1.0, 1.0)


def test_the_error_weighs_each_bin_by_its_hits():
    probabilities, relevant = np.array([0.05, 0.31, 0.39, 1.0]), np.array([False, True, False, True])
    assert calibration_error(probabilities, relevant) == pytest.approx((0.05 + 2 * 0.15 + 0) / 4)
    bins = reliability(probabilities, relevant)
    assert calibration_error(probabilities, relevant) == pytest.approx(
        sum(each.hits * abs(each.probability - each.relevant) for each in bins) / 4
    )
    assert calibration_error(np.array([]), np.array([], bool)) == 0


def test_true_probabilities_have_no_error_and_doubled_odds_have():
    generator = np.random.default_rng(0)
    true = generator.uniform(0, 1, 50_000)
    relevant = generator.uniform(0, 1, len(true)) < true
    assert calibration_error(true, relevant) < 0.01
    bold = true**2 / (true**2 + (1 - true) ** 2)
    expected = np.abs(bold - true).mean()
    assert calibration_error(bold, relevant) == pytest.approx(expected, abs=0.01)
