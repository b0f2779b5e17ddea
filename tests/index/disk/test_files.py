import errno
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from index.disk.files import (
    WriterLock,
    allocate,
    clear_away,
    is_regular,
    list_files,
    storing,
    sync_folder,
    write_atomically,
)
from index.errors import BusyError, InputError, StorageError


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


def test_second_lock_in_the_same_process_is_busy_until_the_first_is_released(tmp_path: Path):
    with WriterLock(tmp_path) as lock:
        with pytest.raises(BusyError, match=f"process {os.getpid()}"):
            WriterLock(tmp_path)
        lock.release()
        assert (tmp_path / ".lock").read_bytes() == b""  # nobody is named who does not hold it
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


def test_lock_that_was_removed_by_its_holder_is_not_taken_twice(tmp_path: Path):
    """One waits for a lock whose file goes: it must take the new file, which a third may hold."""
    first = WriterLock(tmp_path)
    waiting = threading.Event()
    outcome: list[object] = []

    def wait() -> None:
        try:
            waiting.set()
            outcome.append(WriterLock(tmp_path, wait=1))
        except BusyError as error:
            outcome.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    waiting.wait()
    time.sleep(0.2)  # by now it has opened the file of the first
    (tmp_path / ".lock").unlink()
    third = WriterLock(tmp_path)
    first.withdraw()
    thread.join()
    assert isinstance(outcome[0], BusyError)
    third.release()
    assert (tmp_path / ".lock").exists()


LOCKER = """
import random, sys, time
from pathlib import Path
from index.disk.files import WriterLock
from index.errors import StorageError
folder, held = Path(sys.argv[1]), Path(sys.argv[2])
generator = random.Random(int(sys.argv[3]))
taken = 0
print("ready", flush=True)
sys.stdin.read()
while taken < 40:
    try:
        lock = WriterLock(folder, wait=60, make=True)
    except StorageError:  # the folder went before the file was opened
        continue
    held.touch(exist_ok=False)  # fails if another has the lock, too
    time.sleep(generator.random() / 100)
    held.unlink()
    lock.withdraw()
    taken += 1
"""


def test_processes_that_remove_their_locks_never_hold_one_at_once(tmp_path: Path):
    arguments = [sys.executable, "-c", LOCKER, str(tmp_path / "folder"), str(tmp_path / "held")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    lockers = [subprocess.Popen([*arguments, str(seed)], **pipes) for seed in range(4)]
    for locker in lockers:
        assert locker.stdout is not None
        assert locker.stdout.readline() == b"ready\n"
    for locker in lockers:
        assert locker.stdin is not None
        locker.stdin.close()
        locker.stdin = None
    assert [(locker.communicate()[1], locker.returncode) for locker in lockers] == [(b"", 0)] * 4


@pytest.mark.parametrize("there", ["", "a", "a/b"])
def test_withdrawn_lock_leaves_what_was_there_before(tmp_path: Path, there: str):
    (tmp_path / there).mkdir(parents=True, exist_ok=True)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError), WriterLock(tmp_path / "a" / "b", make=True):
        raise InputError("refused")
    assert sorted(tmp_path.rglob("*")) == before
    with WriterLock(tmp_path / "a" / "b", make=True):
        pass
    with pytest.raises(InputError), WriterLock(tmp_path / "a" / "b"):  # the lock file was there before
        raise InputError("refused")
    assert (tmp_path / "a" / "b" / ".lock").exists()


def test_withdrawn_lock_leaves_what_was_made_under_it(tmp_path: Path):
    with pytest.raises(InputError), WriterLock(tmp_path / "new", make=True):
        (tmp_path / "new" / "checkpoint").touch()
        raise InputError("refused")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["checkpoint"]


def test_lock_in_a_missing_folder_cannot_be_taken(tmp_path: Path):
    with pytest.raises(StorageError):
        WriterLock(tmp_path / "none")
