"""A build of documents of two passages, killed with SIGKILL at every moment that matters, then resumed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from fruit_corpus import DIMENSION, Build, numbered, unit_vectors

from index.dense.passages import Span
from index.disk.verify import verify
from index.errors import InputError
from index.reader import Index
from index.writing.builder import IndexBuilder

# Forks a build for every n, each on a copy of an older index, and kills it at its nth step that changes what
# the disk holds for good; prints how many were killed. SQLite syncs by itself: its commits count as one step.
KILLER = """
import os, shutil, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from fruit_corpus import DIMENSION, numbered, unit_vectors
from index.dense.passages import Span
from index.writing.builder import IndexBuilder
from index.documents.writer import DocumentWriter

root, model = Path(sys.argv[2]), Path(sys.argv[3])
left = 0

def dying(real):
    def call(*arguments, **options):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **options)
    return call

def build(target):
    for name in ("fsync", "replace", "rename", "mkdir", "unlink", "rmdir"):
        setattr(os, name, dying(getattr(os, name)))
    DocumentWriter.append = dying(DocumentWriter.append)
    DocumentWriter.copy_to = dying(DocumentWriter.copy_to)
    with IndexBuilder.begin(target, model=model, dimension=DIMENSION, source="corpus") as builder:
        for start in range(0, 30, 10):
            vectors = unit_vectors(60)[2 * start : 2 * start + 20]
            builder.append(numbered(10, start), vectors, [[Span(0, 5), Span(3, 9)]] * 10)
            (target.parent / f"{target.name}.acknowledged").write_text(str(builder.count))
        builder.publish()

for step in range(1, 1000):
    target = root / str(step)
    shutil.copytree(root / "old", target)
    child = os.fork()
    if child == 0:
        left = step
        build(target)
        os._exit(0)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0:
        print(step - 1)
        break
"""


def test_build_killed_anywhere_loses_nothing_and_resumes_to_the_same_index(
    build: Build, model: Path, tmp_path: Path
):
    build(tmp_path / "killed" / "old", numbered(2))
    arguments = [
        sys.executable,
        "-c",
        KILLER,
        str(Path(__file__).parents[1]),
        str(tmp_path / "killed"),
        str(model),
    ]
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
    steps = int(subprocess.run(arguments, stdout=subprocess.PIPE, check=True, env=environment).stdout)
    assert steps > 30
    with IndexBuilder.begin(tmp_path / "whole", model=model, dimension=DIMENSION, source="corpus") as builder:
        append_from(builder, 0)
        expected = builder.publish().files
    assert "segment-000001/passages.i32" in expected
    for step in range(1, steps + 1):
        target = tmp_path / "killed" / str(step)
        with Index.open(target, checksums=True) as index:
            live = index.documents(range(index.count))
        assert live in (numbered(2), numbered(30))
        with IndexBuilder.begin(
            target, model=model, dimension=DIMENSION, source="corpus", resume=True
        ) as builder:
            if live == numbered(2):
                assert builder.count >= acknowledged(target)
            append_from(builder, builder.count)
            assert builder.publish().files == expected
        assert verify(target) == []
        assert len(list(target.iterdir())) == 3  # the lock, CURRENT and one generation


def append_from(builder: IndexBuilder, first: int) -> None:
    for start in range(first, 30, 10):
        vectors = unit_vectors(60)[2 * start : 2 * start + 20]
        builder.append(numbered(10, start), vectors, [[Span(0, 5), Span(3, 9)]] * 10)


def acknowledged(target: Path) -> int:
    """How many documents the killed build had been told were stored."""
    path = target.parent / f"{target.name}.acknowledged"
    return int(path.read_text()) if path.exists() else 0


FIRST_BUILD = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from fruit_corpus import DIMENSION, numbered, unit_vectors
from index.writing.builder import IndexBuilder
builder = IndexBuilder.begin(Path(sys.argv[2]), model=Path(sys.argv[3]), dimension=DIMENSION, source="corpus")
stored = int(sys.argv[4])
builder.append(numbered(stored), unit_vectors(stored))
os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("stored", [0, 10, 20])
def test_first_build_killed_leaves_no_index_but_resumes(model: Path, tmp_path: Path, stored: int):
    target = tmp_path / "index"
    arguments = [str(Path(__file__).parents[1]), str(target), str(model), str(stored)]
    assert subprocess.run([sys.executable, "-c", FIRST_BUILD, *arguments], check=False).returncode == -9
    with pytest.raises(InputError, match="not an index"):
        Index.open(target)
    with IndexBuilder.begin(
        target, model=model, dimension=DIMENSION, source="corpus", resume=True
    ) as builder:
        assert builder.count == stored
        builder.append(numbered(20)[stored:], unit_vectors(20)[stored:])
        builder.publish()
    with Index.open(target) as index:
        assert index.documents(range(20)) == numbered(20)
