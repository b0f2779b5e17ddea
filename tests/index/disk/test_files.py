import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from index.disk.files import WriterLock, is_regular, list_files, storing, write_atomically
from index.errors import BusyError, StorageError


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


def test_listing_names_links_and_what_lies_in_folders(tmp_path: Path):
    (tmp_path / "b" / "c").mkdir(parents=True)
    (tmp_path / "b" / "c" / "file").touch()
    (tmp_path / "a").symlink_to(tmp_path / "b")
    assert list_files(tmp_path) == ["a", "b/c/file"]
    assert [is_regular(tmp_path / name) for name in ("a", "b/c/file")] == [False, True]


def test_second_lock_in_the_same_process_is_busy_until_the_first_is_released(tmp_path: Path):
    with WriterLock(tmp_path) as lock:
        with pytest.raises(BusyError, match=f"process {os.getpid()}"):
            WriterLock(tmp_path)
        lock.release()
        WriterLock(tmp_path).release()


def test_lock_keeps_other_processes_out_and_dies_with_its_own(tmp_path: Path):
    script = (
        "import sys, time; from pathlib import Path; from index.disk.files import WriterLock;"
        "lock = WriterLock(Path(sys.argv[1])); print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(BusyError, match=f"process {other.pid}"):
            WriterLock(tmp_path)
        other.kill()
        other.wait()
    WriterLock(tmp_path).release()


def test_lock_in_a_missing_folder_cannot_be_taken(tmp_path: Path):
    with pytest.raises(StorageError):
        WriterLock(tmp_path / "none")
