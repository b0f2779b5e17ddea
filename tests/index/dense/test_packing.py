"""Codes without deleted rows, held against FAISS: what it reads back of each row, before and after."""

import faiss
import numpy as np
import pytest

from index.dense import packing
from index.dense.packing import without_deleted

DIMENSION = 12


def packed(count: int, parts: int) -> faiss.IndexPQFastScan:
    rows = np.random.default_rng(0).standard_normal((max(count, 700), DIMENSION)).astype(np.float32)
    index = faiss.IndexPQFastScan(DIMENSION, parts, 4, faiss.METRIC_INNER_PRODUCT)
    index.train(rows)
    index.add(rows[:count])
    return index


@pytest.mark.parametrize("parts", [2, 6, 12])
@pytest.mark.parametrize("count", [1, 31, 32, 33, 500])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.95, 1.0])
def test_every_live_row_keeps_its_codes(
    count: int, parts: int, share: float, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(packing, "_ROWS_AT_ONCE", 7)
    index = packed(count, parts)
    live = np.random.default_rng(count).random(count) >= share
    before = index.reconstruct_n(0, count)
    codes = faiss.rev_swig_ptr(index.codes.get(), index.codes.size())
    rows = without_deleted(codes, parts, live)
    assert sorted(rows.tolist()) == np.flatnonzero(live).tolist()
    assert np.array_equal(index.reconstruct_n(0, count)[: len(rows)], before[rows])


def test_only_the_places_of_deleted_rows_change():
    index = packed(500, 6)
    live = np.ones(500, bool)
    live[[3, 19, 470]] = False
    before = index.reconstruct_n(0, 500)
    codes = faiss.rev_swig_ptr(index.codes.get(), index.codes.size())
    rows = without_deleted(codes, 6, live)
    assert np.flatnonzero(rows != np.arange(497)).tolist() == [3, 19, 470]
    assert rows[[3, 19, 470]].tolist() == [497, 498, 499]
    after = index.reconstruct_n(0, 500)
    assert np.flatnonzero((after != before).any(axis=1)).tolist() == [3, 19, 470]
