import gc
import hashlib
import os
import re
import threading
from pathlib import Path

import numpy as np
import pytest
from fruit_corpus import DIMENSION, Build, numbered, unit_vectors

from index import reader
from index.disk.folder import Pointer, read_current, write_current
from index.disk.manifest import MANIFEST
from index.disk.verify import superseded, verify
from index.documents.filtering.parse import parse_where
from index.documents.store import Document
from index.documents.writer import DocumentWriter
from index.errors import CorruptError, FormatVersionError, InputError
from index.reader import Index
from index.writing.builder import IndexBuilder
from index.writing.delete import delete


@pytest.fixture
def folder(build: Build, tmp_path: Path) -> Path:
    build(tmp_path / "index", numbered(30))
    return tmp_path / "index"


def test_open_index_tells_what_it_holds(folder: Path):
    with Index.open(folder) as index:
        assert (index.count, index.dimension, index.generation) == (30, DIMENSION, "generation-000001")
        assert index.model_folder == folder / "generation-000001" / "model"
        assert index.row_of("d7") == 7
        assert index.row_of("none") is None
        assert index.documents(np.array([7, 3])) == [numbered(30)[7], numbered(30)[3]]
        assert index.documents([]) == []
        with pytest.raises(IndexError, match="row 30 is not in the index"):
            index.documents([0, 30])
        with pytest.raises(IndexError):
            index.documents([-1])


def test_rows_are_found_by_ids_and_by_filters(folder: Path):
    delete(folder, ["d28"])
    with Index.open(folder) as index:
        assert index.rows_of(["d29", "none", "d3", "d28"]) == {"d3": 3, "d29": 29}
        assert index.rows([parse_where("number>26")]).tolist() == [27, 29]
        with pytest.raises(InputError, match="no document has a field"):
            index.rows([parse_where("none=1")])


def test_dense_search_is_the_inner_product_sorted(folder: Path):
    vectors = unit_vectors(30).astype(np.float16).astype(np.float32)
    queries = unit_vectors(4, seed=1)
    expected = np.argsort(-(queries @ vectors.T), axis=1)[:, :5]
    with Index.open(folder) as index:
        for found in (index.search_dense(queries, 5), index.search_exact(queries, 5)):
            assert np.array_equal(found.rows, expected)
            assert found.scores == pytest.approx(
                np.take_along_axis(queries @ vectors.T, expected, 1), abs=1e-6
            )


def test_lexical_search_finds_words_of_title_and_text(folder: Path):
    with Index.open(folder) as index:
        assert index.search_lexical(["number17"], 3).rows.tolist() == [[17, -1, -1]]
        assert index.search_lexical(["17"], 3).rows.tolist() == [[17, -1, -1]]
        assert set(index.search_lexical(["bananas"], 30).rows[0].tolist()) - {-1} == {
            i for i in range(30) if "banana" in numbered(30)[i].text
        }


@pytest.mark.parametrize("added", [False, True])
def test_single_rows_score_as_in_a_search(folder: Path, added: bool):  # of one segment, and of two
    if added:
        with IndexBuilder.begin_adding(folder, source="more") as builder:
            builder.append(numbered(9, start=30), unit_vectors(39)[30:])
            builder.publish()
    query, text = unit_vectors(1, seed=1)[0], "number17 banana number35 nowhere"
    with Index.open(folder) as index:
        assert len(index.segments) == 1 + added
        rows = np.arange(index.count)[::-1].copy()
        found = index.search_exact(query[None], index.count)
        assert index.cosines(found.rows[0], query) == pytest.approx(found.scores[0], abs=1e-6)
        match = index.match_words(text, rows)
        by_row = dict(
            zip(*(part[0].tolist() for part in index.search_lexical([text], 50)[::-1]), strict=True)
        )
        assert match.scores.tolist() == pytest.approx([by_row.get(row, 0) for row in rows.tolist()], rel=1e-5)
        assert match.words == 4
        assert (match.scores <= match.shares * match.weight + 1e-6).all()
        assert ((match.shares > 0) == (match.scores > 0)).all()
        assert index.match_words("nowhere", rows).shares.max() == 0


