"""The heap of compiled loops against a sort."""

import numpy as np
import pytest

from index.heap import keep, sort


@pytest.mark.parametrize("k", [1, 2, 7, 64, 500])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_best_rows_come_in_their_order_however_they_went_in(k: int, seed: int):
    generator = np.random.default_rng(seed)
    offered = generator.permutation(200)
    scores = generator.integers(-5, 5, 200).astype(np.float32)  # many are equal
    rows, best = np.empty(k, np.int64), np.empty(k, np.float32)
    found = 0
    for row in offered:
        found = keep(rows, best, found, row, scores[row])
    sort(rows, best, found)
    expected = sorted(range(200), key=lambda row: (-scores[row], row))[:k]
    assert rows[:found].tolist() == expected
    assert best[:found].tolist() == [scores[row] for row in expected]
