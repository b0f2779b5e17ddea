"""Generations that are kept: no writer loses them, going back loses no document, and both survive a kill."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fruit_corpus import DIMENSION, Build, numbered, unit_vectors

from index.disk.carried_model import fingerprint
from index.disk.folder import Pointer, prepare, read_current, read_manifest
from index.disk.manifest import FileEntry, Manifest
from index.disk.previous import PREVIOUS, previous_json, read_previous
from index.disk.verify import verify
from index.documents.store import Document
from index.errors import CorruptError, InputError
from index.reader import Index
from index.writing.adopt import adopt
from index.writing.builder import IndexBuilder
from index.writing.compact import compact
from index.writing.delete import delete
from index.writing.publish import Origin, publish


@pytest.fixture
def folder(build: Build, tmp_path: Path) -> Path:
    build(tmp_path / "index", numbered(30))
    return tmp_path / "index"


@pytest.fixture
def learnt(folder: Path, model: Path, tmp_path: Path) -> Path:
    """The index after a second model took its place; the first generation is kept."""
    adopt_model(folder, model, tmp_path, "second")
    return folder


def adopt_model(folder: Path, model: Path, work: Path, name: str, keep: int = 2) -> str:
    """Publish the documents of the index by another model; returns the model's fingerprint."""
    other = work / f"model-{name}"
    shutil.copytree(model, other)
    (other / "name").write_text(name)
    with Index.open(folder) as live:
        documents = list(live.live_documents())
    with IndexBuilder.begin(
        work / f"candidate-{name}", model=other, dimension=DIMENSION, source="corpus"
    ) as builder:
        builder.append(documents, unit_vectors(len(documents), seed=len(name)))
        builder.publish()
    with prepare(folder), Index.open(work / f"candidate-{name}") as candidate:
        adopt(folder, candidate, (read_current(folder), *read_previous(folder, manifest_of(folder)))[:keep])
    shutil.rmtree(work / f"candidate-{name}")
    return fingerprint(other)


def previous(folder: Path) -> list[str]:
    return [pointer.generation for pointer in read_previous(folder, manifest_of(folder))]


def manifest_of(folder: Path) -> Manifest:
    return read_manifest(folder, read_current(folder))


def generations(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("generation-*"))


def held(folder: Path) -> dict[str, Document]:
    with Index.open(folder, checksums=True) as index:
        return {document.id: document for document in index.live_documents()}


def by_id(documents: Sequence[Document]) -> dict[str, Document]:
    return {document.id: document for document in documents}


def add(folder: Path, documents: Sequence[Document]) -> None:
    with IndexBuilder.begin_adding(folder, source="more") as builder:
        builder.append(documents, unit_vectors(len(documents), seed=9))
        builder.publish()


def roll_back(folder: Path) -> Manifest:
    with IndexBuilder.begin_rollback(folder) as builder:
        with Index.open(folder) as live:
            comparison = builder.compare()
            changed = comparison.changed(list(live.live_documents()))[builder.count :]
        builder.append(changed, unit_vectors(len(changed), seed=5))
        return builder.publish(unchanged=True, gone=comparison.gone())


def test_adopted_generation_has_the_other_model_and_shares_the_files(folder: Path, model: Path, tmp_path):
    before = manifest_of(folder)
    second = adopt_model(folder, model, tmp_path, "second")
    live = manifest_of(folder)
    assert (live.generation, live.model_fingerprint) == ("generation-000002", second)
    assert (live.documents, live.source, previous(folder)) == (30, before.source, [before.generation])
    assert held(folder) == by_id(numbered(30))
    assert verify(folder) == []


@pytest.mark.parametrize(
    "write",
    [
        lambda folder: add(folder, numbered(5, 30)),
        lambda folder: add(folder, numbered(30)),
        lambda folder: delete(folder, ["d1"]),
        lambda folder: (delete(folder, ["d1"]), compact(folder)),
        compact,
        lambda folder: IndexBuilder.begin_adding(folder, source="none").close(),
    ],
    ids=["add", "replace", "delete", "delete, compact", "compact", "nothing"],
)
def test_no_writer_removes_a_kept_generation(learnt: Path, write: Callable[[Path], object]):
    write(learnt)
    assert previous(learnt) == ["generation-000001"]
    assert generations(learnt) == ["generation-000001", manifest_of(learnt).generation]
    assert verify(learnt) == []


