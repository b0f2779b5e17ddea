"""A folder of files to a corpus: what is left out, what a second run reads, and what a kill leaves."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from index.disk.writer_lock import WriterLock
from index.errors import BusyError, InputError
from retrieval.data.documents import read_documents
from retrieval.data.files import confinement, worker
from retrieval.data.files import corpus as corpus_module
from retrieval.data.files.convert import convert
from retrieval.data.files.corpus import write_files_corpus
from retrieval.data.files.pool import Converted, ConverterPool

LONG_AGO = 1_700_000_000


class Here:
    """Converts in this process, which is faster than to start another; counts what it reads."""

    read: list[str] = []  # noqa: RUF012

    def __init__(self, seconds: float) -> None:
        pass

    def __enter__(self) -> Here:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def convert(self, files: Any) -> Iterator[tuple[Any, Future[Converted] | None]]:
        import hashlib

        for item, path, kind in files:
            if kind is None:
                yield item, None
                continue
            self.read.append(item.name)
            future: Future[Converted] = Future()
            content = path.read_bytes()
            try:
                future.set_result(Converted(convert(kind, content), hashlib.sha256(content).hexdigest()))
            except ValueError as error:
                future.set_exception(InputError(str(error), path=path))
            yield item, future


@pytest.fixture
def here(monkeypatch) -> list[str]:
    """Files are converted in this process; the names of those that were."""
    monkeypatch.setattr(corpus_module, "ConverterPool", Here)
    monkeypatch.setattr(Here, "read", [])
    return Here.read


def put(path: Path, text: str | bytes, seconds: int = LONG_AGO) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    os.utime(path, (seconds, seconds))
    return path


def records(output: Path) -> dict[str, dict[str, Any]]:
    return {d["_id"]: d for d in map(json.loads, (output / "corpus.jsonl").read_text().splitlines())}


def test_documents_have_path_section_and_date(tmp_path):
    put(tmp_path / "docs" / "a" / "guide.md", "# Guide\n\nintro\n\n## 安装\n\n用 pip\n")
    put(tmp_path / "docs" / "b.txt", "plain")
    result = write_files_corpus(tmp_path / "docs", tmp_path / "data")
    assert (result.documents, result.files, result.read, result.unchanged) == (3, 2, 2, 0)
    found = list(read_documents(tmp_path / "data"))
    assert [(d.id, d.title, d.text) for d in found] == [
        ("a/guide.md#guide", "Guide", "intro"),
        ("a/guide.md#guide/安装", "Guide > 安装", "用 pip"),
        ("b.txt", "b", "plain"),
    ]
    assert found[2].metadata == {"path": "b.txt", "type": "text", "date": "2023-11-14"}


def test_other_files_are_left_out_and_counted(tmp_path, here):
    docs, data = tmp_path / "docs", tmp_path / "docs" / "out"
    for name in (
        "a.md",
        "b.MD",
        ".hidden.md",
        ".git/c.md",
        "x.png",
        "y.png",
        "Makefile",
        "old/d.md",
        "e.rst",
    ):
        put(docs / name, "text")
    put(docs / "empty.txt", "\n")
    put(docs / "~$report.docx", b"\x05Ann" + bytes(50))
    outside = put(tmp_path / "outside.md", "secret")
    (docs / "link.md").symlink_to(outside)
    (docs / "inside.md").symlink_to(docs / "a.md")
    (docs / "broken.md").symlink_to(docs / "none.md")
    (docs / "folder").symlink_to(tmp_path)
    os.mkfifo(docs / "pipe.md")
    for _ in range(2):  # the output lies inside, and is no input
        result = write_files_corpus(docs, data, exclude=["old", "*.rst"])
        assert list(records(data)) == ["a.md", "b.MD", "inside.md"]
        assert result.left_out == {
            "hidden": 2,
            "Office lock file": 1,
            ".png": 2,
            "no suffix": 1,
            "excluded": 2,
            "empty": 1,
            "link out of the folder": 1,
            "broken link": 1,
            "linked folder": 1,
            "no regular file": 1,
        }
    assert write_files_corpus(docs, tmp_path / "other", include=["old/*"]).documents == 1


def test_second_run_reads_only_what_changed(tmp_path, here):
    docs, data = tmp_path / "docs", tmp_path / "data"
    for name in "abcde":
        put(docs / f"{name}.md", f"# {name}\n\ntext of {name}\n")
    write_files_corpus(docs, data)
    first = (data / "corpus.jsonl").read_bytes()
    here.clear()
    result = write_files_corpus(docs, data)
    assert (result.read, result.unchanged, here) == (0, 5, [])
    assert (data / "corpus.jsonl").read_bytes() == first
    put(docs / "a.md", "# a\n\nother words")
    put(docs / "b.md", "# b\n\ntext of B\n", LONG_AGO + 1)  # the same size
    os.utime(docs / "c.md", (LONG_AGO + 10**6, LONG_AGO + 10**6))
    (docs / "d.md").unlink()
    put(docs / "aa.md", "new")
    result = write_files_corpus(docs, data)
    assert (here, result.read, result.unchanged) == (["a.md", "aa.md", "b.md"], 3, 2)
    assert records(data)["c.md#c"]["metadata"]["date"] == "2023-11-26"
    assert "d.md#d" not in records(data)


def test_date_that_the_author_wrote_stays_when_the_file_gets_another(tmp_path, here):
    docs, data = tmp_path / "docs", tmp_path / "data"
    put(docs / "a.md", "---\ndate: 2023-11-14\n---\ntext")  # the day of LONG_AGO
    write_files_corpus(docs, data)
    for days in (10, 20):
        os.utime(docs / "a.md", (LONG_AGO + days * 86400,) * 2)
        here.clear()
        write_files_corpus(docs, data)
        assert (here, records(data)["a.md"]["metadata"]["date"]) == ([], "2023-11-14")


def test_messages_of_an_mbox_keep_their_dates_when_the_file_gets_another(tmp_path):
    docs, data = tmp_path / "docs", tmp_path / "data"
    message = "From a 10:00\nSubject: {}\nDate: Fri, {} May 2024 10:00:00 +0000\n\ntext\n\n"
    put(docs / "in.mbox", message.format("one", 3) + message.format("two", 4))
    for days in (0, 10):
        os.utime(docs / "in.mbox", (LONG_AGO + days * 86400,) * 2)
        result = write_files_corpus(docs, data)
        dates = {name: record["metadata"]["date"] for name, record in records(data).items()}
        assert dates == {
            "in.mbox#one": "2024-05-03T10:00:00+00:00",
            "in.mbox#two": "2024-05-04T10:00:00+00:00",
        }
    assert (result.read, result.unchanged) == (0, 1)


def test_file_that_changes_within_its_time_stamp_is_compared_by_content(tmp_path, here):
    docs, data = tmp_path / "docs", tmp_path / "data"
    now = 4_000_000_000  # as if it were written this moment
    put(docs / "a.md", "one", now)
    write_files_corpus(docs, data)
    put(docs / "a.md", "two", now)
    write_files_corpus(docs, data)
    assert records(data)["a.md"]["text"] == "two"


@pytest.mark.parametrize("damage", ["corpus", "state", "version"])
def test_nothing_is_reused_of_a_folder_that_was_changed(tmp_path, here, damage):
    docs, data = tmp_path / "docs", tmp_path / "data"
    put(docs / "a.md", "one")
    write_files_corpus(docs, data)
    expected = (data / "corpus.jsonl").read_bytes()
    state = json.loads((data / "files.json").read_text())
    if damage == "corpus":
        put(data / "corpus.jsonl", expected.replace(b"one", b"two"))
    elif damage == "state":
        state["files"]["a.md"]["documents"] = 7
    else:
        state["readers"]["docutils"] = "0.1"
    (data / "files.json").write_text(json.dumps(state))
    here.clear()
    write_files_corpus(docs, data)
    assert here == ["a.md"]
    assert (data / "corpus.jsonl").read_bytes() == expected


def without_times(path):
    """What a run keeps of the files, but for time stamps: for two seconds after a change none is kept."""
    state = json.loads(path.read_text())
    for entry in state["files"].values():
        del entry["modified"], entry["changed"]
    return state


@pytest.mark.parametrize("seed", range(8))
def test_random_life_gives_the_same_bytes_as_a_run_from_nothing(tmp_path, here, seed):
    chance = random.Random(seed)
    docs, data = tmp_path / "docs", tmp_path / "data"
    names = [
        f"{folder}{name}" for folder in ("", "sub/") for name in ("a.md", "b.txt", "c.rst", "d.html", "e.png")
    ]
    put(docs / "keep.md", "always")
    for step in range(10):
        for name in chance.sample(names, chance.randrange(4)):
            path = docs / name
            kind = chance.randrange(5)
            if kind == 0:
                path.unlink(missing_ok=True)
            elif kind == 1 and path.exists():
                os.utime(path, (LONG_AGO + chance.randrange(10**6),) * 2)
            elif kind == 2:
                put(path, b"\xff broken")
            else:
                put(path, f"text {chance.randrange(3)}\n\n# H\n\nmore\n", LONG_AGO + chance.randrange(3))
        write_files_corpus(docs, data, skip_broken=True)
        fresh = tmp_path / f"fresh{step}"
        write_files_corpus(docs, fresh, skip_broken=True)
        assert (data / "corpus.jsonl").read_bytes() == (fresh / "corpus.jsonl").read_bytes()
        assert without_times(data / "files.json") == without_times(fresh / "files.json")


def test_broken_file_ends_the_run_and_leaves_the_old_corpus(tmp_path, here):
    docs, data = tmp_path / "docs", tmp_path / "data"
    put(docs / "a.md", "one")
    write_files_corpus(docs, data)
    before = {path.name: path.read_bytes() for path in data.iterdir()}
    put(docs / "a.md", "changed text")
    put(docs / "b.md", b"ok\n\xff")
    with pytest.raises(
        InputError, match=r"docs/b\.md: not UTF-8 \(line 2, byte 3\); save it as UTF-8 \(--skip-"
    ):
        write_files_corpus(docs, data)
    assert {path.name: path.read_bytes() for path in data.iterdir()} == before
    result = write_files_corpus(docs, data, skip_broken=True)
    assert [(b.path, b.problem) for b in result.broken] == [
        ("b.md", "not UTF-8 (line 2, byte 3); save it as UTF-8")
    ]
    assert list(records(data)) == ["a.md"]


def test_name_that_is_not_utf_8_is_broken(tmp_path, here):
    docs, data = tmp_path / "docs", tmp_path / "data"
    put(docs / "a.md", "one")
    put(docs / os.fsdecode(b"caf\xe9.md"), "two")
    with pytest.raises(InputError, match=r"docs/caf\\xe9\.md: its name is not UTF-8; rename it \(--skip-"):
        write_files_corpus(docs, data)
    result = write_files_corpus(docs, data, skip_broken=True)
    assert [(b.path, b.problem) for b in result.broken] == [
        ("caf\\xe9.md", "its name is not UTF-8; rename it")
    ]
    assert list(records(data)) == ["a.md"]


def test_folder_that_cannot_be_listed_is_broken(tmp_path, here, monkeypatch):
    docs, data = tmp_path / "docs", tmp_path / "data"
    put(docs / "a.md", "one")
    put(docs / "closed" / "b.md", "two")
    real = os.scandir

    def scandir(path: Any) -> Any:
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    told = "cannot be listed (Permission denied); check its permissions"
    with pytest.raises(InputError) as caught:
        write_files_corpus(docs, data)
    assert str(caught.value) == f"{docs}/closed: {told} (--skip-broken goes on without it)"
    result = write_files_corpus(docs, data, skip_broken=True)
    assert [(b.path, b.problem) for b in result.broken] == [("closed", told)]
    assert list(records(data)) == ["a.md"]
    with pytest.raises(InputError, match="docs/closed: cannot be listed"):
        write_files_corpus(docs / "closed", data, skip_broken=True)


def test_file_in_place_of_a_folder_is_told(tmp_path):
    put(tmp_path / "faq.csv", "a,b")
    for name, problem in (
        ("faq.csv", "is a file; give a folder"),
        ("none", "no such folder; check the path"),
    ):
        with pytest.raises(InputError) as caught:
            write_files_corpus(tmp_path / name, tmp_path / "data")
        assert str(caught.value) == f"{tmp_path / name}: {problem}"
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("patterns", "options"),
    [
        ({"include": ["*.xyz"]}, "--include"),
        ({"exclude": ["*.md"]}, "--exclude"),
        ({"include": ["*.md"], "exclude": ["a.*"]}, "--include and --exclude"),
    ],
)
def test_patterns_that_leave_no_file_are_told_and_not_the_folder(tmp_path, patterns, options):
    put(tmp_path / "docs" / "a.md", "one")
    put(tmp_path / "other" / "a.csv", "one")
    with pytest.raises(
        InputError, match=rf"docs: none of the files .* is left by {options}; change the patterns$"
    ):
        write_files_corpus(tmp_path / "docs", tmp_path / "data", **patterns)
    with pytest.raises(InputError, match=r"other: holds no files that are read .*; give another folder$"):
        write_files_corpus(tmp_path / "other", tmp_path / "data", **patterns)


def test_file_without_text_is_neither_read_nor_unchanged(tmp_path, here):
    docs, data = tmp_path / "docs", tmp_path / "data"
    put(docs / "a.md", "one")
    put(docs / "b.md", "\n")
    counts = []
    for _ in range(2):
        result = write_files_corpus(docs, data)
        counts.append((result.files, result.read, result.unchanged, result.left_out))
    assert counts == [(1, 1, 0, {"empty": 1}), (1, 0, 1, {"empty": 1})]


def test_corpus_of_another_origin_is_not_overwritten(tmp_path, here):
    put(tmp_path / "docs" / "a.md", "one")
    put(tmp_path / "data" / "corpus.jsonl", "{}")
    with pytest.raises(InputError, match="did not write; choose another"):
        write_files_corpus(tmp_path / "docs", tmp_path / "data")
    put(tmp_path / "fresh" / "queries.jsonl", "{}")
    write_files_corpus(tmp_path / "docs", tmp_path / "fresh")
    write_files_corpus(tmp_path / "docs", tmp_path / "fresh")
    assert (tmp_path / "fresh" / "queries.jsonl").read_text() == "{}"


def test_second_writer_is_told(tmp_path, here):
    put(tmp_path / "docs" / "a.md", "one")
    (tmp_path / "data").mkdir()
    with WriterLock(tmp_path / "data"), pytest.raises(BusyError):
        write_files_corpus(tmp_path / "docs", tmp_path / "data")


# Forks a run for every n and kills it at its nth step that changes the disk; prints how many were killed.
KILLER = """
import os, shutil, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from retrieval.data.files import corpus
from test_corpus import Here
corpus.ConverterPool = Here
docs, root = Path(sys.argv[1]), Path(sys.argv[2])
left = 0

