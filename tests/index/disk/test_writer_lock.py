import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from index.disk.writer_lock import WriterLock
from index.errors import BusyError, InputError, StorageError


def test_second_lock_in_the_same_process_is_busy_until_the_first_is_released(tmp_path: Path):
    with WriterLock(tmp_path) as lock:
        with pytest.raises(BusyError, match=f"process {os.getpid()}"):
            WriterLock(tmp_path)
        lock.release()
        assert (tmp_path / ".lock").read_bytes() == b""  # nobody is named who does not hold it
        WriterLock(tmp_path).release()


def test_lock_keeps_other_processes_out_and_dies_with_its_own(tmp_path: Path):
    script = (
        "import sys, time; from pathlib import Path; from index.disk.writer_lock import WriterLock;"
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
from index.disk.writer_lock import WriterLock
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
