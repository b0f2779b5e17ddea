import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from fruit_corpus import Build, numbered

from index.dense import tuning
from index.dense.fastscan import FastScan, write_fastscan
from index.dense.tuning import Candidate, Goal, part_counts, tune
from index.dense.vectors import StoredVectors, search_exact, to_halves, write_vectors
from index.disk.verify import verify
from index.errors import CorruptError, InputError
from index.reader import Index
from index.values import Texts, Vectors
from index.writing.builder import IndexBuilder
from index.writing.compact import compact
from index.writing.delete import delete

COUNT, DIMENSION = 4000, 32


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def clustered(count: int, seed: int = 0) -> np.ndarray:
    """Unit rows around 50 centres, as texts on 50 subjects."""
    generator = np.random.default_rng(seed)
    centres = np.random.default_rng(9).standard_normal((50, DIMENSION))
    return unit(
        centres[generator.integers(0, 50, count)] + 0.7 * generator.standard_normal((count, DIMENSION))
    )


def store(folder: Path, rows: np.ndarray) -> StoredVectors:
    (folder / "raw").write_bytes(to_halves(rows).tobytes())
    write_vectors(folder / "vectors.faiss", folder / "raw", *rows.shape)
    return StoredVectors(folder / "vectors.faiss", *rows.shape)


@pytest.fixture
def vectors(tmp_path: Path) -> StoredVectors:
    return store(tmp_path, clustered(COUNT))


