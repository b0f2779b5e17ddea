"""Index folders made by a stranger: links, pipes, second names and false manifests. Nothing outside changes,
and nobody waits.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fruit_corpus import Build, numbered, unit_vectors

from index.disk.files import storing, write_atomically
from index.disk.opening import create, make_folder, open_to_read, read_file
from index.disk.verify import verify
from index.disk.writer_lock import WriterLock
from index.documents.writer import DocumentWriter
from index.errors import CorruptError, InputError, PeepholeError, StorageError
from index.reader import Index
from index.writing.builder import IndexBuilder
from index.writing.compact import compact
from index.writing.delete import delete

SQLITE_MAGIC = bytes.fromhex("d9d505f920a163d7")
LIVE = "generation-000001"
SEGMENT = f"{LIVE}/segment-000001"


@pytest.fixture
def folder(build: Build, tmp_path: Path) -> Path:
    build(tmp_path / "index", numbered(30))
    return tmp_path / "index"


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """Somebody's folder outside; `unharmed` looks at it afterwards."""
    folder = tmp_path / "victim"
    (folder / "generation").mkdir(parents=True)
    (folder / "generation" / "diary.txt").write_text("dear diary")
    (folder / "keys").write_text("secret")
    return folder


def unharmed(victim: Path) -> bool:
    files = sorted(path.relative_to(victim).as_posix() for path in victim.rglob("*") if path.is_file())
    return files == ["generation/diary.txt", "keys"] and (victim / "keys").read_text() == "secret"


def add(folder: Path, resume: bool = False) -> None:
    with IndexBuilder.begin_adding(folder, source="more", resume=resume) as builder:
        builder.append(numbered(2, 90)[builder.count :], unit_vectors(2)[builder.count :])
        builder.publish()


WRITES = {
    "add": add,
    "delete": lambda folder: delete(folder, ["d3"]),
    "compact": lambda folder: compact(folder),
}


def rewrite(folder: Path, change: dict[str, Any]) -> None:
    """Change the manifest, and sign it anew as a stranger can; None takes a file from the list."""
    path = folder / LIVE / "manifest.json"
    content = json.loads(path.read_bytes())
    for keys, value in change.items():
        *parents, last = keys.split("|")
        place = content
        for key in parents:
            place = place[int(key) if isinstance(place, list) else key]
        if value is None:
            del place[last]
        else:
            place[last] = value
    sign(folder, json.dumps(content).encode())


def sign(folder: Path, manifest: bytes) -> None:
    (folder / LIVE / "manifest.json").write_bytes(manifest)
    (folder / "CURRENT").write_text(f"{LIVE} {hashlib.sha256(manifest).hexdigest()}\n")


@pytest.mark.parametrize("verb", WRITES)
def test_lock_that_is_a_link_is_not_followed(folder: Path, victim: Path, verb: str):
    (folder / ".lock").unlink()
    (folder / ".lock").symlink_to(victim / "keys")
    with pytest.raises(InputError, match=r"\.lock: a link, or of another kind .*; remove it"):
        WRITES[verb](folder)
    assert unharmed(victim)


@pytest.mark.parametrize("verb", WRITES)
def test_lock_with_a_second_name_is_taken_and_not_written(folder: Path, victim: Path, verb: str):
    (victim / "keys").write_text("12345")  # as a lock could hold
    (folder / ".lock").unlink()
    os.link(victim / "keys", folder / ".lock")
    WRITES[verb](folder)
    assert (victim / "keys").read_text() == "12345"


def test_file_called_lock_that_is_none_stays_as_it_is(tmp_path: Path):
    (tmp_path / ".lock").write_text("a stranger's")
    with pytest.raises(InputError, match=r"\.lock: holds no process number, so it is no lock"):
        WriterLock(tmp_path)
    assert (tmp_path / ".lock").read_text() == "a stranger's"


@pytest.mark.parametrize("verb", WRITES)
def test_staging_that_is_a_link_is_neither_emptied_nor_filled(folder: Path, victim: Path, verb: str):
    (folder / ".staging").symlink_to(victim)
    with pytest.raises(InputError, match=r"\.staging: a link"):
        WRITES[verb](folder)
    assert unharmed(victim)


