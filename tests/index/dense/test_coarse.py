"""Exact search by way of eight bits finds what exact search finds, to the last bit."""

from pathlib import Path

import faiss
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


def same(found, expected):
    return all(np.array_equal(*pair) for pair in zip(found, expected, strict=True))


@pytest.mark.parametrize("k", [1, 10, 50, 300, 2000])
@pytest.mark.parametrize("length", [1, 1e-3, 1e3])
def test_scores_and_rows_are_those_of_exact_search(tmp_path, vectors, k, length):
    read = stored(tmp_path, vectors)
    scan = CoarseScan(read)
    queries = units(np.concatenate((vectors[::100], np.random.default_rng(1).standard_normal((20, 64)))))
    for query in queries * np.float32(length):
        assert same(scan.search(query, k), search_exact(read, query[None], k))


@pytest.mark.parametrize("share", [0.9, 0.3, 0.02, 0.0])
def test_only_allowed_rows_are_found(tmp_path, vectors, share):
    read = stored(tmp_path, vectors)
    allowed = np.random.default_rng(2).random(2000) < share
    scan = CoarseScan(read)
    for query in vectors[::100]:
        assert same(scan.search(query, 10, allowed), search_exact(read, query[None], 10, allowed))


def test_few_rows_are_scored_with_stored_vectors(tmp_path, monkeypatch):
    random = np.random.default_rng(3)
    read = stored(tmp_path, units(random.standard_normal((2000, 64))))
    scored = []
    rank = StoredVectors.rank
    monkeypatch.setattr(StoredVectors, "rank", lambda *some: scored.append(some[1].shape[1]) or rank(*some))
    scan = CoarseScan(read)
    for query in units(random.standard_normal((20, 64))):
        scan.search(query, 10)
    assert set(scored) <= {20, 40, 80}
    assert sum(scored) < 1000


def test_row_that_rounding_ranks_behind_is_found(tmp_path):
    rows = np.zeros((2000, 3), np.float32)
    rows[:, 2] = 1  # so that the numbers of eight bits are 127ths
    rows[:20, :2] = np.float32([1.51, 0]) / 127  # 2 and 0
    rows[20:40, :2] = np.float32([1.49, 0.49]) / 127  # 1 and 0, but a larger product with the query
    read = stored(tmp_path, rows)
    query = np.array([1, 1, 0], np.float32)
    found = CoarseScan(read).search(query, 5)
    assert found.rows.tolist() == [[20, 21, 22, 23, 24]]
    assert same(found, search_exact(read, query[None], 5))


@pytest.mark.parametrize("rows", [np.zeros((100, 4)), np.eye(4)])
def test_zeros_and_few_rows(tmp_path, rows):
    read = stored(tmp_path, rows.astype(np.float32))
    scan = CoarseScan(read)
    for query in (np.zeros(4, np.float32), np.ones(4, np.float32)):
        assert same(scan.search(query, 3), search_exact(read, query[None], 3))


def test_other_threads_of_faiss_are_left_alone(tmp_path, vectors):
    before = faiss.omp_get_max_threads()
    try:
        faiss.omp_set_num_threads(3)
        CoarseScan(stored(tmp_path, vectors)).search(vectors[0], 10)
        assert faiss.omp_get_max_threads() == 3
    finally:
        faiss.omp_set_num_threads(before)
