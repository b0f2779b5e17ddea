import errno
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fruit_corpus import DIMENSION, Build, numbered, unit_vectors

from index.dense.passages import Span
from index.disk.carried_model import fingerprint
from index.disk.files import list_files
from index.disk.verify import verify
from index.documents.store import Document
from index.errors import BusyError, InputError, PeepholeError, StorageError
from index.reader import Index
from index.writing import staging as staging_module
from index.writing.builder import IndexBuilder

Begin = Callable[..., IndexBuilder]


@pytest.fixture
def begin(tmp_path: Path, model: Path) -> Begin:
    def begin_(folder: Path | None = None, **options: object) -> IndexBuilder:
        plan: dict[str, object] = {"model": model, "dimension": DIMENSION, "source": "corpus"}
        return IndexBuilder.begin(folder or tmp_path / "index", **plan | options)  # type: ignore[arg-type]

    return begin_


def stored(folder: Path) -> list[Document]:
    with Index.open(folder, checksums=True) as index:
        return index.documents(range(index.count))


def test_published_index_holds_documents_vectors_and_model(begin: Begin, model: Path, tmp_path: Path):
    documents, vectors = numbered(25), unit_vectors(25)
    stages = []
    with begin() as builder:
        builder.append(documents[:20], vectors[:20])
        assert builder.count == 20
        builder.append(documents[20:], vectors[20:])
        manifest = builder.publish(progress=lambda *stage: stages.append(stage))
    assert (manifest.documents, manifest.dimension, manifest.source) == (25, DIMENSION, "corpus")
    assert manifest.model_fingerprint == fingerprint(model)
    assert {name for name, _, _ in stages} == {"vectors", "words", "checksums"}
    assert stages[-1] == ("checksums", 9, 9)
    with Index.open(tmp_path / "index") as index:
        assert index.manifest == manifest
        assert index.documents(range(25)) == documents
        assert index.search_dense(vectors, 1).rows[:, 0].tolist() == list(range(25))
        assert list_files(index.model_folder) == list_files(model)
        assert fingerprint(index.model_folder) == manifest.model_fingerprint


def test_only_the_live_generation_and_no_stray_file_is_left(build: Build, tmp_path: Path):
    build(tmp_path / "index", numbered(3))
    build(tmp_path / "index", numbered(4))
    assert sorted(path.name for path in (tmp_path / "index").iterdir()) == [
        ".lock",
        "CURRENT",
        "generation-000002",
    ]
    assert verify(tmp_path / "index") == []


def test_same_input_gives_the_same_bytes(build: Build, tmp_path: Path):
    first, second = (build(tmp_path / name, numbered(30)) for name in ("a", "b"))
    assert first.files == second.files


def test_shards_of_any_size_give_the_same_bytes(build: Build, tmp_path: Path):
    first, second = (build(tmp_path / f"{size}", numbered(30), shard=size) for size in (1, 30))
    assert first.files == second.files


def test_empty_corpus_publishes_nothing_and_leaves_nothing(begin: Begin, build: Build, tmp_path: Path):
    build(tmp_path / "index", numbered(3))
    with begin() as builder:
        builder.append([], np.empty((0, DIMENSION), np.float32))
        with pytest.raises(InputError, match="no documents"):
            builder.publish()
    assert stored(tmp_path / "index") == numbered(3)
    assert not (tmp_path / "index" / ".staging").exists()


@pytest.mark.parametrize(
    ("vectors", "problem"),
    [
        (np.zeros((2, DIMENSION), np.float64), r"float32 \(2, 8\), not float64 \(2, 8\)"),
        (np.zeros((3, DIMENSION), np.float32), r"not float32 \(3, 8\)"),
        (np.zeros((2, DIMENSION + 1), np.float32), r"not float32 \(2, 9\)"),
        (np.zeros(DIMENSION, np.float32), r"not float32 \(8,\)"),
        ([[0.0] * DIMENSION] * 2, "not list"),
        (np.array([[0] * DIMENSION, [0] * 7 + [np.nan]], np.float32), "'d1' is not finite"),
        (np.array([[np.inf] * DIMENSION, [0] * DIMENSION], np.float32), "'d0' is not finite"),
    ],
)
def test_vectors_that_do_not_fit_are_refused_and_the_build_goes_on(
    begin: Begin, vectors: np.ndarray, problem: str
):
    with begin() as builder:
        with pytest.raises(InputError, match=problem):
            builder.append(numbered(2), vectors)
        builder.append(numbered(2), unit_vectors(2))
        assert builder.count == 2


