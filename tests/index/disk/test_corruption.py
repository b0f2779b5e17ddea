"""Damage of every kind to every file of an index: found by `verify`, refused with checksums, fatal never."""

import errno
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fruit_corpus import DIMENSION, Build, numbered

from index.disk.files import list_files
from index.disk.folder import stray, sweep
from index.disk.verify import superseded, verify
from index.errors import CorruptError, FormatVersionError, InputError, PeepholeError, StorageError
from index.reader import Index

FILES = [
    "CURRENT",
    "generation-000001/manifest.json",
    "generation-000001/model/config.json",
    "generation-000001/model/parts/weights.bin",
    "generation-000001/segment-000001/documents.sqlite",
    "generation-000001/segment-000001/lexical/rows.i32",
    "generation-000001/segment-000001/lexical/starts.i64",
    "generation-000001/segment-000001/lexical/term_starts.i64",
    "generation-000001/segment-000001/lexical/terms.utf8",
    "generation-000001/segment-000001/lexical/weights.f32",
    "generation-000001/segment-000001/vectors.faiss",
]

LEFT_OVER = ": left over from an earlier write; the next one removes it"


@pytest.fixture
def folder(build: Build, tmp_path: Path) -> Path:
    build(tmp_path / "index", numbered(40))
    return tmp_path / "index"


def flip(path: Path, at: int, mask: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ mask]))


def test_files_are_those_that_the_tests_damage(folder: Path):
    assert [name for name in list_files(folder) if name != ".lock"] == FILES


@pytest.mark.parametrize("name", [*FILES, "generation-000001"])
def test_what_may_not_be_read_is_not_called_damaged(folder: Path, name: str, monkeypatch: pytest.MonkeyPatch):
    def refuse(path, *rest, **options):
        if Path(path) == folder / name:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path, *rest, **options)

    real = os.open
    monkeypatch.setattr(os, "open", refuse)
    problem = rf"{name}: cannot be (opened|read) \(Permission denied\); check its permissions$"
    with pytest.raises(StorageError, match=problem):
        Index.open(folder, checksums=True)


@pytest.mark.parametrize("name", FILES)
def test_flipped_byte_is_named_and_refused_with_checksums(folder: Path, name: str):
    path = folder / name
    for at in (0, path.stat().st_size // 2, path.stat().st_size - 1):
        flip(path, at, 1)
        # A pointer that names another checksum makes the manifest the one that differs.
        assert any(name in problem or name == "CURRENT" for problem in verify(folder))
        with pytest.raises(CorruptError):
            Index.open(folder, checksums=True)
        flip(path, at, 1)
    assert verify(folder) == []


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("change", [-1, 1])
def test_file_of_another_size_is_refused_even_without_checksums(folder: Path, name: str, change: int):
    path = folder / name
    data = path.read_bytes()
    path.write_bytes(data[:-1] if change < 0 else data + b"\0")
    assert any(name in problem for problem in verify(folder))
    with pytest.raises(CorruptError):
        Index.open(folder)


@pytest.mark.parametrize("name", FILES[1:])
def test_missing_file_is_refused_even_without_checksums(folder: Path, name: str):
    (folder / name).unlink()
    assert any(name in problem and "No such file" in problem for problem in verify(folder))
    with pytest.raises(CorruptError):
        Index.open(folder)


@pytest.mark.parametrize("name", FILES[2:])
def test_link_in_place_of_a_file_is_refused(folder: Path, name: str):
    path = folder / name
    path.rename(folder.parent / "elsewhere")
    path.symlink_to(folder.parent / "elsewhere")
    assert any(name in problem and "not a regular file" in problem for problem in verify(folder))
    with pytest.raises(CorruptError, match="not a regular file"):
        Index.open(folder)


def test_missing_generation_is_told(folder: Path):
    shutil.rmtree(folder / "generation-000001")
    assert len(verify(folder)) == 1
    with pytest.raises(CorruptError, match="cannot be opened"):
        Index.open(folder)


@pytest.mark.parametrize(
    "name", ["note.txt", "generation-000001/core", "generation-000001/model/extra/a.bin"]
)
def test_file_that_nothing_names_is_reported(folder: Path, name: str):
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).touch()
    assert verify(folder) == [f"{folder / name}: not part of the index; remove it"]
    Index.open(folder, checksums=True).close()