def test_a_single_character_finds_the_words_with_it_in_all_segments(folder: Path):
    texts = ["吃药", "药店 apple", "饭店", "药"]
    with IndexBuilder.begin_adding(folder, source="more") as builder:
        builder.append([Document(f"z{n}", "", text) for n, text in enumerate(texts)], unit_vectors(34)[30:])
        builder.publish()
    with Index.open(folder) as index:
        assert len(index.segments) == 2
        found = index.search_lexical(["药 apple"], 40)
        scores = dict(zip(found.rows[0].tolist(), found.scores[0].tolist(), strict=True))
        assert {30, 31, 33} <= scores.keys()
        assert next(iter(scores)) == 31  # it has both words
        rows = np.arange(index.count)
        match = index.match_words("药 apple", rows)
        assert match.scores.tolist() == pytest.approx([scores.get(row, 0) for row in rows.tolist()], rel=1e-5)
        assert (match.shares[31], match.words) == (pytest.approx(1), 2)
        masks = index.matching((), "药")
        assert np.flatnonzero(np.concatenate(masks)).tolist() == [30, 31, 33]


def test_kept_vectors_change_no_hit(folder: Path, build: Build, tmp_path: Path):
    build(tmp_path / "large", numbered(400))
    delete(tmp_path / "large", [f"d{number}" for number in range(0, 400, 3)])
    queries = unit_vectors(5, seed=1)
    with Index.open(tmp_path / "large") as plain, Index.open(tmp_path / "large") as kept:
        kept.keep_vectors(5 * 400 * DIMENSION - 1)
        assert kept.segments[0].kept_bytes() == 5 * 400 * DIMENSION
        assert kept.segments[0]._coarse is None
        kept.keep_vectors(5 * 400 * DIMENSION)
        assert kept.segments[0]._coarse is not None
        for where in ((), (parse_where("number<100"),)):
            for some in (queries[:1], queries):
                expected, found = (index.search_dense(some, 7, where) for index in (plain, kept))
                assert np.array_equal(found.rows, expected.rows)
                assert found.scores == pytest.approx(expected.scores, abs=1e-6)
            texts = ["number12 banana", "number35"]
            expected, found = (index.search_lexical(texts, 7, where) for index in (plain, kept))
            assert np.array_equal(found.rows, expected.rows)
            assert np.array_equal(found.scores, expected.scores)


def test_more_results_than_documents_are_clipped(folder: Path):
    with Index.open(folder) as index:
        assert index.search_dense(unit_vectors(2), 10**9).rows.shape == (2, 30)
        assert sorted(index.search_dense(unit_vectors(1), 31).rows[0].tolist()) == list(range(30))
        assert index.search_lexical(["apple"], 10**9).rows.shape == (1, 30)


def test_no_query_gives_an_empty_ranking(folder: Path):
    with Index.open(folder) as index:
        assert index.search_dense(np.empty((0, DIMENSION), np.float32), 5).rows.shape == (0, 5)
        assert index.search_lexical([], 5).scores.shape == (0, 5)


@pytest.mark.parametrize(
    ("queries", "k", "problem"),
    [
        (np.zeros(DIMENSION, np.float32), 5, r"shape \(n, 8\), not \(8,\)"),
        (np.zeros((1, 9), np.float32), 5, r"not \(1, 9\)"),
        (np.full((1, DIMENSION), np.nan, np.float32), 5, "not finite"),
        (np.zeros((1, DIMENSION), np.float32), 0, "k must be at least 1"),
    ],
)
def test_query_that_does_not_fit_is_refused(folder: Path, queries: np.ndarray, k: int, problem: str):
    with Index.open(folder) as index, pytest.raises(InputError, match=problem):
        index.search_dense(queries, k)


def test_numbers_whose_squares_are_too_large_are_finite(folder: Path):
    with Index.open(folder) as index:
        long = unit_vectors(1) * np.float32(1e30)
        assert np.array_equal(index._checked(long), long)


