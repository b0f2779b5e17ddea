"""The life of an index after its build, held against a plain dict of what it should hold."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from fruit_corpus import DIMENSION, Build, numbered, unit_vectors

from index.disk.folder import CURRENT
from index.disk.manifest import Manifest
from index.disk.verify import verify
from index.disk.writer_lock import WriterLock
from index.documents.filtering.parse import parse_where
from index.documents.store import Document
from index.errors import BusyError, InputError, StorageError
from index.reader import Index
from index.writing import builder as builder_module
from index.writing.builder import IndexBuilder
from index.writing.compact import compact
from index.writing.delete import delete

Corpus = dict[str, tuple[Document, np.ndarray]]


@pytest.fixture
def folder(build: Build, tmp_path: Path) -> Path:
    build(tmp_path / "index", numbered(30))
    return tmp_path / "index"


def vectors_of(documents: Sequence[Document]) -> np.ndarray:
    """A vector for each text, the same for the same text."""
    rows = [np.random.default_rng(list(one.text.encode())).standard_normal(DIMENSION) for one in documents]
    array = np.array(rows, np.float32).reshape(-1, DIMENSION)
    return array / np.linalg.norm(array, axis=1, keepdims=True)


def add(folder: Path, documents: Sequence[Document], vectors: np.ndarray | None = None) -> Manifest:
    with IndexBuilder.begin_adding(folder, source="more") as builder:
        builder.append(documents, vectors_of(documents) if vectors is None else vectors)
        return builder.publish()


def held(folder: Path) -> dict[str, Document]:
    with Index.open(folder, checksums=True) as index:
        documents = index.documents(index.rows())
        assert index.count == index.manifest.documents == len(documents)
        return {document.id: document for document in documents}


def test_added_documents_are_found_beside_the_old(folder: Path):
    manifest = add(folder, numbered(3, 30), unit_vectors(33)[30:])
    assert (manifest.documents, len(manifest.segments)) == (33, 2)
    assert held(folder) == {document.id: document for document in numbered(33)}
    with Index.open(folder) as index:
        assert index.search_dense(unit_vectors(33)[31:32], 1).rows.tolist() == [[31]]
        assert index.search_lexical(["number31"], 5).rows.tolist() == [[31, -1, -1, -1, -1]]
        assert index.row_of("d31") == 31
    assert verify(folder) == []


def test_document_with_a_known_id_takes_the_place_of_the_old_one(folder: Path):
    new = Document("d7", "new title", "entirely different words")
    with IndexBuilder.begin_adding(folder, source="more") as builder:
        builder.append([new], vectors_of([new]))
        assert builder.replaced() == 1
        assert builder.publish().documents == 30
    assert held(folder)["d7"] == new
    with Index.open(folder) as index:
        assert np.all(index.search_lexical(["number7"], 30).rows == -1)
        found = index.search_exact(unit_vectors(30)[7:8], 30).rows[0]
        assert index.row_of("d7") in found
        assert 7 not in found
        assert len(set(found.tolist())) == 30


def test_deleted_document_never_returns(folder: Path):
    assert delete(folder, ["d3", "d29", "d3"]) == 2
    assert held(folder).keys() == {f"d{n}" for n in range(30)} - {"d3", "d29"}
    with Index.open(folder) as index:
        assert (index.count, index.row_of("d3")) == (28, None)
        for found in (index.search_dense(unit_vectors(4), 30), index.search_lexical(["title"] * 4, 30)):
            assert found.rows.shape == (4, 28)
            assert not np.isin(found.rows, [3, 29]).any()
    assert verify(folder) == []


def test_documents_deleted_one_after_the_other_stay_deleted(folder: Path):
    for name in ("d3", "d4"):
        delete(folder, [name])
    assert held(folder) == {one.id: one for one in numbered(30) if one.id not in ("d3", "d4")}
    assert verify(folder) == []


def test_unknown_id_is_told_and_nothing_is_deleted(folder: Path):
    before = (folder / "CURRENT").read_bytes()
    with pytest.raises(InputError, match=r"no document has the id 'none' and 1 more; nothing was deleted"):
        delete(folder, ["d3", "none", "nowhere"])
    assert (folder / "CURRENT").read_bytes() == before
    assert delete(folder, ["none"], missing_ok=True) == 0
    assert (folder / "CURRENT").read_bytes() == before
    assert delete(folder, ["d3", "none"], missing_ok=True) == 1
    with pytest.raises(InputError, match="no document has the id 'd3'; nothing was deleted"):
        delete(folder, ["d3"])


def test_all_documents_can_go_and_others_come(folder: Path):
    delete(folder, [f"d{n}" for n in range(30)])
    with Index.open(folder) as index:
        assert (index.count, index.segments) == (0, ())
        assert index.search_dense(unit_vectors(2), 5).rows.shape == (2, 0)
        assert index.search_lexical(["apple"], 5).rows.shape == (1, 0)
        assert index.row_of("d1") is None
    assert verify(folder) == []
    assert compact(folder).documents == 0
    add(folder, numbered(2))
    assert held(folder).keys() == {"d0", "d1"}


def test_unchanged_files_are_shared_and_not_written_again(folder: Path):
    def inodes(generation: str) -> dict[str, int]:
        root = folder / generation
        return {
            path.relative_to(root).as_posix(): path.stat().st_ino
            for path in root.rglob("*")
            if path.is_file()
        }

    before = inodes("generation-000001")
    add(folder, numbered(2, 30))
    after = inodes("generation-000002")
    assert {name: after[name] for name in before if name != "manifest.json"} == {
        name: inode for name, inode in before.items() if name != "manifest.json"
    }


def test_without_hard_links_files_are_copied(folder: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*arguments: object, **options: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    add(folder, numbered(2, 30))
    delete(folder, ["d0"])
    assert len(held(folder)) == 31
    assert verify(folder) == []


def test_segments_stay_few_however_many_documents_come_one_by_one(folder: Path):
    for number in range(30, 70):
        manifest = add(folder, numbered(1, number))
        sizes = sorted(segment.live for segment in manifest.segments)
        assert all(2 * small < large for small, large in pairwise(sizes))
    assert held(folder) == {document.id: document for document in numbered(70)}


def test_large_segment_is_left_alone_by_a_small_addition(folder: Path):
    assert [s.documents for s in add(folder, numbered(5, 30)).segments] == [30, 5]
    assert [s.documents for s in add(folder, numbered(15, 35)).segments] == [50]


def test_segments_join_an_addition_the_smallest_first_up_to_twice_its_size(folder: Path):
    assert [s.documents for s in add(folder, numbered(3, 30)).segments] == [30, 3]
    assert [s.documents for s in add(folder, numbered(2, 33)).segments] == [30, 5]
    assert [s.documents for s in add(folder, numbered(10, 35)).segments] == [45]


def test_addition_that_ended_while_it_took_in_old_documents_is_not_resumed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
):
    def fail(*given: object) -> None:
        raise StorageError("no space")

    with IndexBuilder.begin_adding(folder, source="more") as builder, monkeypatch.context() as patch:
        builder.append(numbered(20, 30), unit_vectors(20))
        patch.setattr(builder_module, "publish", fail)
        with pytest.raises(StorageError):
            builder.publish()
        assert builder.count == 50
    with IndexBuilder.begin_adding(folder, source="more", resume=True) as builder:
        assert builder.count == 0


def test_recall_of_an_index_is_that_of_its_worst_segment(folder: Path, monkeypatch: pytest.MonkeyPatch):
    write, recalls = builder_module.write_segment, iter((0.97, 0.99))
    monkeypatch.setattr(
        builder_module,
        "write_segment",
        lambda *given: write(*given)._replace(parameters={"recall@10": next(recalls)}),
    )
    assert add(folder, numbered(10, 30)).recall == {"recall@10": 0.97}
    assert add(folder, numbered(4, 40)).recall == {"recall@10": 0.97}
    assert len(held(folder)) == 44


def test_all_of_a_generation_is_synced_before_it_is_live_and_its_name_after(
    folder: Path, monkeypatch: pytest.MonkeyPatch
):
    synced = {path.stat().st_ino for path in folder.rglob("*") if path.is_file()}  # the model is shared
    lacking: list[Path] = []
    fsync, rename, replace = os.fsync, os.rename, os.replace

    def noting(handle: int) -> None:
        synced.add(os.fstat(handle).st_ino)
        fsync(handle)

    def moving(source: Path, target: Path) -> None:
        rename(source, target)
        synced.discard(target.parent.stat().st_ino)

    def checking(source: Path, target: Path) -> None:
        if target.name == CURRENT:
            generation = folder / "generation-000002"
            needed = [source, folder, generation, *generation.rglob("*")]
            lacking.extend(path for path in needed if path.stat().st_ino not in synced)
            synced.clear()
        replace(source, target)

    for name, call in (("fsync", noting), ("rename", moving), ("replace", checking)):
        monkeypatch.setattr(os, name, call)
    add(folder, numbered(20, 30))
    assert lacking == []
    assert folder.stat().st_ino in synced


def test_compact_leaves_one_segment_without_the_deleted(folder: Path):
    delete(folder, ["d0", "d1"])
    add(folder, numbered(4, 30))
    delete(folder, ["d31"])
    before = held(folder)
    manifest = compact(folder)
    assert [(s.documents, s.deleted) for s in manifest.segments] == [(31, 0)]
    assert held(folder) == before
    assert verify(folder) == []
    assert compact(folder).generation == manifest.generation  # there is nothing to do


def test_compacted_index_ranks_as_one_built_at_once(folder: Path, build: Build, tmp_path: Path):
    add(folder, numbered(20, 30), unit_vectors(50)[30:])
    delete(folder, [f"d{n}" for n in range(0, 50, 3)])
    compact(folder)
    kept = [n for n in range(50) if n % 3]
    build(tmp_path / "other", [numbered(50)[n] for n in kept], unit_vectors(50)[kept])
    with Index.open(folder) as ours, Index.open(tmp_path / "other") as theirs:
        for query in ("apple pie", "number17 title", "banana cherry"):
            a, b = ours.search_lexical([query], 33), theirs.search_lexical([query], 33)
            assert a.scores == pytest.approx(b.scores, rel=1e-6)
        a, b = ours.search_dense(unit_vectors(3, 9), 33), theirs.search_dense(unit_vectors(3, 9), 33)
        assert np.array_equal(a.scores, b.scores)


def test_any_course_of_changes_leaves_what_a_dict_would_hold(folder: Path):
    generator = random.Random(5)
    model = {document.id: document for document in numbered(30)}
    for step in range(60):
        kind = generator.choice(["add", "add", "delete", "compact"])
        if kind == "add":
            names = generator.sample(range(60), generator.randint(1, 6))
            documents = [
                Document(f"d{n}", f"title {n}", f"step{step} word{n}", {"step": step}) for n in names
            ]
            add(folder, documents)
            model |= {document.id: document for document in documents}
        elif kind == "delete" and model:
            names_gone = generator.sample(sorted(model), min(len(model), generator.randint(1, 5)))
            delete(folder, names_gone)
            for name in names_gone:
                del model[name]
        else:
            compact(folder)
        assert held(folder) == model
    assert verify(folder) == []
    with Index.open(folder) as index:
        for name, document in model.items():
            row = index.row_of(name)
            assert row is not None
            assert index.documents([row]) == [document]
            if document.text.startswith("step"):
                best = index.search_exact(vectors_of([document]), 1).rows[0, 0]
                assert index.documents([best]) == [document]


def test_filter_finds_the_best_of_those_that_match(folder: Path):
    add(folder, numbered(10, 30), unit_vectors(40)[30:])
    delete(folder, ["d35"])
    with Index.open(folder) as index:
        where = [parse_where("number>=20"), parse_where("number<37")]
        every = index.search_exact(unit_vectors(3, 4), 39)
        expected = [[row for row in line if 20 <= row < 37] for line in every.rows.tolist()]
        found = index.search_dense(unit_vectors(3, 4), 39, where)
        assert [line[:16] for line in found.rows.tolist()] == expected
        assert np.all(found.rows[:, 16:] == -1)
        words = index.search_lexical(["title"], 39, where).rows[0]
        assert sorted(words[words >= 0].tolist()) == sorted(expected[0])
        assert index.search_dense(unit_vectors(1), 5, [parse_where("number=1000")]).rows.tolist() == [
            [-1] * 5
        ]


def test_field_that_no_document_has_is_told(folder: Path):
    with (
        Index.open(folder) as index,
        pytest.raises(InputError, match="no document has a field 'nummer'; did you mean number"),
    ):
        index.search_lexical(["apple"], 3, [parse_where("nummer=3")])


def test_many_filters_are_answered_alike_again_and_again(folder: Path):
    with Index.open(folder) as index:
        for _ in range(2):
            for number in range(20):
                where = [parse_where(f"number={number}")]
                assert index.search_dense(unit_vectors(1), 1, where).rows.tolist() == [[number]]


def test_query_of_another_model_is_refused(folder: Path):
    with Index.open(folder) as index:
        assert index.search_dense(unit_vectors(1), 1, model=index.manifest.model_fingerprint).rows.shape == (
            1,
            1,
        )
        with pytest.raises(InputError, match="another model"):
            index.search_dense(unit_vectors(1), 1, model="ab" * 32)


def test_nothing_to_add_is_told_and_leaves_nothing(folder: Path):
    before = sorted(path.name for path in folder.iterdir())
    with (
        pytest.raises(InputError, match="no documents"),
        IndexBuilder.begin_adding(folder, source="s") as builder,
    ):
        builder.publish()
    assert sorted(path.name for path in folder.iterdir()) == before


@pytest.mark.parametrize("change", [lambda f: delete(f, ["a"]), compact, lambda f: add(f, numbered(1))])
def test_where_no_index_is_nothing_is_made(tmp_path: Path, change):
    (tmp_path / "empty").mkdir()
    for place in (tmp_path / "empty", tmp_path / "none"):
        with pytest.raises(InputError, match=r"not an index|no such folder"):
            change(place)
    assert list((tmp_path / "empty").iterdir()) == []
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("change", [lambda f: delete(f, ["d1"]), compact, lambda f: add(f, numbered(1))])
def test_second_writer_is_told_in_a_line(folder: Path, change):
    delete(folder, ["d9"])
    with WriterLock(folder), pytest.raises(BusyError, match="another writer is at work"):
        change(folder)


def test_second_writer_waits_as_long_as_it_was_told(folder: Path):
    import threading

    lock = WriterLock(folder)
    threading.Timer(0.2, lock.release).start()
    assert delete(folder, ["d1"], wait=30) == 1


def test_addition_that_was_killed_is_resumed_unless_the_index_changed(folder: Path):
    def begun(resume: bool) -> int:
        with IndexBuilder.begin_adding(folder, source="more", resume=resume) as builder:
            if not builder.count:
                builder.append(numbered(2, 40), unit_vectors(2))
            return builder.count

    assert begun(False) == 2
    with IndexBuilder.begin_adding(folder, source="more", resume=True) as builder:
        assert builder.count == 2
    with IndexBuilder.begin_adding(folder, source="other", resume=True) as builder:
        assert builder.count == 0
    assert begun(False) == 2
    delete(folder, ["d0"])
    with IndexBuilder.begin_adding(folder, source="more", resume=True) as builder:
        assert builder.count == 0


def test_full_disk_while_deleting_harms_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch):
    real = os.fsync

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="free some space"):
        delete(folder, ["d0"])
    monkeypatch.setattr(os, "fsync", real)
    assert len(held(folder)) == 30
    assert verify(folder) == []


@pytest.mark.parametrize("rows", [[3, 3], [-1, 4], [4, 30], [4]])
def test_damaged_list_of_deleted_rows_is_corruption(folder: Path, rows: list[int]):
    from index.errors import CorruptError
    from index.segment import DELETED, Segment

    delete(folder, ["d3", "d4"])
    generation = folder / "generation-000002"
    (generation / "segment-000001" / DELETED).write_bytes(np.array(rows, "<i4").tobytes())
    manifest = Manifest.from_json((generation / "manifest.json").read_bytes())
    with pytest.raises(CorruptError, match="damaged"):
        Segment(generation / "segment-000001", manifest.segments[0], DIMENSION, manifest.files)


def test_manifest_tells_what_was_deleted(folder: Path):
    delete(folder, ["d3"])
    content = json.loads((folder / "generation-000002" / "manifest.json").read_bytes())
    assert (content["documents"], content["segments"][0]["documents"], content["segments"][0]["deleted"]) == (
        29,
        30,
        1,
    )


@pytest.mark.parametrize("left", [[], ["model/config.json"], ["generation/manifest.json"]])
def test_what_cannot_be_resumed_goes_with_the_next_write(folder: Path, left: list[str]):
    (folder / ".staging").mkdir()
    for name in left:
        (folder / ".staging" / name).parent.mkdir()
        (folder / ".staging" / name).write_text("cut short")
    delete(folder, ["d0"])
    assert sorted(path.name for path in folder.iterdir()) == [".lock", "CURRENT", "generation-000002"]


def test_addition_that_waits_to_be_resumed_goes_with_a_deletion_after_which_it_cannot_be(folder: Path):
    with IndexBuilder.begin_adding(folder, source="more") as builder:
        builder.append(numbered(2, 40), unit_vectors(2))
    assert delete(folder, ["unknown"], missing_ok=True) == 0
    with IndexBuilder.begin_adding(folder, source="more", resume=True) as builder:
        assert builder.count == 2
    delete(folder, ["d0"])
    assert not (folder / ".staging").exists()


def test_build_that_waits_to_be_resumed_survives_a_deletion(folder: Path):
    model = folder.parent / "model"
    with IndexBuilder.begin(folder, model=model, dimension=DIMENSION, source="new") as builder:
        builder.append(numbered(2), unit_vectors(2))
    delete(folder, ["d0"])
    with IndexBuilder.begin(folder, model=model, dimension=DIMENSION, source="new", resume=True) as builder:
        assert builder.count == 2


def test_compact_removes_an_addition_that_cannot_be_resumed_and_no_other(folder: Path):
    def begun(resume: bool = False) -> int:
        with IndexBuilder.begin_adding(folder, source="more", resume=resume) as builder:
            if not resume:
                builder.append(numbered(2, 40), unit_vectors(2))
            return builder.count

    begun()
    compact(folder)
    assert begun(resume=True) == 2
    staging = folder / ".staging"
    kept = staging.rename(folder.parent / "kept")
    add(folder, numbered(1, 50))
    compact(folder)
    kept.rename(staging)
    compact(folder)  # there is nothing to merge
    assert not staging.exists()
    staging.mkdir()
    (staging / "staging.json").write_text("[]")
    compact(folder)
    assert not staging.exists()
    with IndexBuilder.begin(
        folder, model=folder.parent / "model", dimension=DIMENSION, source="new"
    ) as builder:
        builder.append(numbered(2), unit_vectors(2))
    compact(folder)
    assert (staging / "staging.json").exists()


def test_disk_that_fills_while_an_addition_begins_leaves_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
):
    import shutil

    def full(*arguments: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfileobj", full)
    with pytest.raises(StorageError):
        add(folder, numbered(1, 50))
    assert not (folder / ".staging").exists()
