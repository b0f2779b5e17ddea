"""How well best hits tell questions with an answer from those without."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.calibration import separation


def test_separation_counts_the_pairs_in_order():
    higher, lower = np.array([0.9, 0.5, 0.5]), np.array([0.5, 0.1, 0.7])
    pairs = [(a > b) + 0.5 * (a == b) for a in higher for b in lower]
    assert separation(higher, lower) == pytest.approx(sum(pairs) / 9)
    assert separation(np.array([2.0]), np.array([1.0])) == 1
