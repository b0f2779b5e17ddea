"""Exact search by way of eight bits finds what exact search finds, to rounding."""

from pathlib import Path

import numpy as np
import pytest

from index.dense.coarse import CoarseScan
from index.dense.vectors import StoredVectors, search_exact, to_halves, write_vectors


def stored(folder: Path, vectors: np.ndarray) -> StoredVectors:
    (folder / "raw").write_bytes(to_halves(vectors).tobytes())
    write_vectors(folder / "vectors.faiss", folder / "raw", *vectors.shape)
    return StoredVectors(folder / "vectors.faiss", *vectors.shape)


def units(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def vectors() -> np.ndarray:
    """2,000 vectors in 40 groups of near neighbours; the first 200 of them twice."""
    random = np.random.default_rng(0)
    rows = np.repeat(random.standard_normal((40, 64)), 45, axis=0) + random.standard_normal((1800, 64)) / 20
    return units(np.concatenate((rows, rows[:200])))


def same(read, query, found, expected):
    """Whether a ranking has the scores that are expected, and rows that have them."""
    there = expected.rows[0] >= 0
    assert np.array_equal(found.rows[0] >= 0, there)
    rows = found.rows[0][there]
    tolerance = 1e-6 * max(1e-6, float(np.linalg.norm(query)))
    assert len(set(rows.tolist())) == len(rows)
    assert np.allclose(found.scores, expected.scores, rtol=0, atol=tolerance)
    assert np.allclose(read.take(rows) @ query, found.scores[0][there], rtol=0, atol=tolerance)
    worse = np.diff(found.scores[0][there])
    assert (worse <= 0).all()
    assert (np.diff(rows)[worse == 0] > 0).all()  # of equal ones the lower row first
    return True


@pytest.mark.parametrize("k", [1, 10, 50, 300, 2000])
@pytest.mark.parametrize("length", [1, 1e-3, 1e3])
def test_scores_and_rows_are_those_of_exact_search(tmp_path, vectors, k, length):
    read = stored(tmp_path, vectors)
    scan = CoarseScan(read)
    queries = units(np.concatenate((vectors[::100], np.random.default_rng(1).standard_normal((20, 64)))))
    for query in queries * np.float32(length):
        assert same(read, query, scan.search(query, k), search_exact(read, query[None], k))


@pytest.mark.parametrize("share", [0.9, 0.3, 0.02, 0.0])
def test_only_allowed_rows_are_found(tmp_path, vectors, share):
    read = stored(tmp_path, vectors)
    allowed = np.random.default_rng(2).random(2000) < share
    scan = CoarseScan(read)
    for query in vectors[::100]:
        expected = search_exact(read, query[None], 10, allowed)
        found = scan.search(query, 10, allowed)
        assert same(read, query, found, expected)
        assert allowed[found.rows[found.rows >= 0]].all()


def test_row_that_rounding_ranks_behind_is_found(tmp_path):
    rows = np.zeros((2000, 3), np.float32)
    rows[:, 2] = 1  # so that the numbers of eight bits are 127ths
    rows[:20, :2] = np.float32([1.51, 0]) / 127  # 2 and 0
    rows[20:40, :2] = np.float32([1.49, 0.49]) / 127  # 1 and 0, but a larger product with the query
    read = stored(tmp_path, rows)
    query = np.array([1, 1, 0], np.float32)
    found = CoarseScan(read).search(query, 5)
    assert found.rows.tolist() == [[20, 21, 22, 23, 24]]
    assert same(read, query, found, search_exact(read, query[None], 5))


@pytest.mark.parametrize("rows", [np.zeros((100, 4)), np.eye(4)])
def test_zeros_and_few_rows(tmp_path, rows):
    read = stored(tmp_path, rows.astype(np.float32))
    scan = CoarseScan(read)
    for query in (np.zeros(4, np.float32), np.ones(4, np.float32)):
        assert same(read, query, scan.search(query, 3), search_exact(read, query[None], 3))
