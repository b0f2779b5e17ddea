"""The commands of docs/operations.md that copy an index to a server, while readers open the copy.

`rsync` is played: it copies file by file, in a folder files before folders, each in one step (a rename). The
real one was run with readers too; what it did is in benchmarks/NOTES.md.
"""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

from index.opened import open_index
from index.writing.delete import delete
from retrieval.model.folder import read_model_of

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden" / "index-5"


def recipe() -> list[list[str]]:
    """The commands, as words."""
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    section = re.split(r"^## ", page.partition("## Several servers\n")[2], maxsplit=1, flags=re.MULTILINE)[0]
    return [shlex.split(line) for line in re.findall(r"^ {4}(.+)$", section, re.MULTILINE)]


def rsync(options: list[str], source: Path, target: Path) -> Iterator[None]:
    """Copy a folder, and yield after each change of the copy."""
    words = iter(options)
    excluded, deletes = [], False
    for word in words:
        if word == "--exclude":
            excluded.append(next(words))
        else:
            assert word in ("-a", "--delete-after")
            deletes |= word == "--delete-after"

    def files(folder: Path) -> Iterator[Path]:
        entries = [path for path in folder.iterdir() if not any(fnmatch(path.name, one) for one in excluded)]
        for path in sorted(entries, key=lambda path: (path.is_dir(), path.name)):
            yield from files(path) if path.is_dir() else [path]

    for path in files(source):
        copy = target / path.relative_to(source)
        if not copy.exists() or (copy.stat().st_mtime_ns, copy.read_bytes()) != (
            path.stat().st_mtime_ns,
            path.read_bytes(),
        ):
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, copy.with_name(".temporary"))
            copy.with_name(".temporary").rename(copy)
            yield
    for copy in list(files(target)) if deletes else ():
        if not (source / copy.relative_to(target)).exists():
            copy.unlink()
            yield
            for folder in copy.parents:
                if any(folder.iterdir()):
                    break
                folder.rmdir()


def ids(folder: Path) -> set[str]:
    with open_index(folder) as opened:
        return {document.id for document in opened.documents(opened.rows().tolist())}


def test_a_copy_has_the_old_or_the_new_documents_at_any_moment_and_readers_time_to_open(tmp_path):
    source, target = tmp_path / "my.index", tmp_path / "copy"
    shutil.copytree(GOLDEN, source)
    shutil.copytree(source, target)
    before = ids(source)
    delete(source, [min(before)])
    after = ids(source)
    states = []
    opened = open_index(target)
    for command, *words in recipe():
        if command == "sleep":
            opened.close()
            opened = open_index(target)
            continue
        assert (command, words[-2:]) == ("rsync", ["my.index/", "web1:/srv/my.index/"])
        for _ in rsync(words[:-2], source, target):
            states.append(ids(target))
            read_model_of(opened)  # as one does who opened the index before this step
    opened.close()
    assert states[0] == before
    assert states[-1] == after
    assert all(state in (before, after) for state in states)
    assert {path.name for path in target.iterdir()} == {"CURRENT", "generation-000004"}
