import subprocess
import sys
import threading
from pathlib import Path

import faiss
import numpy as np
import pytest

from index.dense.fastscan import FEWEST_POINTS, FastScan, code_bytes, write_fastscan
from index.dense.vectors import StoredVectors, search_exact, to_halves, write_vectors
from index.errors import CorruptError

COUNT, DIMENSION, PARTS = 3003, 16, 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("fastscan")
    rows = np.random.default_rng(0).standard_normal((COUNT, DIMENSION)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    (place / "raw").write_bytes(to_halves(rows).tobytes())
    write_vectors(place / "vectors.faiss", place / "raw", COUNT, DIMENSION)
    write_fastscan(place / "compressed.faiss", vectors_in(place), PARTS)
    return place


def vectors_in(folder: Path) -> StoredVectors:
    return StoredVectors(folder / "vectors.faiss", COUNT, DIMENSION)


def scan_in(folder: Path) -> FastScan:
    return FastScan(folder / "compressed.faiss", COUNT, DIMENSION, PARTS)


def questions(count: int) -> np.ndarray:
    rows = np.random.default_rng(1).standard_normal((count, DIMENSION)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_file_is_one_that_faiss_reads_and_searches_alike(folder: Path):
    index = faiss.read_index(str(folder / "compressed.faiss"))
    assert faiss.serialize_index(index).tobytes() == (folder / "compressed.faiss").read_bytes()
    rows = index.search(questions(7), 30)[1]
    assert np.array_equal(scan_in(folder).nearest(questions(7), 30), rows)


def test_scores_are_exact_and_rows_the_best_of_the_candidates(folder: Path):
    vectors, asked = vectors_in(folder), questions(20)
    every = vectors.take(np.arange(COUNT))
    scan = scan_in(folder)
    found = scan.search(asked, 5, 50, vectors)
    for query, candidates in enumerate(scan.candidates(asked, 50)):
        scores = every[candidates] @ asked[query]
        best = candidates[np.argsort(-scores, kind="stable")[:5]]
        assert found.rows[query].tolist() == best.tolist()
        assert found.scores[query] == pytest.approx(np.sort(scores)[::-1][:5], abs=1e-6)


def test_with_every_row_a_candidate_search_is_exact(folder: Path):
    vectors, asked = vectors_in(folder), questions(5)
    expected = search_exact(vectors, asked, 10)
    found = scan_in(folder).search(asked, 10, COUNT, vectors)
    assert np.array_equal(found.rows, expected.rows)
    assert found.scores == pytest.approx(expected.scores, abs=1e-6)


@pytest.mark.parametrize("share", [0.999, 0.5, 0.01])
def test_deleted_rows_are_never_found_and_do_not_crowd_out_others(folder: Path, share: float):
    vectors, asked = vectors_in(folder), questions(10)
    live = np.random.default_rng(2).random(COUNT) < share
    found = scan_in(folder).search(asked, 3, 200, vectors, live)
    assert live[found.rows].all()
    truth = search_exact(vectors, asked, 3, live)
    assert np.mean(np.isin(found.rows, truth.rows)) > 0.9


def test_more_results_than_rows_end_in_nothing(folder: Path):
    live = np.zeros(COUNT, bool)
    live[[5, 9]] = True
    found = scan_in(folder).search(questions(1), 4, 10, vectors_in(folder), live)
    assert sorted(found.rows[0].tolist()) == [-1, -1, 5, 9]
    assert np.isneginf(found.scores[0, 2:]).all()


def test_same_vectors_give_the_same_bytes(folder: Path, tmp_path: Path):
    write_fastscan(tmp_path / "again", vectors_in(folder), PARTS)
    assert (tmp_path / "again").read_bytes() == (folder / "compressed.faiss").read_bytes()
    assert code_bytes(COUNT, PARTS) == 3008 * 2


def test_too_few_vectors_are_not_trained_on(tmp_path: Path):
    few = FEWEST_POINTS - 1
    (tmp_path / "raw").write_bytes(bytes(few * 4 * 2))
    write_vectors(tmp_path / "v", tmp_path / "raw", few, 4)
    with pytest.raises(ValueError, match="too few to train"):
        write_fastscan(tmp_path / "c", StoredVectors(tmp_path / "v", few, 4), 2)


@pytest.mark.parametrize("change", ["shorter", "longer", "empty", "missing", "count", "dimension", "parts"])
def test_file_that_is_not_what_was_published_is_refused(folder: Path, tmp_path: Path, change: str):
    path = tmp_path / "c"
    data = (folder / "compressed.faiss").read_bytes()
    sizes = {"count": (COUNT + 1, 0, 0), "dimension": (0, 8, 0), "parts": (0, 0, 2)}.get(change, (0, 0, 0))
    if change != "missing":
        path.write_bytes({"shorter": data[:-1], "longer": data + b"\0", "empty": b""}.get(change, data))
    with pytest.raises(CorruptError):
        FastScan(path, sizes[0] or COUNT, sizes[1] or DIMENSION, sizes[2] or PARTS)


DAMAGED = """
import random, sys
from pathlib import Path
import numpy as np
sys.path.insert(0, sys.argv[1])
from test_fastscan import COUNT, questions, scan_in, vectors_in
from index.errors import CorruptError
folder = Path(sys.argv[2])
path = folder / "compressed.faiss"
data, generator, refused = path.read_bytes(), random.Random(3), 0
for number in range(300):
    damaged = bytearray(data)
    # half of the flips where a flip may matter most: before the codes
    at = generator.randrange(len(data) if number % 2 else 1200)
    damaged[at] ^= 1 << generator.randrange(8)
    path.write_bytes(damaged)
    try:
        rows = scan_in(folder).search(questions(2), 10, 50, vectors_in(folder)).rows
        assert ((rows >= -1) & (rows < COUNT)).all()
    except CorruptError:
        refused += 1
print(refused)
"""


def test_no_flipped_byte_ends_the_process(folder: Path, tmp_path: Path):
    for name in ("vectors.faiss", "compressed.faiss"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    command = [sys.executable, "-c", DAMAGED, str(Path(__file__).parent), str(tmp_path)]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    assert 10 < int(found.stdout) < 100  # those in the header


def test_threads_search_alike(folder: Path):
    scan, vectors, asked = scan_in(folder), vectors_in(folder), questions(3)
    expected = scan_in(folder).search(asked, 5, 50, vectors).rows
    same: list[bool] = []

    def look() -> None:
        same.extend(np.array_equal(scan.search(asked, 5, 50, vectors).rows, expected) for _ in range(30))

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert same == [True] * 120
