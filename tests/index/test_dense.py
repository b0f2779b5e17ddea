from pathlib import Path

import faiss
import numpy as np
import pytest

from index import dense
from index.dense import all_scores, read_flat, search_exact, write_flat
from index.errors import CorruptError


@pytest.fixture
def vectors() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((300, 12)).astype(np.float32)


@pytest.fixture
def stored(tmp_path: Path, vectors: np.ndarray) -> Path:
    (tmp_path / "raw").write_bytes(vectors.tobytes() + b"not acknowledged")
    write_flat(tmp_path / "vectors.faiss", tmp_path / "raw", 300, 12)
    return tmp_path / "vectors.faiss"


def test_file_is_byte_for_byte_what_faiss_writes(stored: Path, vectors: np.ndarray):
    index = faiss.IndexFlatIP(12)
    index.add(vectors)
    assert stored.read_bytes() == faiss.serialize_index(index).tobytes()
    assert faiss.read_index(str(stored)).ntotal == 300


def test_vectors_come_back_as_they_were(stored: Path, vectors: np.ndarray):
    assert np.array_equal(read_flat(stored, 300, 12), vectors)


def test_search_worked_by_hand():
    rows = np.array([[1, 0], [0, 1], [0.6, 0.8]], np.float32)
    ranking = search_exact(rows, np.array([[0, 1]], np.float32), 2)
    assert ranking.rows.tolist() == [[1, 2]]
    assert ranking.scores.tolist() == [[1.0, np.float32(0.8)]]


@pytest.mark.parametrize("queries", [1, 2, 100])
def test_search_agrees_with_faiss(
    stored: Path, vectors: np.ndarray, queries: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(dense, "_ROWS_AT_ONCE", 77)  # several blocks, the last one short
    monkeypatch.setattr(dense, "_SCORES_AT_ONCE", 10 * 300)
    wanted = np.random.default_rng(1).standard_normal((queries, 12)).astype(np.float32)
    scores, rows = faiss.read_index(str(stored)).search(wanted, 20)
    found = search_exact(read_flat(stored, 300, 12), wanted, 20)
    assert np.array_equal(found.rows, rows)
    assert found.scores == pytest.approx(scores, abs=1e-5)
    assert found.scores.dtype == np.float32
    assert found.rows.dtype == np.int64


def test_equal_vectors_come_in_the_order_of_rows():
    rows = np.ones((50, 3), np.float32)
    assert search_exact(rows, np.ones((2, 3), np.float32), 4).rows.tolist() == [[0, 1, 2, 3]] * 2


def test_scores_of_one_query_and_of_many_agree(vectors: np.ndarray):
    assert all_scores(vectors, vectors[:5])[3] == pytest.approx(
        all_scores(vectors, vectors[3:4])[0], abs=1e-5
    )


@pytest.mark.parametrize("count", [0, 299, 301])
def test_another_count_than_published_is_refused(stored: Path, count: int):
    with pytest.raises(CorruptError, match="does not hold"):
        read_flat(stored, count, 12)


def test_another_dimension_of_the_same_size_is_refused(stored: Path):
    with pytest.raises(CorruptError, match="does not hold"):
        read_flat(stored, 600, 6)


@pytest.mark.parametrize("at", range(0, 45, 4))
def test_flipped_byte_in_the_header_is_refused(stored: Path, at: int):
    data = bytearray(stored.read_bytes())
    data[at] ^= 0x10
    stored.write_bytes(data)
    with pytest.raises(CorruptError):
        read_flat(stored, 300, 12)


@pytest.mark.parametrize("size", [0, 10, 45, 46, 300 * 48 + 44, 300 * 48 + 46])
def test_file_of_another_size_is_refused(stored: Path, size: int):
    stored.write_bytes(stored.read_bytes().ljust(size, b"\0")[:size])
    with pytest.raises(CorruptError):
        read_flat(stored, 300, 12)


def test_missing_file_is_corruption(tmp_path: Path):
    with pytest.raises(CorruptError, match="cannot be read"):
        read_flat(tmp_path / "none", 1, 1)


def test_raw_file_that_ends_early_is_not_published(tmp_path: Path):
    (tmp_path / "raw").write_bytes(b"\0" * 40)
    with pytest.raises(CorruptError, match="ends early"):
        write_flat(tmp_path / "vectors.faiss", tmp_path / "raw", 11, 1)
