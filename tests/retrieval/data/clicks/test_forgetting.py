"""Searches taken out of a recorded log: all of them, nothing else, also while it is written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from index.errors import InputError, StorageError
from retrieval.data.clicks.forgetting import Forgotten, Wanted, forget
from retrieval.data.clicks.recorded import Clicked, Shown, encode, events
from retrieval.data.clicks.rotation import opened
from retrieval.data.clicks.summary import Summary, summary_of

ROOT = Path(__file__).parents[4]


def shown(number: int, query: str, day: int = 1) -> bytes:
    return encode(Shown(f"2026-11-{day:02d}T12:00:00Z", f"{number:016x}", query, "hybrid", 0, ("a", "b")))


def clicked(number: int, day: int = 1) -> bytes:
    return encode(Clicked(f"2026-11-{day:02d}T12:00:00Z", f"{number:016x}", "a", 1))


def everything(path: Path) -> bytes:
    return b"".join(each.read_bytes() for each in sorted(path.parent.iterdir()))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "clicks"


def test_a_query_is_forgotten_in_all_files_whatever_its_case_and_white_space(path):
    old = path.with_name("clicks.1")
    old.write_bytes(clicked(2) + shown(1, "jane doe") + shown(3, "jane doe's") + clicked(1) + clicked(3))
    path.write_bytes(shown(2, " JANE \t Doe\n") + shown(4, "jane  do") + clicked(3) + clicked(2) + clicked(2))
    assert forget(path, Wanted("Jane Doe")) == Forgotten(2, 4)
    assert old.read_bytes() == shown(3, "jane doe's") + clicked(3)
    assert path.read_bytes() == shown(4, "jane  do") + clicked(3)
    assert forget(path, Wanted("Jane Doe")) == Forgotten(0, 0)


def test_case_is_folded_as_unicode_has_it(path):
    path.write_bytes(shown(1, "STRASSE") + shown(2, "启动"))
    assert forget(path, Wanted("straße")) == Forgotten(1, 0)
    assert path.read_bytes() == shown(2, "启动")


def test_old_searches_are_forgotten_with_clicks_whose_search_is_gone(path):
    path.write_bytes(clicked(9, 2) + shown(1, "q", 2) + shown(2, "q", 3) + clicked(1, 4) + clicked(2, 4))
    assert forget(path, Wanted(before="2026-11-03T00:00:00Z")) == Forgotten(1, 2)
    assert path.read_bytes() == shown(2, "q", 3) + clicked(2, 4)


def test_both_conditions_must_fit(path):
    path.write_bytes(clicked(9, 1) + shown(1, "q", 2) + shown(2, "q", 4) + shown(3, "r", 2))
    assert forget(path, Wanted("q", "2026-11-03T00:00:00Z")) == Forgotten(1, 0)
    assert path.read_bytes() == clicked(9, 1) + shown(2, "q", 4) + shown(3, "r", 2)


def test_a_file_of_which_nothing_stays_is_removed_and_the_live_one_emptied(path):
    for each in (path, path.with_name("clicks.1")):
        each.write_bytes(shown(1, "q"))
    assert forget(path, Wanted("q")).searches == 2
    assert [each.name for each in path.parent.iterdir()] == ["clicks"] and path.read_bytes() == b""


def test_a_file_without_the_query_is_not_touched(path):
    old = path.with_name("clicks.1")
    old.write_bytes(shown(1, "other"))
    path.write_bytes(shown(2, "q"))
    before = old.stat()
    forget(path, Wanted("q"))
    assert (old.stat().st_ino, old.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_permissions_stay(path):
    path.write_bytes(shown(1, "q") + shown(2, "r"))
    path.chmod(0o640)
    forget(path, Wanted("q"))
    assert path.stat().st_mode & 0o777 == 0o640


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_the_owner_stays_so_that_the_server_can_write_on_after_root_forgot(path):
    path.write_bytes(shown(1, "q") + shown(2, "r"))
    os.chown(path, 12345, 12346)
    forget(path, Wanted("q"))
    assert (path.stat().st_uid, path.stat().st_gid) == (12345, 12346)


@pytest.mark.parametrize("content", [b"my notes without a line end", b"PK\x03\x04 binary"])
def test_a_file_that_is_no_log_is_left_as_it_is(path, content):
    path.write_bytes(content)
    with pytest.raises(InputError, match="clicks:1: no event of a click log"):
        forget(path, Wanted("q"))
    assert path.read_bytes() == content


def test_a_torn_line_which_may_hold_the_query_goes_too(path):
    path.write_bytes(shown(1, "other") + shown(2, "jane doe")[:-9])
    assert forget(path, Wanted("x")) == Forgotten(0, 0)
    assert path.read_bytes() == shown(1, "other")


def test_a_damaged_line_is_named_and_nothing_is_changed(path):
    content = shown(1, "q") + b'{"query":"q"\n'
    path.write_bytes(content)
    path.with_name("clicks.1").write_bytes(shown(2, "q"))
    with pytest.raises(InputError, match=r"clicks:2: broken JSON"):
        forget(path, Wanted("q"))
    assert everything(path) == content + shown(2, "q")


def test_a_log_that_is_not_there_is_not_made(path):
    for missing in (path, path / "none"):
        with pytest.raises(InputError, match="no such file"):
            forget(missing, Wanted("q"))
    assert list(path.parent.iterdir()) == []


def test_what_a_killed_run_left_is_removed_and_a_failed_one_leaves_nothing(path, monkeypatch):
    path.write_bytes(shown(1, "q") + shown(2, "r"))
    leftover = path.with_name(".clicks.3.0123456789abcdef.tmp")
    leftover.write_bytes(shown(1, "q"))
    other = path.with_name(".clicks.jsonl.0123456789abcdef.tmp")
    other.touch()
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", lambda handle: os.write(-1, b""))
        with pytest.raises(StorageError):
            forget(path, Wanted("q"))
    assert sorted(path.parent.iterdir()) == [other, path]
    assert path.read_bytes() == shown(1, "q") + shown(2, "r")


# Records searches for two texts and clicks on them, in small files; says how many for the one to keep.
WRITER = """
import sys
from pathlib import Path
from retrieval.data.clicks.recorded import Clicked, Shown, encode
from retrieval.data.clicks.rotation import append
path, name = Path(sys.argv[1]), int(sys.argv[2])
for n in range(200):
    search, query = f"{name * 1000 + n:016x}", ("keep", "secret")[n % 2]
    for event in (Shown("2026-11-28T12:00:00Z", search, query, "dense", 0, ("a",)),
                  Clicked("2026-11-28T12:00:00Z", search, "a")):
        append(path, encode(event), most_bytes=5000, kept=10_000)
