"""The files of a recorded log: written by several processes at once, put aside, killed, full."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import stat
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from index.errors import BusyError, InputError, StorageError
from retrieval.data.clicks.recorded import lines_of
from retrieval.data.clicks.rotation import append, held, opened, put_aside

ROOT = Path(__file__).parents[4]

# Appends numbered lines until it is killed or has written all; says how many were acknowledged.
WRITER = """
import sys
from pathlib import Path
from retrieval.data.clicks.rotation import append
path, name, count, most_bytes = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
for n in range(count):
    append(path, f"{name} {n} {'x' * (n % 97)}\\n".encode(), most_bytes=most_bytes, kept=10_000)
    print(n, flush=True)
"""


def writer(path: Path, name: str, count: int, most_bytes: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", WRITER, str(path), name, str(count), str(most_bytes)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)})


def content(path: Path) -> bytes:
    with opened(path) as parts:
        return b"".join(line for part in parts for _, line in lines_of(part))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "clicks"


def test_a_file_that_would_become_too_large_is_put_aside_and_the_oldest_removed(path):
    for n in range(12):
        append(path, b"%02d\n" % n, most_bytes=6, kept=3)
    assert path.read_bytes() == b"10\n11\n"
    assert [each.name for each in put_aside(path)] == ["clicks.3", "clicks.2", "clicks.1"]
    assert content(path) == b"".join(b"%02d\n" % n for n in range(4, 12))
    append(path, b"longer than a file\n", most_bytes=6, kept=3)
    assert path.read_bytes() == b"longer than a file\n"


def test_only_the_owner_may_read_the_files(path):
    for _ in range(3):
        append(path, b"line\n", most_bytes=6)
    assert {stat.S_IMODE(each.stat().st_mode) for each in path.parent.iterdir()} == {0o600}


def test_a_number_that_a_killed_process_left_free_is_filled_in_order(path):
    for number in (1, 3, 4):
        path.with_name(f"clicks.{number}").write_bytes(b"%d\n" % number)
    path.write_bytes(b"0\n")
    append(path, b"new\n", most_bytes=2)
    assert content(path) == b"4\n3\n1\n0\nnew\n"
    assert sorted(each.name for each in path.parent.iterdir()) == [
        *("clicks", "clicks.1", "clicks.2", "clicks.3", "clicks.4")
    ]


@pytest.mark.parametrize("torn", [b"torn", b"\0" * 9, b"x" * 70_000, b"y" * (1 << 16)])
def test_what_a_crash_left_of_a_line_is_cut_off(path, torn):
    for whole in (b"", b"whole\n", b"whole\n" * 30_000):
        path.write_bytes(whole + torn)
        append(path, b"next\n")
        assert path.read_bytes() == whole + b"next\n"


def test_a_write_that_fails_halfway_leaves_nothing_of_it(path, monkeypatch):
    append(path, b"before\n")
    pwrite = os.pwrite

    def full(handle: int, data: bytes, at: int) -> int:
        if at > 7:
            raise OSError(errno.ENOSPC, "No space left on device")
        return pwrite(handle, data[:3], at)

    with monkeypatch.context() as patched:
        patched.setattr("retrieval.data.clicks.rotation.os.pwrite", full)
        with pytest.raises(StorageError, match="No space left on device"):
            append(path, b"lost lines\n")
    assert path.read_bytes() == b"before\n"
    append(path, b"after\n")
    assert path.read_bytes() == b"before\nafter\n"


def test_several_processes_lose_and_double_no_line_while_files_are_put_aside(path):
    writers = [writer(path, str(name), 150, 2000) for name in range(4)]
    seen = 0
    while any(each.poll() is None for each in writers):
        if path.exists():
            lines = content(path).splitlines()  # as it is at one moment
            assert len(lines) >= seen and len(set(lines)) == len(lines)
            seen = len(lines)
    assert [each.wait() for each in writers] == [0, 0, 0, 0]
    lines = content(path).decode().splitlines()
    assert len(put_aside(path)) > 10
    for name in "0123":  # each process's own in order
        assert [int(line.split()[1]) for line in lines if line[0] == name] == list(range(150))
    assert len(lines) == 600


def test_what_was_acknowledged_before_kill_9_is_there_and_every_line_is_whole(path):
    for round_number in range(3):
        writers = [writer(path, f"{round_number}{name}", 10_000, 5000) for name in range(3)]
        for each in writers:
            assert each.stdout is not None and each.stdout.readline()
        time.sleep(0.05)
        for each in writers:
            each.send_signal(signal.SIGKILL)
        acknowledged = [each.communicate()[0].split()[-1:] for each in writers]
        lines = content(path).decode().splitlines()
        assert len(set(lines)) == len(lines)
        for line in lines:
            _, n, filling = line.split(" ")
            assert filling == "x" * (int(n) % 97)
        for name, last in enumerate(acknowledged):
            own = [line.split()[1] for line in lines if line.startswith(f"{round_number}{name} ")]
            assert own == [str(n) for n in range(len(own))]
            assert not last or len(own) > int(last[0])


def test_one_who_waits_for_a_file_that_is_renamed_takes_the_new_one(path):
    append(path, b"old\n")
    with held(path) as handle:
        with pytest.raises(BusyError, match="another process holds it"):
            append(path, b"next\n", wait=0)
        waiting = writer(path, "next", 1, 1000)
        time.sleep(0.3)
        path.rename(path.with_name("clicks.1"))
        os.fsync(handle)
    assert waiting.wait() == 0
    assert path.read_bytes() == b"next 0 \n"
    assert path.with_name("clicks.1").read_bytes() == b"old\n"


def test_a_wait_for_a_file_that_is_renamed_leaves_no_handle_open(path, monkeypatch):
    append(path, b"old\n")
    before = len(list(Path("/proc/self/fd").iterdir()))
    with ExitStack() as holding:
        holding.enter_context(held(path))

        def sleep(seconds: float) -> None:
            path.rename(path.with_name("clicks.1"))
            holding.close()

        monkeypatch.setattr(time, "sleep", sleep)
        append(path, b"next\n")
    assert path.read_bytes() == b"next\n"
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_reader_waits_until_a_change_is_done(path):
    append(path, b"line\n")
    with held(path), pytest.raises(BusyError), opened(path, wait=0):
        pass
    with opened(path) as parts, held(path, wait=0):  # what is open no longer holds up anybody
        assert [part.size_bytes for part in parts] == [5]


def test_a_reader_needs_no_right_to_write(path):
    append(path, b"line\n")
    path.chmod(0o400)
    assert content(path) == b"line\n"


def test_lines_that_are_appended_later_are_not_read(path):
    append(path, b"line\n")
    with opened(path) as parts:
        append(path, b"later\n")
        assert [line for _, line in lines_of(parts[0])] == [b"line\n"]


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("/dev/null")])
def test_what_is_no_regular_file_is_refused(path, make):
    make(path)
    with pytest.raises(StorageError, match="not a regular file"):
        append(path, b"line\n")
    with pytest.raises(InputError), opened(path):
        pass


def test_a_file_system_without_locks_is_said(path, monkeypatch):
    def refuse(*arguments: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(StorageError, match="cannot be locked"):
        append(path, b"line\n")