def test_lexical_search_for_no_results_is_refused(folder: Path):
    with Index.open(folder) as index, pytest.raises(InputError, match="k must be"):
        index.search_lexical(["apple"], 0)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("none", "no such folder"),
        ("none/none", "no such folder"),
        ("file", "a file, not the folder of an index"),
        ("file/none", "no such folder"),
        ("empty", r"not an index \(no CURRENT file\)"),
    ],
)
def test_where_no_index_is_what_is_there_and_the_remedy_are_told(tmp_path: Path, name: str, problem: str):
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    for look in (Index.open, verify):
        with pytest.raises(InputError, match=rf"{name}: {problem}; .*`peephole build` makes"):
            look(tmp_path / name)


def test_an_index_that_was_copied_without_its_pointer_is_called_so(folder: Path):
    (folder / "CURRENT").unlink()
    with pytest.raises(InputError, match=r"no CURRENT file, .* beside generation-000001: .*; copy that file"):
        Index.open(folder)


def test_open_reader_keeps_its_generation_while_others_are_published(folder: Path, build: Build):
    with Index.open(folder) as old:
        build(folder, numbered(5, start=100))
        build(folder, numbered(6, start=200))
        assert (folder / "generation-000001").exists()
        assert not (folder / "generation-000002").exists()
        assert verify(folder) == []
        assert old.documents([29]) == numbered(1, start=29)
        assert old.search_dense(unit_vectors(30)[:1], 1).rows.tolist() == [[0]]
        assert old.search_lexical(["number7"], 1).rows.tolist() == [[7]]
        assert (old.model_folder / "config.json").exists()
        with Index.open(folder) as new:
            assert new.documents([0]) == numbered(1, start=200)
    assert (verify(folder), superseded(folder)) == ([], [folder / "generation-000001"])
    build(folder, numbered(1))
    assert superseded(folder) == []
    assert [path.name for path in sorted(folder.glob("generation-*"))] == ["generation-000004"]


def test_reader_that_loses_the_race_with_a_sweep_opens_the_next_generation(
    folder: Path, build: Build, monkeypatch: pytest.MonkeyPatch
):
    looks = []

    def look(path: Path) -> Pointer:
        pointer = read_current(path)
        looks.append(pointer.generation)
        if len(looks) == 1:
            build(folder, numbered(2))
        return pointer

    monkeypatch.setattr("index.disk.folder.read_current", look)
    with Index.open(folder) as index:
        assert index.count == 2
    assert looks == ["generation-000001", "generation-000002"]


def test_readers_never_fail_while_a_writer_publishes(folder: Path, build: Build):
    counts: list[int] = []
    failures: list[Exception] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            try:
                with Index.open(folder, checksums=True) as index:
                    assert len(index.documents(range(index.count))) == index.count
                    counts.append(index.count)
            except Exception as error:
                failures.append(error)
                return

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for count in range(1, 20):
        build(folder, numbered(count))
    done.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(counts) > 3


def test_filters_of_another_thread_do_not_disturb_those_being_forgotten(folder: Path):
    """Another thread searches just when this one looks for the filter to forget."""
    others: list[threading.Thread] = []

    class Interrupted(dict):
        def __iter__(self):
            found = super().__iter__()
            if not others:
                others.append(threading.Thread(target=search, args=(99,)))
                others[0].start()
                others[0].join(0.5)  # if it can go on at all, it does so in this time
            return found

    def search(number: int) -> list[int]:
        return index.search_lexical(["title"], 30, [parse_where(f"number>={number}")]).rows[0].tolist()

    with Index.open(folder) as index:
        index._filters = Interrupted()
        for number in range(20):
            assert sorted(row for row in search(number) if row >= 0) == list(range(number, 30))
        others[0].join()
        assert len(index._filters) == reader._CACHED_FILTERS