"""


def test_no_event_is_lost_that_is_written_meanwhile(path):
    command = [sys.executable, "-c", WRITER, str(path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    path.touch()
    writers = [subprocess.Popen([*command, str(name)], env=environment) for name in range(3)]
    forgot = 0
    while any(each.poll() is None for each in writers):
        forgot += forget(path, Wanted("secret")).searches
    assert [each.wait() for each in writers] == [0, 0, 0]
    forgot += forget(path, Wanted("secret")).searches
    assert forgot == 300
    assert b"secret" not in everything(path)
    with opened(path) as parts:
        kept = [event for _, event in events(parts)]
    searches = [event.search for event in kept if isinstance(event, Shown)]
    clicks = {event.search for event in kept if isinstance(event, Clicked)}
    assert sorted(searches) == sorted(
        f"{name * 1000 + n:016x}" for name in range(3) for n in range(0, 200, 2)
    )
    assert clicks >= set(searches)


def test_a_log_in_numbers(path):
    path.with_name("clicks.1").write_bytes(shown(1, "q", 3) + clicked(1, 5))
    path.write_bytes(shown(2, " Q ", 4) + shown(3, "r", 4) + b'{"torn')
    size = sum(each.stat().st_size for each in path.parent.iterdir())
    told = Summary(2, size, 3, 1, 2, "2026-11-03T12:00:00Z", "2026-11-05T12:00:00Z")
    assert summary_of(path) == told
    path.write_bytes(b"")
    path.with_name("clicks.1").unlink()
    assert summary_of(path) == Summary(1, 0, 0, 0, 0, None, None)