def test_only_as_many_generations_stay_as_are_kept(learnt: Path, model: Path, tmp_path: Path):
    for name in ("third", "fourth"):
        adopt_model(learnt, model, tmp_path, name, keep=2)
    assert previous(learnt) == ["generation-000003", "generation-000002"]
    assert generations(learnt) == ["generation-000002", "generation-000003", "generation-000004"]
    adopt_model(learnt, model, tmp_path, "fifth", keep=0)
    assert (previous(learnt), generations(learnt)) == ([], ["generation-000005"])


def test_an_index_that_is_built_anew_keeps_nothing(learnt: Path, build: Build):
    build(learnt, numbered(3))
    assert (previous(learnt), generations(learnt)) == ([], ["generation-000003"])


def test_a_program_that_knows_no_list_opens_the_index_and_sweeps(learnt: Path):
    """It publishes a generation without a list, as every version before this one does."""
    with prepare(learnt), Index.open(learnt) as live:
        publish(
            learnt,
            replace(Origin.of(live), previous=()),
            live,
            [],
            None,
            lambda stage, done, total: None,
        )
    assert (previous(learnt), generations(learnt)) == ([], ["generation-000003"])
    assert verify(learnt) == []


def test_verify_reads_the_kept_generations(learnt: Path):
    kept = learnt / "generation-000001"
    path = kept / "segment-000001" / "vectors.faiss"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    assert verify(learnt) == [
        f"{path}: differs from what was published; restore the file or build the index again"
    ]
    shutil.rmtree(kept)
    (problem,) = verify(learnt)
    assert problem.startswith(f"{kept}: cannot be opened")
    assert held(learnt) == by_id(numbered(30))


def test_rollback_gives_the_model_back_and_forgets_the_other(folder: Path, model: Path, tmp_path: Path):
    first = manifest_of(folder)
    adopt_model(folder, model, tmp_path, "second")
    manifest = roll_back(folder)
    assert (manifest.model_fingerprint, manifest.generation) == (first.model_fingerprint, "generation-000003")
    assert [name for name in first.files if first.files[name] != manifest.files[name]] == []
    assert (previous(folder), generations(folder)) == ([], ["generation-000003"])
    assert verify(folder) == []


def test_rollback_keeps_the_documents_of_today(learnt: Path):
    changed = Document("d5", "title 5", "changed")
    add(learnt, [*numbered(2, 30), changed])
    delete(learnt, ["d1", "d2"])
    today = held(learnt)
    first = manifest_of(learnt).model_fingerprint
    manifest = roll_back(learnt)
    assert manifest.model_fingerprint != first
    assert held(learnt) == today == by_id([*numbered(1), *numbered(2, 3), changed, *numbered(26, 6)])
    with Index.open(learnt) as index:  # what was not touched has the vector of the old model
        row = index.row_of("d7")
        np.testing.assert_allclose(
            index.search_exact(unit_vectors(30)[7:8], 1).scores, 1, atol=1e-3, err_msg=str(row)
        )
    assert verify(learnt) == []


def test_rollback_goes_back_one_generation_a_call(learnt: Path, model: Path, tmp_path: Path):
    models = [
        read_manifest(learnt, pointer).model_fingerprint
        for pointer in (read_current(learnt), *read_previous(learnt, manifest_of(learnt)))
    ]
    adopt_model(learnt, model, tmp_path, "third")
    assert [roll_back(learnt).model_fingerprint for _ in models] == models
    with pytest.raises(InputError, match="keeps no earlier generation to go back to"):
        roll_back(learnt)
    assert verify(learnt) == []


def test_rollback_forgets_what_its_generation_kept_and_the_index_no_longer_does(
    learnt: Path, model: Path, tmp_path: Path
):
    third, _ = (adopt_model(learnt, model, tmp_path, name) for name in ("third", "fourth"))
    assert roll_back(learnt).model_fingerprint == third  # whose list named the first generation, too
    assert previous(learnt) == ["generation-000002"]
    assert verify(learnt) == []