def test_draft_that_is_a_link_is_removed_and_not_what_it_names(folder: Path, victim: Path):
    (folder / ".staging").mkdir()
    (folder / ".staging" / "generation").symlink_to(victim)
    delete(folder, ["d3"])
    assert unharmed(victim)
    assert verify(folder) == []


@pytest.mark.parametrize("name", [".CURRENT.123.tmp", "generation-000007", "CURRENT"])
def test_link_under_a_name_that_an_index_uses_stops_a_write(folder: Path, victim: Path, name: str):
    if name == "CURRENT":
        (folder / name).rename(victim.parent / "moved")
        (folder / name).symlink_to(victim.parent / "moved")
    else:
        (folder / name).symlink_to(victim if "gen" in name else victim / "keys")
    with pytest.raises(PeepholeError, match=r"a link|not a regular"):
        delete(folder, ["d3"])
    assert unharmed(victim)
    assert (folder / name).is_symlink()
    assert any(name in problem for problem in verify(folder))


def test_temporary_file_has_a_name_that_nobody_can_take_beforehand(tmp_path: Path, monkeypatch):
    names = []
    real = Path.replace
    monkeypatch.setattr(Path, "replace", lambda self, to: names.append(self.name) or real(self, to))
    for _ in range(2):
        write_atomically(tmp_path / "file", b"content")
    assert len(set(names)) == 2
    assert all(name.startswith(".file.") and name.endswith(".tmp") for name in names)
    assert not any(str(os.getpid()) == name.split(".")[2] for name in names)


@pytest.mark.parametrize(
    "name",
    ["vectors.f16", "passages.i32", "documents.sqlite", "documents.sqlite-journal", "staging.json", "model"],
)
@pytest.mark.parametrize("kind", ["link", "second name", "pipe"])
def test_resume_starts_anew_where_a_staged_file_is_not_its_own(
    folder: Path, victim: Path, name: str, kind: str
):
    with IndexBuilder.begin_adding(folder, source="more") as builder:
        builder.append(numbered(1, 90), unit_vectors(1))
    path = folder / ".staging" / name
    target = victim.parent / "target"
    if path.exists():
        path.rename(target)
    else:
        target.write_bytes(b"")
    if kind == "second name" and not target.is_dir():
        os.link(target, path)
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(target)
    before = {file: file.read_bytes() for file in [target, *target.rglob("*")] if file.is_file()}
    if kind == "second name" and name == "staging.json":
        add(folder, resume=True)  # it is only read
    else:
        with IndexBuilder.begin_adding(folder, source="more", resume=True) as builder:
            assert builder.count == 0
        add(folder)
    assert {file: file.read_bytes() for file in [target, *target.rglob("*")] if file.is_file()} == before
    assert verify(folder) == []


def test_journal_that_names_a_file_elsewhere_does_not_have_it_deleted(tmp_path: Path, victim: Path):
    path = tmp_path / "documents.sqlite"
    DocumentWriter(path).close()
    name = str(victim / "keys").encode()
    end = name + len(name).to_bytes(4, "big") + sum(name).to_bytes(4, "big") + SQLITE_MAGIC
    (tmp_path / "documents.sqlite-journal").write_bytes(b"\x01" * 512 + bytes(4) + end)
    with pytest.raises(CorruptError, match="belongs to another database"):
        DocumentWriter(path)
    assert unharmed(victim)


@pytest.mark.parametrize("name", ["segment-000001", "segment-000001/lexical", "model"])
def test_folder_of_a_generation_that_is_a_link_is_no_part_of_an_index(
    folder: Path, tmp_path: Path, name: str
):
    (folder / LIVE / name).rename(tmp_path / "moved")
    (folder / LIVE / name).symlink_to(tmp_path / "moved")
    with pytest.raises(CorruptError, match=f"{name}: not a folder"):
        Index.open(folder)
    assert any(f"{name}: not a folder" in problem for problem in verify(folder))


@pytest.mark.parametrize("name", ["CURRENT", LIVE, f"{LIVE}/manifest.json"])
def test_verify_tells_of_a_link_to_what_would_be_sound(folder: Path, tmp_path: Path, name: str):
    (folder / name).rename(tmp_path / "moved")
    (folder / name).symlink_to(tmp_path / "moved")
    assert any(name in problem for problem in verify(folder))
    with pytest.raises(CorruptError):
        Index.open(folder)


