import sys
from pathlib import Path

import faiss
import numpy as np
import pytest

from index.dense import vectors as dense
from index.dense.vectors import StoredVectors, search_exact, to_halves, write_vectors
from index.errors import CorruptError
from index.ranking import best


@pytest.fixture
def vectors() -> np.ndarray:
    rows = np.random.default_rng(0).standard_normal((300, 12)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def store(folder: Path, vectors: np.ndarray) -> Path:
    (folder / "raw").write_bytes(to_halves(vectors).tobytes() + b"not acknowledged")
    write_vectors(folder / "vectors.faiss", folder / "raw", *vectors.shape)
    return folder / "vectors.faiss"


@pytest.fixture
def stored(tmp_path: Path, vectors: np.ndarray) -> Path:
    return store(tmp_path, vectors)


def opened(folder: Path, rows: list[list[float]]) -> StoredVectors:
    array = np.array(rows, np.float32)
    return StoredVectors(store(folder, array), *array.shape)


def test_file_is_byte_for_byte_what_faiss_writes(stored: Path, vectors: np.ndarray):
    index = faiss.IndexScalarQuantizer(12, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    index.train(vectors)
    index.add(vectors)
    assert stored.read_bytes() == faiss.serialize_index(index).tobytes()
    assert faiss.read_index(str(stored)).ntotal == 300


@pytest.mark.parametrize("few", [False, True])
def test_vectors_come_back_as_halves(stored: Path, vectors: np.ndarray, few: bool):
    read = StoredVectors(stored, 300, 12)
    if few:
        read.expect_few()
    halves = vectors.astype(np.float16).astype(np.float32)
    assert len(read) == 300
    assert np.array_equal(read.take(np.array([299, 0, 7, 7])), halves[[299, 0, 7, 7]])
    assert np.array_equal(read.take(np.arange(300)), halves)


@pytest.mark.parametrize("rows_at_once", [1, 7, 300, 1024])
def test_scores_along_the_axes_are_the_numbers_themselves(
    stored: Path, vectors: np.ndarray, rows_at_once: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(dense, "_ROWS_AT_ONCE", rows_at_once)
    scores = StoredVectors(stored, 300, 12).scores(np.eye(12, dtype=np.float32))
    assert scores.dtype == np.float32
    assert np.array_equal(scores.T, vectors.astype(np.float16).astype(np.float32))


def test_every_finite_half_is_read_as_the_number_it_is(tmp_path: Path):
    every = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    finite = every[np.isfinite(every)]
    (tmp_path / "raw").write_bytes(finite.tobytes())
    write_vectors(tmp_path / "vectors.faiss", tmp_path / "raw", len(finite), 1)
    read = StoredVectors(tmp_path / "vectors.faiss", len(finite), 1).take(np.arange(len(finite)))
    assert np.array_equal(read[:, 0], finite.astype(np.float32))

    one = np.ones(1, np.float32)
    stored = StoredVectors(tmp_path / "vectors.faiss", len(finite), 1)
    stored.compile()
    assert np.array_equal(stored.products(np.arange(len(finite)), one), finite.astype(np.float32))


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("k", [1, 10, 100, 1000])
def test_few_rows_are_ranked_as_the_definition_says(
    tmp_path: Path, vectors: np.ndarray, k: int, compiled: bool
):
    rows = np.random.default_rng(3).permutation(len(vectors))[:100]
    vectors[rows[::3]] = vectors[rows[0]]  # equal scores
    stored = StoredVectors(store(tmp_path, vectors), *vectors.shape)
    if compiled:
        stored.compile()
    read, query = vectors.astype(np.float16).astype(np.float64), vectors[5]
    products, ranking = stored.rank(rows[None], query[None], k)
    assert [each.dtype for each in (products, *ranking)] == [np.float32, np.float32, np.int64]
    assert products[0] == pytest.approx(read[rows] @ query, abs=1e-6)
    assert stored.products(rows, query) == pytest.approx(products[0], abs=1e-6)
    by_row = sorted(zip((-products[0]).tolist(), rows.tolist(), strict=True))[:k]
    found = zip((-ranking.scores[0]).tolist(), ranking.rows[0].tolist(), strict=True)
    assert list(found) == by_row + [(np.inf, -1)] * (k - len(by_row))


def some_rows(generator: np.random.Generator, queries: int, most: int) -> np.ndarray:
    """For each query different rows of 300, of one as many as there is room for, of another none."""
    rows = np.array([generator.permutation(300)[:most] for _ in range(queries)])
    for query in range(1, queries):
        rows[query, query % (most + 1) :] = -1
    return rows


@pytest.mark.parametrize("most", [1, 30, 300])
@pytest.mark.parametrize("kept", [False, True])
def test_numpy_and_compiled_loop_rank_alike(stored: Path, vectors: np.ndarray, most: int, kept: bool):
    plain, compiled = (StoredVectors(stored, *vectors.shape) for _ in range(2))
    compiled.compile()
    if kept:
        plain.keep()
    rows = some_rows(np.random.default_rng(4), 40, most)
    expected, found = (each.rank(rows, vectors[:40], 20) for each in (plain, compiled))
    assert found[0] == pytest.approx(expected[0], abs=5e-7)
    assert np.array_equal(found[1].rows, expected[1].rows)
    assert found[1].scores == pytest.approx(expected[1].scores, abs=5e-7)


@pytest.mark.parametrize("compiled", [False, True])
def test_queries_together_rank_as_each_alone(stored: Path, vectors: np.ndarray, compiled: bool):
    found = StoredVectors(stored, *vectors.shape)
    if compiled:
        found.compile()
    rows = some_rows(np.random.default_rng(5), 25, 24)
    products, ranking = found.rank(rows, vectors[:25], 7)
    for query in range(25):
        alone, its = found.rank(rows[query : query + 1], vectors[query : query + 1], 7)
        assert np.array_equal(products[query], alone[0])
        assert np.array_equal(ranking.rows[query], its.rows[0])
        assert np.array_equal(ranking.scores[query], its.scores[0])


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("row", [300, 1 << 40])
def test_row_that_does_not_exist_is_an_error(stored: Path, vectors: np.ndarray, row: int, compiled: bool):
    found = StoredVectors(stored, *vectors.shape)
    if compiled:
        found.compile()
    with pytest.raises(IndexError):
        found.products(np.array([0, row]), vectors[0])
    with pytest.raises(IndexError):
        found.rank(np.array([[0, row]]), vectors[:1], 1)


@pytest.mark.parametrize("compiled", [False, True])
def test_no_rows_have_no_products(stored: Path, vectors: np.ndarray, compiled: bool):
    found = StoredVectors(stored, *vectors.shape)
    if compiled:
        found.compile()
    none = np.empty(0, np.int64)
    assert found.products(none, vectors[0]).shape == (0,)
    products, ranking = found.rank(none[None], vectors[:1], 3)
    assert products.shape == (1, 0)
    assert ranking.rows.tolist() == [[-1] * 3] and np.isneginf(ranking.scores).all()


def test_without_numba_numpy_scores(stored: Path, vectors: np.ndarray, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "index.dense.compiled", None)  # its import fails
    found = StoredVectors(stored, *vectors.shape)
    found.compile()
    assert found._compiled is None
    assert found.rank(np.array([[5, 7]]), vectors[5:6], 1)[1].rows.tolist() == [[5]]


def test_search_worked_by_hand(tmp_path: Path):
    ranking = search_exact(opened(tmp_path, [[1, 0], [0, 1], [0.5, 0.75]]), np.array([[0, 1]], np.float32), 2)
    assert ranking.rows.tolist() == [[1, 2]]
    assert ranking.scores.tolist() == [[1.0, 0.75]]


@pytest.mark.parametrize("queries", [1, 2, 100])
def test_search_agrees_with_faiss(stored: Path, queries: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(dense, "_ROWS_AT_ONCE", 77)  # several blocks, the last one short
    monkeypatch.setattr(dense, "_SCORES_AT_ONCE", 10 * 300)
    wanted = np.random.default_rng(1).standard_normal((queries, 12)).astype(np.float32)
    scores, rows = faiss.read_index(str(stored)).search(wanted, 20)
    found = search_exact(StoredVectors(stored, 300, 12), wanted, 20)
    assert np.array_equal(found.rows, rows)
    assert found.scores == pytest.approx(scores, abs=1e-5)
    assert found.scores.dtype == np.float32
    assert found.rows.dtype == np.int64


@pytest.mark.parametrize("share", [0.9, 0.1, 0.01, 0.0])
@pytest.mark.parametrize("queries", [1, 3])
@pytest.mark.parametrize("k", [10, 290])
def test_only_allowed_rows_are_found_and_all_of_the_best(
    stored: Path, vectors: np.ndarray, share: float, queries: int, k: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(dense, "_ROWS_AT_ONCE", 16)
    read = StoredVectors(stored, 300, 12)
    allowed = np.random.default_rng(3).random(300) < share
    found = search_exact(read, vectors[:queries], k, allowed)
    rows = np.flatnonzero(allowed)
    for query in range(queries):
        expected = rows[best(read.scores(vectors[:queries])[query][rows], k)]
        assert found.rows[query].tolist() == expected.tolist() + [-1] * (k - len(expected))
        assert np.all(np.isfinite(found.scores[query]) == (found.rows[query] >= 0))


def test_equal_vectors_come_in_the_order_of_rows(tmp_path: Path):
    rows = opened(tmp_path, [[0.5, 0.5]] * 50)
    assert search_exact(rows, np.ones((2, 2), np.float32), 4).rows.tolist() == [[0, 1, 2, 3]] * 2


def test_scores_of_one_query_and_of_many_agree(stored: Path, vectors: np.ndarray):
    read = StoredVectors(stored, 300, 12)
    assert read.scores(vectors[:5])[3] == pytest.approx(read.scores(vectors[3:4])[0], abs=1e-5)


@pytest.mark.parametrize("count", [0, 299, 301])
def test_another_count_than_published_is_refused(stored: Path, count: int):
    with pytest.raises(CorruptError, match="does not hold"):
        StoredVectors(stored, count, 12)


def test_another_dimension_of_the_same_size_is_refused(stored: Path):
    with pytest.raises(CorruptError, match="does not hold"):
        StoredVectors(stored, 600, 6)


@pytest.mark.parametrize("at", range(0, 81, 4))
def test_flipped_byte_in_the_header_is_refused(stored: Path, at: int):
    data = bytearray(stored.read_bytes())
    data[at] ^= 0x10
    stored.write_bytes(data)
    with pytest.raises(CorruptError):
        StoredVectors(stored, 300, 12)


@pytest.mark.parametrize("size", [0, 10, 81, 82, 300 * 24 + 80, 300 * 24 + 82])
def test_file_of_another_size_is_refused(stored: Path, size: int):
    stored.write_bytes(stored.read_bytes().ljust(size, b"\0")[:size])
    with pytest.raises(CorruptError):
        StoredVectors(stored, 300, 12)


def test_missing_file_is_corruption(tmp_path: Path):
    with pytest.raises(CorruptError, match="cannot be read"):
        StoredVectors(tmp_path / "none", 1, 1)


def test_raw_file_that_ends_early_is_not_published(tmp_path: Path):
    (tmp_path / "raw").write_bytes(b"\0" * 20)
    with pytest.raises(CorruptError, match="ends early"):
        write_vectors(tmp_path / "vectors.faiss", tmp_path / "raw", 11, 1)


def test_kept_vectors_give_the_very_scores(stored: Path, vectors: np.ndarray):
    plain, kept = (StoredVectors(stored, *vectors.shape) for _ in range(2))
    kept.keep()
    for queries in (vectors[:1], vectors[:5]):
        assert np.array_equal(kept.scores(queries), plain.scores(queries))
    rows = np.arange(3)
    assert np.array_equal(kept.take(rows), plain.take(rows))