def step(event, arguments):
    global left
    writes = event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR)
    if writes or event in ("os.rename", "os.remove", "os.mkdir"):
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

for number in range(1, 100):
    target = root / str(number)
    shutil.copytree(root / "old", target)
    if (child := os.fork()) == 0:
        left = number
        sys.addaudithook(step)
        corpus.write_files_corpus(docs, target)
        os._exit(0)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0:
        print(number - 1)
        break
"""


def test_killed_anywhere_the_old_or_the_new_corpus_stays_whole(tmp_path, here):
    docs, killed = tmp_path / "docs", tmp_path / "killed"
    put(docs / "a.md", "old")
    write_files_corpus(docs, killed / "old")
    old = (killed / "old" / "corpus.jsonl").read_bytes()
    put(docs / "a.md", "new words")
    write_files_corpus(docs, tmp_path / "fresh")
    new = (tmp_path / "fresh" / "corpus.jsonl").read_bytes()
    arguments = [sys.executable, "-c", KILLER, str(docs), str(killed), str(Path(__file__).parent)]
    steps = int(subprocess.run(arguments, stdout=subprocess.PIPE, check=True).stdout)
    assert steps > 3
    left = [(killed / str(step) / "corpus.jsonl").read_bytes() for step in range(1, steps + 1)]
    assert set(left) == {old, new}
    for step in range(1, steps + 1):
        write_files_corpus(docs, killed / str(step))
        assert (killed / str(step) / "corpus.jsonl").read_bytes() == new
        names = sorted(path.name for path in (killed / str(step)).iterdir())
        assert names == [".lock", "corpus.jsonl", "files.json"]


def hostile(monkeypatch, tmp_path, code: str) -> None:
    """Make every worker run some code for files named hostile.md instead of its own reader."""
    module = put(tmp_path / "start" / "sitecustomize.py", "")
    module.write_text(
        "import sys\nif sys.argv[0] in ('-m', ''):\n"
        "    from retrieval.data.files import convert\n    real = convert.convert\n"
        "    def convert_(kind, content):\n"
        f"        if b'hostile' in content:\n            {code}\n"
        "        return real(kind, content)\n    convert.convert = convert_\n"
    )
    monkeypatch.setenv("PYTHONPATH", f"{module.parent}{os.pathsep}{Path.cwd()}")


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("import os; os.abort()", "ended the process that read it"),
        ("import time; time.sleep(60)", "takes longer than 5 seconds"),
        ("bytearray(1 << 40)", "needs too much memory"),
        ("import socket; socket.create_connection(('127.0.0.1', 9))", "may not do this"),
        ("open('peephole-hostile', 'w')", "may not do this"),
        ("import subprocess; subprocess.run(['true'])", "may not do this"),
        ("f = lambda: f(); f()", "nested too deeply"),
    ],
)
def test_hostile_file_costs_its_process_and_no_more(tmp_path, monkeypatch, code, told):
    hostile(monkeypatch, tmp_path, code)
    for name, text in [("a.md", "one"), ("b.md", "hostile"), ("c.md", "three"), ("d.md", "four")]:
        put(tmp_path / "docs" / name, text)
    seconds = 5 if "sleep" in code else 60  # a busy machine takes its time to start a process
    result = write_files_corpus(tmp_path / "docs", tmp_path / "data", skip_broken=True, seconds=seconds)
    assert list(records(tmp_path / "data")) == ["a.md", "c.md", "d.md"]
    ((path, problem),) = [(each.path, each.problem) for each in result.broken]
    assert path == "b.md"
    assert told in problem
    assert not Path("peephole-hostile").exists()


def test_workers_end_with_the_pool(tmp_path):
    put(tmp_path / "a.md", "one")
    with ConverterPool(5) as pool:
        ((_, future),) = pool.convert([(None, tmp_path / "a.md", "markdown")])
        assert future is not None
        assert future.result().extract.sections[0].text == "one"
        process = next(each._process for each in pool._workers if each._process)
        assert process.poll() is None
    assert process.poll() is not None


def test_file_beyond_the_limit_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(confinement, "MAX_FILE_BYTES", 3)
    assert "larger than" in worker._answer(put(tmp_path / "a.md", "1234"), "markdown")["problem"]
    assert "extract" in worker._answer(put(tmp_path / "b.md", "123"), "markdown")