@pytest.mark.parametrize(
    "name", ["CURRENT", f"{LIVE}/manifest.json", f"{SEGMENT}/vectors.faiss", f"{SEGMENT}/documents.sqlite"]
)
def test_pipe_in_place_of_a_file_is_told_at_once(folder: Path, name: str):
    (folder / name).unlink()
    os.mkfifo(folder / name)
    for read in (Index.open, delete_one):
        with pytest.raises(PeepholeError, match=f"{name}.*not a regular file"):
            read(folder)
    assert any(name in problem and "not a regular file" in problem for problem in verify(folder))


def delete_one(folder: Path) -> None:
    delete(folder, ["d3"])


@pytest.mark.parametrize("name", [".lock", ".CURRENT.1.tmp", "generation-000009"])
def test_pipe_under_a_name_of_an_index_stops_a_write_and_no_reader(folder: Path, name: str):
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    assert verify(folder) == [f"{folder / name}: not part of the index; remove it"]
    with pytest.raises(InputError, match=f"{name}: a link, or of another kind"):
        delete(folder, ["d3"])
    Index.open(folder, checksums=True).close()


def test_pipe_that_nothing_names_is_not_carried_into_the_next_generation(folder: Path):
    for place in (SEGMENT, f"{LIVE}/model"):
        os.mkfifo(folder / place / "pipe")
    delete(folder, ["d3"])
    assert verify(folder) == []


@pytest.mark.parametrize("deleted", [False, True])
def test_file_that_the_manifest_does_not_name_is_not_read(folder: Path, deleted: bool):
    if deleted:
        (folder / SEGMENT / "deleted.i32").write_bytes(np.array([4], "<i4").tobytes())
        rewrite(folder, {"segments|0|deleted": 1, "documents": 29})
        missing = "deleted.i32"
    else:
        missing = "lexical/rows.i32"
        rewrite(folder, {f"files|segment-000001/{missing}": None})
    with pytest.raises(CorruptError, match=f"{missing}: the manifest does not name it"):
        Index.open(folder, checksums=True)


FALSE_MANIFESTS = {
    "documents|": ({"documents": 2**80, "segments|0|documents": 2**80}, "documents"),
    "segment": ({"segments|0|documents": 2**40, "documents": 2**40}, "documents"),
    "vectors": ({"segments|0|vectors": 2**80}, "vectors of segment-000001"),
    "no documents": ({"segments|0|documents": 0, "documents": 0}, "documents of segment-000001"),
    "dimension": ({"dimension": 2**80}, "dimension"),
    "no dimension": ({"dimension": 0}, "dimension"),
    "bytes": ({"files|segment-000001/vectors.faiss|bytes": 2**80}, "bytes"),
    "words": ({"segments|0|words": 2**80}, "words"),
    "recall as text": ({"segments|0|parameters": {"recall@10": "high"}}, "recall@10"),
    "parts as text": ({"segments|0|faiss": "PQ4x4fs", "segments|0|parameters": {"parts": "4"}}, "parts"),
    "parts": ({"segments|0|faiss": "PQ", "segments|0|parameters": {"parts": 2**80, "depth": 1}}, "parts"),
    "depth": ({"segments|0|faiss": "PQ", "segments|0|parameters": {"parts": 4, "depth": 2**80}}, "depth"),
    "recall": ({"recall": {"recall@10": 10**400}}, "recall"),
    "goal": ({"goal": {"recall": "all"}}, "recall"),
    "name": ({"files|\ud800": {"sha256": "0" * 64, "bytes": 1}}, "no path inside the index"),
}


@pytest.mark.parametrize(("change", "named"), FALSE_MANIFESTS.values(), ids=FALSE_MANIFESTS)
def test_false_value_of_a_manifest_is_named(folder: Path, change: dict[str, Any], named: str):
    rewrite(folder, change)
    for read in (Index.open, add, delete_one):
        with pytest.raises(CorruptError, match=rf"manifest\.json: .*{named}.*restore the file") as caught:
            read(folder)
        assert "\n" not in str(caught.value)