@pytest.fixture
def every_corpus_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compression is tried, and wins whenever its recall is enough."""
    monkeypatch.setattr(tuning, "SMALL", 0)
    monkeypatch.setattr("index.writing.segment.SMALL", 0)
    real = tuning._p50_ms

    def slow_if_exact(search, asked):
        p50 = real(search, asked)
        return p50 if "partial" in repr(search) else 1000.0

    monkeypatch.setattr(tuning, "_p50_ms", slow_if_exact)


def recall(vectors: StoredVectors, scan: FastScan, depth: int, asked: np.ndarray) -> float:
    truth = search_exact(vectors, asked, 10)
    found = scan.search(asked, 10, depth, vectors)
    return float(np.mean([len(set(a) & set(b)) / 10 for a, b in zip(truth.rows, found.rows, strict=True)]))


@pytest.mark.usefixtures("every_corpus_is_large")
def test_searches_are_timed_in_compiled_loops_and_exact_ones_are_not(
    tmp_path: Path, vectors: StoredVectors, monkeypatch: pytest.MonkeyPatch
):
    real, compiled = tuning._p50_ms, []

    def timed(search, asked):
        compiled.append(vectors._compiled is not None)
        return real(search, asked)

    monkeypatch.setattr(tuning, "_p50_ms", timed)
    tune(vectors, None, Goal(0.9), tmp_path / "compressed")
    assert compiled == [False, *[True] * len(part_counts(vectors))]


@pytest.mark.usefixtures("every_corpus_is_large")
@pytest.mark.parametrize(("milliseconds", "tried"), [((2, 2, 3.9, 4), 2), ((2, 2, 8.1, 4), 3)])
def test_of_many_vectors_a_size_that_must_be_slower_is_not_written(
    tmp_path: Path,
    vectors: StoredVectors,
    monkeypatch: pytest.MonkeyPatch,
    milliseconds: tuple[float, ...],
    tried: int,
):
    # Flat; the search and the scan of each size. Scans of 2 and 4 let expect 8 of the next size.
    times = iter([1000.0, *milliseconds, 9.0, 9.0])
    monkeypatch.setattr(tuning, "_p50_ms", lambda search, asked: next(times))
    monkeypatch.setattr(tuning, "_MANY", 0)
    monkeypatch.setattr(Candidate, "meets", lambda self, goal: self.parts > min(part_counts(vectors)))
    found = tune(vectors, None, Goal(0.9), tmp_path / "compressed")
    assert [each.parts for each in found.tried[1:]] == part_counts(vectors)[:tried]
    assert [path.name for path in tmp_path.glob("compressed*")] == ["compressed"]


@pytest.mark.usefixtures("every_corpus_is_large")
@pytest.mark.parametrize("wanted", [0.9, 0.95, 0.99])
@pytest.mark.parametrize("real", [True, False])
def test_recall_promised_is_recall_delivered(
    tmp_path: Path, vectors: StoredVectors, wanted: float, real: bool
):
    queries = clustered(500, seed=1)
    found = tune(vectors, queries if real else None, Goal(wanted), tmp_path / "compressed")
    chosen = found.chosen
    assert chosen.recall >= wanted
    assert chosen.name == f"PQ{chosen.parts}x4fs,Refine"
    scan = FastScan(tmp_path / "compressed", COUNT, DIMENSION, chosen.parts)
    assert recall(vectors, scan, chosen.depth, clustered(500, seed=2)) >= wanted - 0.01
    assert [one.name for one in found.tried] == [
        "Flat",
        "PQ4x4fs,Refine",
        "PQ8x4fs,Refine",
        "PQ16x4fs,Refine",
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["compressed", "raw", "vectors.faiss"]


def test_small_corpus_stays_exact_and_has_no_file(tmp_path: Path, vectors: StoredVectors):
    found = tune(vectors, None, Goal(0.9), tmp_path / "compressed")
    assert [one.name for one in found.tried] == ["Flat"]
    assert found.chosen.parameters() == {}
    assert not (tmp_path / "compressed").exists()


@pytest.mark.usefixtures("every_corpus_is_large")
def test_recall_of_one_is_exact_search(tmp_path: Path, vectors: StoredVectors):
    assert tune(vectors, None, Goal(1), tmp_path / "compressed").chosen.name == "Flat"


def test_small_corpus_is_compressed_when_memory_is_short(tmp_path: Path, vectors: StoredVectors):
    found = tune(vectors, None, Goal(0.9, max_bytes=COUNT * 8), tmp_path / "compressed")
    assert found.chosen.bytes <= COUNT * 8 < found.tried[0].bytes == COUNT * DIMENSION * 2


def test_goal_that_nothing_meets_is_told_with_what_each_would_cost(tmp_path: Path, vectors: StoredVectors):
    with pytest.raises(InputError, match=r"loosen it: Flat recall 1\.0000, .* ms, 256,000 bytes; PQ4x4fs"):
        tune(vectors, None, Goal(0.99, max_bytes=10), tmp_path / "compressed")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["raw", "vectors.faiss"]


@pytest.mark.usefixtures("every_corpus_is_large")
def test_documents_that_occur_many_times_do_not_lower_recall(tmp_path: Path):
    rows = np.repeat(clustered(200), 20, axis=0)
    found = tune(store(tmp_path, rows), clustered(300, seed=1), Goal(0.99), tmp_path / "compressed")
    assert found.chosen.recall >= 0.99


@pytest.mark.parametrize(
    ("count", "dimension", "parts"), [(1000, 32, [4, 8, 16]), (1000, 12, [6]), (1000, 9, []), (500, 32, [])]
)
def test_vectors_are_cut_only_where_they_divide_and_can_be_trained(
    tmp_path: Path, count: int, dimension: int, parts: list[int]
):
    rows = unit(np.random.default_rng(0).standard_normal((count, dimension)))
    assert part_counts(store(tmp_path, rows)) == parts


@pytest.mark.parametrize("recall", [0, -1, 1.01])
def test_recall_that_cannot_be_is_refused(recall: float):
    with pytest.raises(InputError, match="target recall"):
        Goal(recall)


def test_goal_comes_back_from_the_manifest():
    for goal in (Goal(), Goal(0.9, 10**9, 2.5)):
        assert Goal.of(json.loads(json.dumps(goal.to_mapping()))) == goal
    assert Goal.of({}) == Goal(1)
    for recall in ("high", 0, 1.5, math.nan):
        with pytest.raises(CorruptError, match="goal"):
            Goal.of({"recall": recall})


def test_candidate_meets_a_goal_in_all_three():
    one = Candidate("PQ8x4fs,Refine", 8, 100, 0.95, 1.0, 1000)
    assert one.meets(Goal(0.95, 1000, 1.0))
    assert not one.meets(Goal(0.96))
    assert not one.meets(Goal(0.9, 999))
    assert not one.meets(Goal(0.9, None, 0.9))


@pytest.mark.usefixtures("every_corpus_is_large")
def test_tuned_index_lives_on_through_changes(model: Path, tmp_path: Path):
    rows, folder = clustered(1500), tmp_path / "index"
    goal = Goal(0.95, max_bytes=1500 * DIMENSION)  # half of what exact search reads
    given: list[Sequence[Texts]] = []

    def queries(texts: Sequence[Texts]) -> Vectors:
        given.append(texts)
        return clustered(200, seed=3)

    with IndexBuilder.begin(folder, model=model, dimension=DIMENSION, source="s", goal=goal) as builder:
        builder.append(numbered(1500), rows)
        manifest = builder.publish(queries=queries)
    assert [len(texts) for texts in given] == [tuning.TUNING_QUERIES]
    assert manifest.recall["recall@10"] >= 0.95
    assert manifest.segments[0].tried[0]["name"] == "Flat"
    delete(folder, [f"d{n}" for n in range(0, 1500, 100)])
    with IndexBuilder.begin_adding(folder, source="more") as builder:
        builder.append(numbered(50, 1500), clustered(50, seed=4))
        grown = builder.publish()
    assert [segment.faiss for segment in grown.segments] == [manifest.segments[0].faiss, "Flat"]
    asked = clustered(100, seed=5)
    with Index.open(folder, checksums=True) as index:
        truth, found = index.search_exact(asked, 10), index.search_dense(asked, 10)
        assert not np.isin(found.rows, range(0, 1500, 100)).any()
        shares = [len(set(a) & set(b)) / 10 for a, b in zip(truth.rows, found.rows, strict=True)]
        assert np.mean(shares) >= 0.95
    compacted = compact(folder)
    assert compacted.segments[0].faiss.startswith("PQ")
    assert compacted.goal == goal.to_mapping()
    assert verify(folder) == []


@pytest.mark.usefixtures("every_corpus_is_large")
def test_goal_that_nothing_meets_publishes_nothing(build: Build, model: Path, tmp_path: Path):
    build(tmp_path / "index", numbered(5))
    before = (tmp_path / "index" / "CURRENT").read_bytes()
    with IndexBuilder.begin(
        tmp_path / "index", model=model, dimension=DIMENSION, source="s", goal=Goal(0.99, max_bytes=1)
    ) as builder:
        builder.append(numbered(700), clustered(700))
        with pytest.raises(InputError, match="no index meets the goal"):
            builder.publish()
    assert (tmp_path / "index" / "CURRENT").read_bytes() == before


def test_candidates_are_plain_values():
    one = Candidate("Flat", 0, 0, 1.0, 1.0, 1000)
    assert json.loads(json.dumps(asdict(one)))["name"] == "Flat"


def test_least_scores_and_recalls_are_those_of_exact_search(tmp_path: Path) -> None:
    vectors = store(tmp_path, clustered(6000))  # more than are compared at once
    queries, own_rows = tuning.choose_queries(None, vectors.count, vectors.take, 800)
    truth = search_exact(vectors, queries, tuning.K + 1)
    others = truth.scores[:, 1:][truth.rows[:, 0] == own_rows]
    least = tuning.least_scores(queries, vectors.count, vectors.take, own_rows)
    np.testing.assert_allclose(least[truth.rows[:, 0] == own_rows], others[:, -1] - 1e-5, atol=1e-6)

    write_fastscan(tmp_path / "scan", vectors, 8)
    scan = FastScan(tmp_path / "scan", 6000, 32, 8)
    recalls = tuning._recalls(scan, vectors, queries, own_rows, least)
    ranked = scan.nearest(queries, 2000).rows
    for number in (0, 1, 2):
        found = vectors.take(ranked[number][:150]) @ queries[number] >= least[number]
        found &= ranked[number][:150] != own_rows[number]
        assert recalls[number, tuning._DEPTHS.index(150)] == pytest.approx(min(found.sum(), 10) / 10)
