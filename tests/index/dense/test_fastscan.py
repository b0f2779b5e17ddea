import subprocess
import sys
import threading
from pathlib import Path

import faiss
import numpy as np
import pytest

from index.dense import fastscan
from index.dense.fastscan import FEWEST_POINTS, FastScan, code_bytes, write_fastscan
from index.dense.large_pages import ask_for_large_pages
from index.dense.vectors import StoredVectors, search_exact, to_halves, write_vectors
from index.errors import CorruptError, InputError
from index.ranking import Ranking

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


def scan_in(folder: Path, live: np.ndarray | None = None) -> FastScan:
    return FastScan(folder / "compressed.faiss", COUNT, DIMENSION, PARTS, live)


def questions(count: int) -> np.ndarray:
    rows = np.random.default_rng(1).standard_normal((count, DIMENSION)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_file_is_one_that_faiss_reads_and_searches_alike(folder: Path):
    index = faiss.read_index(str(folder / "compressed.faiss"))
    assert faiss.serialize_index(index).tobytes() == (folder / "compressed.faiss").read_bytes()
    rows = index.search(questions(7), 30)[1]
    assert np.array_equal(scan_in(folder).nearest(questions(7), 30).rows, rows)


def test_scores_are_exact_and_rows_the_best_of_the_candidates(folder: Path):
    vectors, asked = vectors_in(folder), questions(20)
    every = vectors.take(np.arange(COUNT))
    scan = scan_in(folder)
    found = scan.search(asked, 5, 50, vectors)
    for query, candidates in enumerate(np.sort(scan.nearest(asked, 50).rows)):
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


@pytest.mark.parametrize("recall", [0.0, 0.95])
def test_compiled_loop_finds_the_same(folder: Path, recall: float):
    plain, compiled, asked = vectors_in(folder), vectors_in(folder), questions(50)
    compiled.compile()
    expected, found = (scan_in(folder).search(asked, 10, 60, each, recall) for each in (plain, compiled))
    assert np.array_equal(found.rows, expected.rows)
    assert found.scores == pytest.approx(expected.scores, abs=5e-7)


def test_large_pages_change_no_hit(folder: Path):
    vectors, asked, live = vectors_in(folder), questions(20), np.arange(COUNT) % 3 > 0
    for some in (None, live):
        plain, large = scan_in(folder, some), scan_in(folder, some)
        large.expect_many()
        expected, found = (scan.search(asked, 10, 60, vectors) for scan in (plain, large))
        assert np.array_equal(found.rows, expected.rows)
        assert np.array_equal(found.scores, expected.scores)


@pytest.mark.parametrize("count", [0, 1, 4096, 1 << 22])
def test_asking_for_large_pages_leaves_the_numbers(count: int):
    array = np.full(count + 7, 5, np.uint8)
    ask_for_large_pages(array[7:])
    assert (array == 5).all()


@pytest.mark.parametrize("share", [0.999, 0.5, 0.01])
def test_deleted_rows_are_never_found_and_do_not_crowd_out_others(folder: Path, share: float):
    vectors, asked = vectors_in(folder), questions(10)
    live = np.random.default_rng(2).random(COUNT) < share
    found = scan_in(folder, live).search(asked, 3, 200, vectors)
    assert live[found.rows].all()
    truth = search_exact(vectors, asked, 3, live)
    assert np.mean(np.isin(found.rows, truth.rows)) > 0.9


def without_nearest(folder: Path, query: np.ndarray, count: int) -> np.ndarray:
    """All rows live but those nearest to the query."""
    live = np.ones(COUNT, bool)
    live[search_exact(vectors_in(folder), query, count).rows[0]] = False
    return live


@pytest.mark.parametrize("gone", [60, 600, 2400])
def test_rows_deleted_around_a_query_leave_it_as_many_candidates(folder: Path, gone: int):
    asked = questions(20)
    live = without_nearest(folder, asked[:1], gone)
    every, found = scan_in(folder).nearest(asked, COUNT), scan_in(folder, live).nearest(asked, 100)
    assert found.rows.shape == (20, 100)
    for query in range(20):
        left = live[every.rows[query]]
        assert found.scores[query] == pytest.approx(every.scores[query][left][:100], abs=1e-6)
        clear = found.scores[query] > found.scores[query][-1]  # of equal scores any will do
        assert set(found.rows[query][clear]) <= set(every.rows[query][left][:100])


def test_rows_deleted_around_a_query_do_not_lower_its_recall(folder: Path):
    vectors, asked, found = vectors_in(folder), questions(30), 0
    for query in np.split(asked, 30):
        live = without_nearest(folder, query, 700)  # the best of the others are nearly alike
        ranking = scan_in(folder, live).search(query, 10, 100, vectors, recall=0.95)
        assert live[ranking.rows].all()
        found += int(np.isin(ranking.rows, search_exact(vectors, query, 10, live).rows).sum())
    assert found / 300 >= 0.95


def asked_again(scan: FastScan, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """How many queries the scan looks up, and how deep, call by call."""
    calls: list[tuple[int, int]] = []
    real = scan.nearest

    def counted(queries: np.ndarray, depth: int) -> Ranking:
        calls.append((len(queries), depth))
        return real(queries, depth)

    monkeypatch.setattr(scan, "nearest", counted)
    return calls


def test_only_queries_that_probably_miss_some_look_deeper(folder: Path, monkeypatch: pytest.MonkeyPatch):
    vectors = vectors_in(folder)
    # A stored vector is its own best by far: one result needs no second look, unless the row is deleted.
    asked = vectors.take(np.arange(0, 60, 2))
    live = np.ones(COUNT, bool)
    live[:10] = False
    scan = scan_in(folder, live)
    calls = asked_again(scan, monkeypatch)
    found = scan.search(asked, 1, 20, vectors, recall=0.95)
    assert found.rows[5:, 0].tolist() == list(range(10, 60, 2))
    assert calls[:2] == [(30, 20), (5, 80)]
    assert found.rows[:5, 0].tolist() == search_exact(vectors, asked[:5], 1, live).rows[:, 0].tolist()


def test_without_a_recall_to_keep_no_query_is_asked_again(folder: Path, monkeypatch: pytest.MonkeyPatch):
    scan = scan_in(folder, without_nearest(folder, questions(1), 50))
    calls = asked_again(scan, monkeypatch)
    scan.search(questions(9), 3, 20, vectors_in(folder))
    assert calls == [(9, 20)]


@pytest.mark.parametrize("k", [200, COUNT])
def test_where_most_rows_would_be_candidates_search_is_exact(
    folder: Path, k: int, monkeypatch: pytest.MonkeyPatch
):
    vectors, asked = vectors_in(folder), questions(3)
    live = without_nearest(folder, asked[:1], 500)
    scan = scan_in(folder, live)
    calls = asked_again(scan, monkeypatch)
    assert np.array_equal(scan.search(asked, k, 20, vectors).rows, search_exact(vectors, asked, k, live).rows)
    assert calls == []


def test_more_results_than_rows_end_in_nothing(folder: Path):
    live = np.zeros(COUNT, bool)
    live[[5, 9]] = True
    found = scan_in(folder, live).search(questions(1), 4, 10, vectors_in(folder))
    assert sorted(found.rows[0].tolist()) == [-1, -1, 5, 9]
    assert np.isneginf(found.scores[0, 2:]).all()


@pytest.mark.parametrize("there", [0, 1, 4, 20])
def test_candidates_that_are_not_there_are_neither_found_nor_missed(
    folder: Path, there: int, monkeypatch: pytest.MonkeyPatch
):
    vectors, asked, scan = vectors_in(folder), questions(3), scan_in(folder)
    real = scan.nearest

    def few(queries: np.ndarray, depth: int) -> Ranking:
        found = real(queries, depth)
        found.rows[:, there:], found.scores[:, there:] = -1, -np.inf
        return found

    monkeypatch.setattr(scan, "nearest", few)
    found = scan.search(asked, 10, 50, vectors)
    assert (found.rows >= 0).sum(axis=1).tolist() == [min(there, 10)] * 3
    assert np.array_equal(found.rows < 0, np.isneginf(found.scores))
    if there < 10:  # so few miss most of ten, but of none nothing is known
        kept_up = scan.search(asked, 10, 50, vectors, recall=0.5)
        expected = search_exact(vectors, asked, 10) if there else found
        assert np.array_equal(kept_up.rows, expected.rows)


def test_another_process_than_the_one_that_opened_it_is_refused(folder: Path):
    scan, vectors = scan_in(folder), vectors_in(folder)
    scan.search(questions(1), 3, 20, vectors)
    scan._lock._process = -1  # as after a fork
    with pytest.raises(InputError, match="open it after the fork"):
        scan.search(questions(1), 3, 20, vectors)


def test_same_vectors_give_the_same_bytes(folder: Path, tmp_path: Path):
    write_fastscan(tmp_path / "again", vectors_in(folder), PARTS)
    assert (tmp_path / "again").read_bytes() == (folder / "compressed.faiss").read_bytes()
    assert code_bytes(COUNT, PARTS) == 3008 * 2


@pytest.mark.parametrize("at_once", [32, 96, 3008])
def test_vectors_compressed_a_few_at_a_time_give_the_same_bytes(
    folder: Path, tmp_path: Path, at_once: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(fastscan, "_ADDED", at_once)
    write_fastscan(tmp_path / "again", vectors_in(folder), PARTS)
    assert (tmp_path / "again").read_bytes() == (folder / "compressed.faiss").read_bytes()


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


@pytest.mark.parametrize("parts", [1, 6])
def test_a_number_of_parts_that_faiss_has_no_codes_of_is_refused(tmp_path: Path, parts: int):
    """Of an odd number it reads beyond the codes; 6 parts do not divide 16 dimensions."""
    head, middle = fastscan._head(COUNT, DIMENSION, parts), fastscan._middle(COUNT, parts)
    content = head + bytes(4 * DIMENSION * 16) + middle + bytes(code_bytes(COUNT, parts))
    (tmp_path / "c").write_bytes(content)
    with pytest.raises(CorruptError, match="does not hold 3003 compressed vectors"):
        FastScan(tmp_path / "c", COUNT, DIMENSION, parts)


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
