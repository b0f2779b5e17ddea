"""Postings that a process of its own writes: the same files, and none of them lost if it fails."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from index.documents.store import Document
from index.documents.writer import DocumentWriter
from index.lexical.postings import Lengths, write_bm25
from index.values import Texts
from index.writing import postings
from index.writing.postings import postings_beside

OTHERS = Lengths(10, 70)
DOCUMENTS = [
    Document(
        f"d{number}", f"title {number}", f"the text of {number} cats", queries=("who purrs", f"q{number}")
    )
    for number in range(300)
]


@pytest.fixture
def documents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(postings, "cores", lambda: 2)
    monkeypatch.setattr(postings, "SMALL", 0)
    writer = DocumentWriter(tmp_path / "staged.sqlite")
    writer.append(DOCUMENTS)
    writer.copy_to(tmp_path / "documents.sqlite")
    writer.close()
    return tmp_path / "documents.sqlite"


def texts(queries: bool) -> Iterator[Texts]:
    return (each.texts() if queries else each.texts()._replace(queries="") for each in DOCUMENTS)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def written(documents: Path, queries: bool, told: list[tuple[str, int, int]]) -> Lengths:
    with postings_beside(
        documents.with_name("beside"),
        documents,
        len(DOCUMENTS),
        lambda: texts(queries),
        queries,
        OTHERS,
        lambda *given: told.append(given),
    ) as wait:
        return wait()


@pytest.mark.parametrize("queries", [True, False])
@pytest.mark.parametrize("fails", [False, True], ids=["done", "fails"])
def test_another_process_writes_what_this_one_would(
    documents: Path, queries: bool, fails: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if fails:
        monkeypatch.setattr(sys, "executable", "/bin/false")
        (documents.with_name("beside") / "blocks").mkdir(parents=True)
    else:
        monkeypatch.setattr(postings, "write_bm25", lambda *given: pytest.fail("written in this process"))
    told: list[tuple[str, int, int]] = []
    lengths = written(documents, queries, told)
    here = write_bm25(documents.with_name("here"), (each.joined() for each in texts(queries)), OTHERS)
    assert lengths == here
    assert files(documents.with_name("beside")) == files(documents.with_name("here"))
    assert told[-1] in [("words", 1, 1), ("words", 300, 300)]


def test_few_documents_are_written_by_this_process_before_the_block(
    documents: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postings, "SMALL", 301)
    monkeypatch.setattr(postings, "work_beside", lambda *given: pytest.fail("another process"))
    folder = documents.with_name("alone")
    with postings_beside(
        folder, documents, 300, lambda: texts(True), True, OTHERS, lambda *given: None
    ) as wait:
        assert folder.is_dir()
        assert wait().documents == 300