def test_filter_in_use_is_not_forgotten(folder: Path):
    used = (parse_where("number=0"),)
    with Index.open(folder) as index:
        for number in range(20):
            assert index.search_lexical(["title"], 1, used).rows.tolist() == [[0]]
            index.search_lexical(["title"], 1, [parse_where(f"number>{number}")])
            assert used in index._filters


def test_index_can_be_moved_while_nobody_looks(folder: Path, tmp_path: Path):
    folder.rename(tmp_path / "moved ü#?%41")
    with Index.open(tmp_path / "moved ü#?%41", checksums=True) as index:
        assert index.documents([3]) == numbered(1, start=3)


def test_closing_twice_is_harmless(folder: Path):
    index = Index.open(folder)
    index.close()
    index.close()


def test_an_index_that_was_never_closed_is_released_once_nothing_refers_to_it(folder: Path):
    """As by a program that opens one for each question; it would run out of files."""
    gc.collect()  # closes what other tests have left
    before = len(list(Path("/proc/self/fd").iterdir()))
    index = Index.open(folder)
    assert len(list(Path("/proc/self/fd").iterdir())) > before
    del index
    gc.collect()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_failed_open_leaves_no_file_open(folder: Path):
    os.truncate(folder / "generation-000001" / "segment-000001" / "documents.sqlite", 0)
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(CorruptError):
        Index.open(folder)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def rewrite(folder: Path, old: bytes, new: bytes) -> None:
    """Change the manifest and publish it with its new checksum, as another program might."""
    path = folder / "generation-000001" / MANIFEST
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new))
    write_current(folder, Pointer("generation-000001", hashlib.sha256(path.read_bytes()).hexdigest()))


@pytest.mark.parametrize(
    ("old", "new", "kind"),
    [
        (b'"format_version": 5', b'"format_version": 6', FormatVersionError),
        (b'"tokens": 1', b'"tokens": 2', FormatVersionError),
        (b'"faiss": "Flat"', b'"faiss": "IVF9,Flat"', FormatVersionError),
        (b'"recall": {}', b'"recall": {}, "colour": 1', CorruptError),
        (b'"generation-000001"', b'"generation-000009"', CorruptError),
        (b'"dimension": 8', b'"dimension": 4', CorruptError),
        (b'"documents": 30', b'"documents": 15', CorruptError),
    ],
)
def test_manifest_of_another_kind_is_refused(folder: Path, old: bytes, new: bytes, kind: type[Exception]):
    rewrite(folder, old, new)
    with pytest.raises(kind):
        Index.open(folder)


def test_documents_of_another_number_than_published_are_refused(folder: Path):
    path = folder / "generation-000001" / "segment-000001" / "documents.sqlite"
    path.unlink()
    writer = DocumentWriter(folder / "staged.sqlite")
    writer.append(numbered(29))
    writer.copy_to(path)
    writer.close()
    data = (folder / "generation-000001" / MANIFEST).read_bytes()
    found = re.search(rb'"bytes": (\d+),\s+"sha256": "\w+"\s+},\s+"segment-000001/lexical/rows', data)
    assert found
    old = found[1]
    rewrite(folder, b'"bytes": ' + old, f'"bytes": {path.stat().st_size}'.encode())
    with pytest.raises(CorruptError, match="does not hold 30 documents"):
        Index.open(folder)


def test_pointer_survives_nothing_but_what_was_written(folder: Path):
    assert read_current(folder).generation == "generation-000001"
    for content in (
        b"",
        b"generation-000001\n",
        b"../x " + b"0" * 64 + b"\n",
        (folder / "CURRENT").read_bytes() * 2,
    ):
        (folder / "CURRENT").write_bytes(content)
        with pytest.raises(CorruptError, match="CURRENT: damaged"):
            Index.open(folder)
        assert len(verify(folder)) == 1


def test_damaged_pointer_is_no_obstacle_to_the_next_build(folder: Path, build: Build):
    (folder / "CURRENT").write_bytes(b"rubbish")
    assert build(folder, numbered(4)).generation == "generation-000002"
    assert verify(folder) == []