def test_vectors_in_another_memory_order_are_stored_alike(begin: Begin, tmp_path: Path):
    with begin() as builder:
        builder.append(numbered(9), np.asfortranarray(unit_vectors(9)))
        builder.publish()
    with Index.open(tmp_path / "index") as index:
        assert index.search_dense(unit_vectors(9), 1).rows[:, 0].tolist() == list(range(9))


def test_duplicate_id_is_refused_and_the_build_goes_on(begin: Begin, tmp_path: Path):
    with begin() as builder:
        builder.append(numbered(5), unit_vectors(5))
        with pytest.raises(InputError, match="'d2'"):
            builder.append([Document("new"), Document("d2")], unit_vectors(2, seed=9))
        builder.append(numbered(5, start=5), unit_vectors(10)[5:])
        builder.publish()
    assert stored(tmp_path / "index") == numbered(10)
    with Index.open(tmp_path / "index") as index:
        assert index.search_dense(unit_vectors(10), 1).rows[:, 0].tolist() == list(range(10))


def test_build_that_was_left_is_resumed(begin: Begin, build: Build, tmp_path: Path):
    with begin() as builder:
        builder.append(numbered(20), unit_vectors(20))
    with begin(resume=True) as builder:
        assert builder.count == 20
        builder.append(numbered(10, start=20), unit_vectors(30)[20:])
        manifest = builder.publish()
    assert manifest.files == build(tmp_path / "other", numbered(30)).files


def test_without_resume_a_build_begins_anew(begin: Begin):
    with begin() as builder:
        builder.append(numbered(20), unit_vectors(20))
    with begin() as builder:
        assert builder.count == 0


@pytest.mark.parametrize("change", [{"source": "another"}, {"dimension": 4}])
def test_build_of_something_else_is_not_resumed(begin: Begin, change: dict[str, object]):
    with begin() as builder:
        builder.append(numbered(20), unit_vectors(20))
    with begin(resume=True, **change) as builder:
        assert builder.count == 0


def test_build_with_a_changed_model_is_not_resumed(begin: Begin, model: Path):
    with begin() as builder:
        builder.append(numbered(20), unit_vectors(20))
    (model / "config.json").write_text('{"dimension": 8, "gamma": 1}')
    with begin(resume=True) as builder:
        assert builder.count == 0


def damage(folder: Path, kind: str) -> None:
    if kind == "no description":
        (folder / "staging.json").unlink()
    elif kind == "description":
        (folder / "staging.json").write_text("{")
    elif kind == "vectors":
        os.truncate(folder / "vectors.f16", 100)
    elif kind == "documents":
        (folder / "documents.sqlite").write_bytes(b"x" * 5000)
    else:
        (folder / "model" / "config.json").write_text("{}")


@pytest.mark.parametrize("kind", ["no description", "description", "vectors", "documents", "model"])
def test_damaged_staging_is_thrown_away(begin: Begin, tmp_path: Path, kind: str):
    with begin() as builder:
        builder.append(numbered(20), unit_vectors(20))
    damage(tmp_path / "index" / ".staging", kind)
    with begin(resume=True) as builder:
        assert builder.count == 0