def test_rollback_to_a_damaged_generation_changes_nothing(learnt: Path):
    (learnt / "generation-000001" / "segment-000001" / "documents.sqlite").unlink()
    before = read_current(learnt)
    with pytest.raises(CorruptError, match="generation-000001"):
        roll_back(learnt)
    assert read_current(learnt) == before
    add(learnt, numbered(1, 30))  # the lock is free


A, B = (Pointer(f"generation-00000{n}", str(n) * 64) for n in (1, 2))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"[", "Expecting value"),
        (b"{}", "is not a list"),
        (b'[{"generation": "generation-000001"}]', "other keys"),
        (json.dumps([{"generation": "../x", "manifest_sha256": "0" * 64}]).encode(), "names no generation"),
        (json.dumps([{"generation": "generation-000001", "manifest_sha256": "0"}]).encode(), "no SHA-256"),
        (previous_json([A, A]), "twice"),
        (previous_json([A, B]), "twice"),  # B is live
    ],
)
def test_a_list_that_is_not_one_is_refused(tmp_path: Path, folder: Path, content: bytes, problem: str):
    (tmp_path / B.generation).mkdir()
    (tmp_path / B.generation / PREVIOUS).write_bytes(content)
    entry = FileEntry(hashlib.sha256(content).hexdigest(), len(content))
    manifest = manifest_of(folder)._replace(generation=B.generation, files={PREVIOUS: entry})
    with pytest.raises(CorruptError, match=problem):
        read_previous(tmp_path, manifest)


def test_a_changed_list_is_refused(learnt: Path):
    path = learnt / manifest_of(learnt).generation / PREVIOUS
    path.write_bytes(path.read_bytes().replace(b"0", b"1", 1))
    with pytest.raises(CorruptError, match="differs from what was published"):
        read_previous(learnt, manifest_of(learnt))


STRIDE = 7

# Forks a rollback for every seventh n, each on a copy of the index, and kills it at its nth step on the disk.
KILLER = """
import os, shutil, signal, sys
from pathlib import Path
sys.path[:0] = [sys.argv[1], sys.argv[1] + "/writing"]
from test_previous import roll_back
from index.documents.writer import DocumentWriter

root = Path(sys.argv[2])
left = 0

def dying(real):
    def call(*arguments, **options):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **options)
    return call

for step in range(1, 1000, int(sys.argv[3])):
    target = root / str(step)
    shutil.copytree(root / "old", target)
    child = os.fork()
    if child == 0:
        left = step
        for name in ("fsync", "replace", "rename", "mkdir", "unlink", "rmdir", "link"):
            setattr(os, name, dying(getattr(os, name)))
        DocumentWriter.append = dying(DocumentWriter.append)
        DocumentWriter.copy_to = dying(DocumentWriter.copy_to)
        roll_back(target)
        os._exit(0)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0:
        print(step)
        break
"""


def test_rollback_killed_anywhere_has_happened_or_not(learnt: Path, tmp_path: Path):
    add(learnt, numbered(2, 30))
    delete(learnt, ["d1"])
    today, models = held(learnt), {manifest_of(learnt).model_fingerprint}
    (tmp_path / "killed").mkdir()
    learnt.rename(tmp_path / "killed" / "old")
    arguments = [sys.executable, "-c", KILLER, str(Path(__file__).parents[1]), str(tmp_path / "killed")]
    arguments.append(str(STRIDE))
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
    steps = int(subprocess.run(arguments, stdout=subprocess.PIPE, check=True, env=environment).stdout)
    assert steps > 60
    for step in range(1, steps, STRIDE):
        target = tmp_path / "killed" / str(step)
        assert held(target) == today
        models.add(manifest_of(target).model_fingerprint)
        assert [problem for problem in verify(target) if "left over" not in problem] == []
        if previous(target):
            roll_back(target)
        compact(target)
        assert (held(target), verify(target), len(generations(target))) == (today, [], 1)
    assert len(models) == 2