def test_segment_that_occurs_twice_is_refused(folder: Path):
    segments = json.loads((folder / LIVE / "manifest.json").read_bytes())["segments"]
    rewrite(folder, {"segments": segments * 2, "documents": 60})
    with pytest.raises(CorruptError, match="segments holds a name twice"):
        Index.open(folder)


def test_infinite_number_is_refused_before_a_write_meets_it(folder: Path):
    manifest = (folder / LIVE / "manifest.json").read_bytes()
    sign(folder, manifest.replace(b'"goal": {', b'"goal": {"limit": 1e999, '))
    with pytest.raises(CorruptError, match="goal holds too large a number under 'limit'"):
        add(folder)


NESTED = {"lists": b"[" * 100_000, "objects": b'{"a":' * 100_000}


@pytest.mark.parametrize("content", NESTED.values(), ids=NESTED)
def test_staged_plan_that_nests_without_end_is_not_resumed(folder: Path, content: bytes):
    (folder / ".staging").mkdir()
    (folder / ".staging" / "staging.json").write_bytes(content)
    add(folder, resume=True)
    assert verify(folder) == []
    with Index.open(folder) as index:
        assert index.count == 32


@pytest.mark.parametrize("content", NESTED.values(), ids=NESTED)
def test_manifest_that_nests_without_end_is_refused(folder: Path, content: bytes):
    sign(folder, content)
    with pytest.raises(CorruptError, match=r"manifest\.json: .*(recursion|overflow).*; restore the file"):
        Index.open(folder)


def test_index_in_a_folder_whose_name_is_not_utf8(build: Build, tmp_path: Path):
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9 \xff"))
    build(folder, numbered(30))
    add(folder)
    delete(folder, ["d3"])
    compact(folder)
    assert verify(folder) == []
    with Index.open(folder, checksums=True) as index:
        assert (index.count, index.row_of("d91") is not None, index.row_of("d3")) == (31, True, None)


@contextmanager
def few_files(left: int) -> Iterator[None]:
    """Let this process open so many files more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = {int(path.name) for path in Path("/proc/self/fd").iterdir()}
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(used) + left, hard))
    held = []
    try:
        with suppress(OSError):  # the gaps between open files
            while len(held) < max(used):
                handle = os.dup(0)
                held.append(handle)
                if handle > max(used):
                    break
        for handle in held[-1:] if held and held[-1] > max(used) else []:
            os.close(handle)
            held.remove(handle)
        yield
    finally:
        for handle in held:
            os.close(handle)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_too_many_open_files_are_no_damage(folder: Path):
    failures = 0
    for left in range(1, 20):
        try:
            with few_files(left), Index.open(folder):
                break
        except PeepholeError as error:
            failures += 1
            assert isinstance(error, StorageError)
            assert "Too many open files" in str(error)
            assert "ulimit -n" in str(error)
    else:
        pytest.fail("never opened")
    assert failures > 3


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_file_system_without_locks_is_told_with_a_remedy(
    folder: Path, number: int, monkeypatch: pytest.MonkeyPatch
):
    def refuse(handle: int, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(StorageError, match=r"\.lock: cannot be locked \(.*\); use a disk .* locks"):
        delete(folder, ["d3"])


def test_new_file_is_never_one_that_is_there(tmp_path: Path, victim: Path):
    (tmp_path / "link").symlink_to(victim / "keys")
    with pytest.raises(StorageError, match="File exists"), storing(tmp_path / "link"):
        create(tmp_path / "link")
    with pytest.raises(StorageError, match="link: not a folder, so nothing is written there; remove it"):
        (tmp_path / "link").unlink()
        (tmp_path / "link").symlink_to(victim)
        with storing(tmp_path):
            make_folder(tmp_path / "link")
    assert unharmed(victim)


def test_link_is_read_only_where_links_are_expected(tmp_path: Path, victim: Path):
    (tmp_path / "link").symlink_to(victim / "keys")
    assert read_file(tmp_path / "link", links=True) == b"secret"
    with pytest.raises(OSError, match="not a regular file"):
        open_to_read(tmp_path / "link")
    with pytest.raises(OSError, match="not a regular file"):
        open_to_read(victim)