def test_folder_that_cannot_be_listed_is_a_problem_of_one_line(folder: Path, monkeypatch: pytest.MonkeyPatch):
    place = folder / "generation-000001" / "model"

    def refuse(_: Path) -> list[str]:
        raise PermissionError(13, "Permission denied", str(place))

    monkeypatch.setattr("index.disk.verify.list_files", refuse)
    assert verify(folder) == [f"{place}: cannot be read (Permission denied); check its permissions"]


def test_index_folder_that_cannot_be_listed_is_a_problem_of_one_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch
):
    def refuse(place: Path) -> list[str]:
        raise PermissionError(13, "Permission denied", str(place))

    monkeypatch.setattr("index.disk.folder._names", refuse)
    assert verify(folder) == [f"{folder}: cannot be listed (Permission denied); check its permissions"]
    assert superseded(folder) == []


def test_leftover_that_a_writer_removes_meanwhile_is_none(folder: Path, monkeypatch: pytest.MonkeyPatch):
    names = ["CURRENT", "generation-000001", "generation-000007"]
    monkeypatch.setattr("index.disk.folder._names", lambda _: names)
    assert (verify(folder), superseded(folder)) == ([], [])


def test_leftover_that_cannot_be_removed_does_not_keep_the_others(
    folder: Path, monkeypatch: pytest.MonkeyPatch
):
    for number in (2, 3):
        (folder / f"generation-{number:06}").mkdir()

    rmdir = os.rmdir

    def refuse_one(path: str | Path, **options: Any) -> None:
        if Path(path).name == "generation-000002":
            raise PermissionError
        rmdir(path, **options)

    monkeypatch.setattr(os, "rmdir", refuse_one)
    sweep(folder, {"generation-000001"})
    assert [path.name for path in stray(folder, {"generation-000001"})] == ["generation-000002"]


@pytest.fixture
def superseded_generation(folder: Path, build: Build) -> Path:
    """The first generation of the folder, which a reader held while the second was published."""
    with Index.open(folder):
        build(folder, numbered(41))
    return folder / "generation-000001"


def test_copy_of_an_index_that_was_written_to_while_it_was_read_is_sound(
    folder: Path, superseded_generation: Path, tmp_path: Path
):
    copy = tmp_path / "copy"
    with Index.open(folder):
        shutil.copytree(folder, copy)
    for index in (folder, copy):
        assert (verify(index), superseded(index)) == ([], [index / superseded_generation.name])
    Index.open(copy, checksums=True).close()


@pytest.mark.parametrize("name", FILES[1:])
@pytest.mark.parametrize("removed", [True, False])
def test_earlier_generation_that_is_not_whole_is_reported(
    folder: Path, superseded_generation: Path, name: str, removed: bool
):
    (folder / name).unlink()
    if not removed:
        (folder / name).touch()
    assert verify(folder) == [f"{superseded_generation}{LEFT_OVER}"]
    assert superseded(folder) == []


def test_whole_generation_that_never_was_live_is_reported(folder: Path, build: Build):
    pointer = (folder / "CURRENT").read_bytes()
    with Index.open(folder):
        build(folder, numbered(41))
    (folder / "CURRENT").write_bytes(pointer)  # a write that was killed before it replaced the pointer
    assert verify(folder) == [f"{folder / 'generation-000002'}{LEFT_OVER}"]
    assert superseded(folder) == []


def test_generation_that_is_published_while_others_are_read_is_no_problem(
    folder: Path, build: Build, monkeypatch: pytest.MonkeyPatch
):
    def publish_and_look(folder: Path, used: set[str]) -> list[Path]:
        with Index.open(folder):
            build(folder, numbered(41))
        return stray(folder, used)

    monkeypatch.setattr("index.disk.verify.stray", publish_and_look)
    assert verify(folder) == []


