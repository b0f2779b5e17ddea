import math

import numpy as np
import pytest

from index.dense.misses import expected_misses


def tail(z: float) -> float:
    return math.erfc(z / math.sqrt(2)) / 2


def test_worked_by_hand():
    # Errors of -.1 and .1: a mean of 0 and a deviation of .1. The next ones would score .2 and .1, and must
    # reach .3.
    approximate, exact = np.array([0.3, 0.2], np.float32), np.array([0.2, 0.3], np.float32)
    assert expected_misses(approximate, exact, 0.3) == pytest.approx(2 * (tail(1) + tail(2)), abs=0.0008)


def test_rows_that_the_scan_underrates_count_for_more():
    # .1 more than the scan says, on average
    approximate, exact = np.array([0.3, 0.2], np.float32), np.array([0.3, 0.4], np.float32)
    assert expected_misses(approximate, exact, 0.3) == pytest.approx(2 * (tail(0) + tail(1)), abs=0.0008)


@pytest.mark.parametrize(("candidates", "noise"), [(30, 0.03), (100, 0.03), (100, 0.05), (300, 0.05)])
def test_about_as_many_are_expected_as_are_missed(candidates: int, noise: float):
    generator = np.random.default_rng(0)
    expected, missed = 0.0, 0
    for _ in range(200):
        scores = generator.normal(0, 0.1, 4000).astype(np.float32)
        seen = scores + generator.normal(0, noise, 4000).astype(np.float32)
        order = np.argsort(-seen)[:candidates]
        least = float(np.sort(scores[order])[-10])
        worse = order[candidates // 2 :]
        expected += expected_misses(seen[worse], scores[worse], least)
        missed += int((scores > least).sum()) - 9
    assert missed / 2 < expected < 2 * missed


@pytest.mark.parametrize("error", [0.0, 0.1])
def test_errors_that_are_all_the_same_leave_nothing_to_miss(error: float):
    approximate = np.full(4, 0.3, np.float32)  # as of documents that are equal
    assert expected_misses(approximate, approximate + np.float32(error), 0.5) == pytest.approx(0, abs=1e-9)


def test_a_wide_margin_leaves_nothing_to_miss():
    approximate = np.linspace(1, 0, 100, dtype=np.float32)
    exact = approximate + np.float32(0.01) * np.sin(np.arange(100, dtype=np.float32))
    assert expected_misses(approximate, exact, 0.9) < 1e-9


def test_a_number_up_to_a_few_may_be_too_high_but_no_other():
    approximate, exact = np.array([0.3, 0.2], np.float32), np.array([0.2, 0.3], np.float32)
    expected, most = expected_misses(approximate, exact, 0.4), 2 * 2 * tail(2)
    assert expected < most == pytest.approx(expected_misses(approximate, exact, 0.4, few=0.1), rel=1e-4)
    assert expected_misses(approximate, exact, 0.4, few=0.09) == expected


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_scores_that_are_not_finite_ask_for_nothing(wrong: float):
    approximate = np.array([wrong, wrong, wrong, wrong], np.float32)
    assert not expected_misses(approximate, np.ones(4, np.float32), 1.0) > 0