def test_second_builder_is_told_that_the_first_is_at_work(begin: Begin, tmp_path: Path, model: Path):
    script = (
        "import sys; from pathlib import Path; from index.writing.builder import IndexBuilder\n"
        "try: IndexBuilder.begin(Path(sys.argv[1]), model=Path(sys.argv[2]), dimension=8, source='corpus')\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    with begin() as builder:
        builder.append(numbered(3), unit_vectors(3))
        with pytest.raises(BusyError, match=str(os.getpid())):
            begin()
        arguments = [sys.executable, "-c", script, str(tmp_path / "index"), str(model)]
        found = subprocess.run(arguments, capture_output=True, text=True, check=True).stdout
        assert found.startswith("BusyError")
        assert found.count("\n") == 1
        assert builder.publish().documents == 3
    begin().close()


def test_failed_begin_frees_the_lock(begin: Begin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfileobj", lambda *_, **__: no_space())
        with pytest.raises(StorageError):
            begin()
    begin().close()


def test_folder_with_something_else_in_it_is_refused(begin: Begin, tmp_path: Path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "diary.txt").touch()
    with pytest.raises(InputError, match=r"holds 'diary\.txt' and is not an index"):
        begin(tmp_path / "home")
    assert list_files(tmp_path / "home") == ["diary.txt"]


def test_folder_that_cannot_be_made_is_told(begin: Begin, tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="choose a path"):
        begin(tmp_path / "file" / "index")
    with pytest.raises(StorageError, match="choose a path"):
        begin(tmp_path / "file")


def test_folder_without_permission_is_told(begin: Begin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    real = os.open

    def refuse(path: object, *arguments: object, **options: object) -> int:
        if str(path).endswith(".lock"):
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(path, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(StorageError, match=r"Permission denied\); choose a folder that you may write to"):
        begin()


def test_model_must_be_a_folder_of_regular_files(begin: Begin, model: Path, tmp_path: Path):
    with pytest.raises(InputError, match="not a model folder"):
        begin(model=tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty folder"):
        begin(model=tmp_path / "empty")
    (model / "link").symlink_to("/etc/passwd")
    with pytest.raises(InputError, match=r"link: not a regular file"):
        begin()
    (model / "link").unlink()
    (model / "parts" / "up").symlink_to("..", target_is_directory=True)
    with pytest.raises(InputError, match=r"up: not a regular file"):
        begin()
    (model / "parts" / "up").unlink()
    os.mkfifo(model / "pipe")
    with pytest.raises(InputError, match=r"pipe: not a regular file"):
        begin()


def test_fingerprint_knows_names_and_contents_but_no_hidden_files(model: Path, tmp_path: Path):
    known = fingerprint(model)
    (model / ".lock").write_text("123")
    assert fingerprint(model) == known
    (model / "config.json").rename(model / "other.json")
    renamed = fingerprint(model)
    assert renamed != known
    (model / "other.json").write_text("{}")
    assert fingerprint(model) not in (known, renamed)


def test_model_that_changes_while_it_is_copied_is_refused(
    begin: Begin, model: Path, monkeypatch: pytest.MonkeyPatch
):
    real = shutil.copyfileobj

    def copy(*arguments: Any) -> object:
        (model / "config.json").write_text("changed")
        return real(*arguments)

    monkeypatch.setattr(shutil, "copyfileobj", copy)
    with pytest.raises(InputError, match="changed while it was copied"):
        begin()


def test_dimension_below_one_is_refused(begin: Begin):
    with pytest.raises(InputError, match="at least one dimension"):
        begin(dimension=0)


def test_nothing_of_documents_that_were_refused_is_stored_with_those_after_them(begin: Begin, tmp_path: Path):
    twice = [Document("a", "", "one"), Document("a", "", "two")]
    with begin() as builder:
        with pytest.raises(InputError, match="'a'"):
            builder.append(twice, unit_vectors(6), [[Span(0, 1), Span(1, 2), Span(2, 3)]] * 2)
        builder.append([Document("b", "", "three")], unit_vectors(2), [[Span(0, 3), Span(2, 5)]])
        assert builder.publish().segments[0].vectors == 2
    with Index.open(tmp_path / "index") as index:
        assert index.spans(0) == [Span(0, 3), Span(2, 5)]


def no_space() -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_disk_that_fills_at_any_write_harms_nothing(
    begin: Begin, build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Fail the nth sync or rename, for every n until a build comes through: the old index always serves."""
    build(tmp_path / "index", numbered(3))
    for failing in range(1, 1000):
        calls = iter(range(1, 1000))
        with monkeypatch.context() as patch:
            for name in ("fsync", "replace", "rename"):
                patch.setattr(os, name, failing_at(failing, calls, getattr(os, name)))
            try:
                whole_build(begin)
                break
            except StorageError as error:
                assert "No space left on device" in str(error)
        assert all("left over" in problem for problem in verify(tmp_path / "index"))
        assert not (tmp_path / "index" / ".staging" / "generation").exists()  # its room is given back
        assert stored(tmp_path / "index") in (numbered(3), numbered(20))
    assert failing > 15
    assert stored(tmp_path / "index") == numbered(20)
    assert verify(tmp_path / "index") == []
    assert len(list((tmp_path / "index").iterdir())) == 3  # the lock, CURRENT and one generation


def whole_build(begin: Begin) -> None:
    with begin(resume=True) as builder:
        for start in range(builder.count, 20, 10):
            builder.append(numbered(10, start), unit_vectors(20)[start : start + 10])
        builder.publish()


def failing_at(number: int, calls: object, real: Callable[..., object]) -> Callable[..., object]:
    def call(*arguments: object, **options: object) -> object:
        if next(calls) == number:  # type: ignore[call-overload]
            no_space()
        return real(*arguments, **options)

    return call


@pytest.mark.parametrize("limit", [0, 3000, 20_000, 60_000])
def test_limit_on_file_size_is_told_and_the_build_resumes_without_it(
    begin: Begin, build: Build, tmp_path: Path, limit: int
):
    build(tmp_path / "index", numbered(3))
    documents, vectors = numbered(2000), unit_vectors(2000)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(PeepholeError) as caught, begin(resume=True) as builder:
            for start in range(0, 2000, 500):
                builder.append(documents[start : start + 500], vectors[start : start + 500])
            builder.publish()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert isinstance(caught.value, StorageError)
    assert "\n" not in str(caught.value)
    assert stored(tmp_path / "index") == numbered(3)
    with begin(resume=True) as builder:
        builder.append(documents[builder.count :], vectors[builder.count :])
        builder.publish()
    assert stored(tmp_path / "index") == documents
    assert verify(tmp_path / "index") == []


def test_an_index_without_documents_can_be_published_and_added_to(begin: Begin, tmp_path: Path):
    with begin() as builder:
        assert builder.publish(empty=True).documents == 0
    verify(tmp_path / "index")
    with Index.open(tmp_path / "index") as index:
        assert index.search_dense(unit_vectors(2), 3).rows.shape == (2, 0)
        assert index.search_lexical(["apple"], 3).rows.shape == (1, 0)
        assert (index.rows().tolist(), index.rows_of(["d0"])) == ([], {})
    with IndexBuilder.begin_adding(tmp_path / "index", source="more") as builder:
        builder.append(numbered(3), unit_vectors(3))
        assert builder.held(["d0"]) == set()
        builder.publish()
    assert stored(tmp_path / "index") == numbered(3)
    with IndexBuilder.begin_adding(tmp_path / "index", source="more") as builder:
        assert builder.held(["d0", "d3", "d2"]) == {"d0", "d2"}


def test_passages_of_many_documents_are_read_and_written_in_parts(
    begin: Begin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(staging_module, "_DOCUMENTS_A_TABLE", 3)
    spans = [[Span(at, at + 2) for at in range(1 + row * row % 4)] for row in range(11)]
    owners = [row for row, parts in enumerate(spans) for _ in parts]
    documents, vectors = numbered(11), unit_vectors(len(owners))
    with begin() as builder:
        builder.append(documents[:4], vectors[: owners.index(4)], spans[:4])
    with begin(resume=True) as builder:
        assert builder.count == 4
        builder.append(documents[4:], vectors[owners.index(4) :], spans[4:])
        table = np.concatenate(list(builder._staging.passages()))
        assert table[:, 0].tolist() == owners
        assert builder._staging.passage_count == len(owners)
        builder.publish()
    with Index.open(tmp_path / "index") as index:
        found = index.search_dense(vectors, 1).rows[:, 0]
        assert found.tolist() == owners
        assert [index.segments[0].passages.spans(row) for row in range(11) if len(spans[row]) > 1] == [
            parts for parts in spans if len(parts) > 1
        ]
