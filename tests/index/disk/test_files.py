import errno
import os
from pathlib import Path

import pytest

from index.disk.files import (
    allocate,
    clear_away,
    is_regular,
    list_files,
    storing,
    sync_folder,
    write_atomically,
)
from index.errors import StorageError


def test_write_replaces_the_whole_file_and_leaves_nothing_else(tmp_path: Path):
    write_atomically(tmp_path / "file", b"a long first content")
    write_atomically(tmp_path / "file", b"second")
    assert (tmp_path / "file").read_bytes() == b"second"
    assert list_files(tmp_path) == ["file"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_failed_write_keeps_the_old_file(tmp_path: Path, call: str, monkeypatch: pytest.MonkeyPatch):
    def fail(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    write_atomically(tmp_path / "file", b"old")
    monkeypatch.setattr(os, call, fail)
    with pytest.raises(StorageError, match=r"file: cannot be written \(No space left on device\); free some"):
        write_atomically(tmp_path / "file", b"new")
    assert list_files(tmp_path) == ["file"]
    assert (tmp_path / "file").read_bytes() == b"old"


def test_write_into_a_missing_folder_says_so(tmp_path: Path):
    with pytest.raises(StorageError, match="No such file or directory"):
        write_atomically(tmp_path / "none" / "file", b"")


def test_error_without_a_number_is_told_in_its_own_words(tmp_path: Path):
    with pytest.raises(StorageError, match="strange"), storing(tmp_path):
        raise OSError("strange")


@pytest.mark.parametrize("kind", ["asked for", "refused", "unknown"])
def test_room_is_made_where_the_system_cannot_be_asked_for_it_too(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
):
    def refuse(*arguments: object) -> None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    if kind == "refused":
        monkeypatch.setattr(os, "posix_fallocate", refuse)
    elif kind == "unknown":  # as on macOS
        monkeypatch.delattr(os, "posix_fallocate", raising=False)
    with (tmp_path / "file").open("w+b") as file:
        for size in (3, 3 << 20):
            allocate(file.fileno(), size)
            os.pwrite(file.fileno(), b"abc", 0)  # which stays when there is room already
            allocate(file.fileno(), size)
        assert os.fstat(file.fileno()).st_blocks * 512 >= 3 << 20
        assert file.read() == b"abc" + bytes((3 << 20) - 3)


def test_a_disk_that_syncs_no_folders_is_written_and_other_failures_are_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    error = OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    def fail(handle: int) -> None:
        raise error

    monkeypatch.setattr(os, "fsync", fail)
    sync_folder(tmp_path)
    error.errno = errno.EIO
    with pytest.raises(OSError, match="Invalid"):
        sync_folder(tmp_path)


def test_what_cannot_be_removed_now_is_left_without_an_error(tmp_path: Path):
    clear_away(tmp_path / ("x" * 300))  # whose kind the system cannot even tell
    (tmp_path / "folder" / "inner").mkdir(parents=True)
    clear_away(tmp_path / "folder")
    assert not list(tmp_path.iterdir())


def test_listing_names_links_and_what_lies_in_folders(tmp_path: Path):
    (tmp_path / "b" / "c").mkdir(parents=True)
    (tmp_path / "b" / "c" / "file").touch()
    (tmp_path / "a").symlink_to(tmp_path / "b")
    assert list_files(tmp_path) == ["a", "b/c/file"]
    assert [is_regular(tmp_path / name) for name in ("a", "b/c/file")] == [False, True]