@pytest.mark.parametrize("name", ["generation-000000", "generation-000007", ".CURRENT.0123456789abcdef.tmp"])
def test_what_an_interrupted_write_left_is_reported(folder: Path, name: str):
    (folder / name).mkdir() if name.startswith("generation") else (folder / name).touch()
    assert verify(folder) == [f"{folder / name}{LEFT_OVER}"]


def test_unknown_format_version_is_reported(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("index.disk.manifest.FORMATS", (1, 6))
    assert "format version 5, this program reads 1 and 6" in verify(folder)[0]
    with pytest.raises(FormatVersionError):
        Index.open(folder)


def test_random_damage_is_always_found(folder: Path, tmp_path: Path):
    """Flips, truncations and swaps, 150 of them: `verify` sees each, and none opens with checksums."""
    generator = random.Random(0)
    for number in range(150):
        copy = tmp_path / f"copy{number}"
        shutil.copytree(folder, copy)
        path = copy / generator.choice(FILES)
        kind = generator.choice(["flip", "truncate", "swap"])
        if kind == "flip":
            flip(path, generator.randrange(path.stat().st_size), 1 << generator.randrange(8))
        elif kind == "truncate":
            path.write_bytes(path.read_bytes()[: generator.randrange(path.stat().st_size)])
        else:
            other = copy / generator.choice([name for name in FILES if copy / name != path])
            ours, theirs = path.read_bytes(), other.read_bytes()
            path.write_bytes(theirs)
            other.write_bytes(ours)
        assert verify(copy) != []
        with pytest.raises((CorruptError, FormatVersionError)):
            Index.open(copy, checksums=True)


DAMAGED_SEARCH = f"""
import random, sys
from pathlib import Path
import numpy as np
from index.errors import PeepholeError
from index.reader import Index
folder, files = Path(sys.argv[1]), sys.argv[2:]
generator = random.Random(1)
for _ in range(300):
    path = folder / generator.choice(files)
    data = path.read_bytes()
    damaged = bytearray(data)
    damaged[generator.randrange(len(data))] ^= 1 << generator.randrange(8)
    path.write_bytes(damaged)
    try:
        with Index.open(folder) as index:
            index.search_dense(np.ones((1, {DIMENSION}), np.float32), 5)
            index.search_lexical(["apple banana number7"], 5)
            index.documents(range(index.count))
            index.row_of("d7")
    except PeepholeError:
        pass
    path.write_bytes(data)
print("alive")
"""


def test_no_flipped_byte_ends_the_process_or_raises_anything_else(folder: Path):
    arguments = [sys.executable, "-c", DAMAGED_SEARCH, str(folder), *FILES]
    found = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert (found.stdout, found.returncode) == ("alive\n", 0), found.stderr


def test_errors_are_one_line_with_a_remedy(folder: Path):
    flip(folder / FILES[-1], 100, 1)
    with pytest.raises(PeepholeError, match=r"; restore the file or build the index again$") as caught:
        Index.open(folder, checksums=True)
    assert "\n" not in str(caught.value)


def test_unreadable_pointer_is_told(folder: Path):
    (folder / "CURRENT").unlink()
    (folder / "CURRENT").mkdir()
    with pytest.raises(PeepholeError, match="cannot be read"):
        Index.open(folder)
    assert "cannot be read" in verify(folder)[0]
    (folder / "CURRENT").rmdir()
    with pytest.raises(InputError):
        verify(folder)


def test_sound_index_answers_the_same_with_and_without_checksums(folder: Path):
    with Index.open(folder) as quick, Index.open(folder, checksums=True) as careful:
        query = np.ones((1, DIMENSION), np.float32)
        assert np.array_equal(quick.search_dense(query, 9).rows, careful.search_dense(query, 9).rows)
