"""`peephole corpus files` and `peephole add --sync` as a person types them; every bad file is one line."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from made_files import docx, opendocument, pdf, zipped

from cli import verbs


def peephole(*args: object) -> Result:
    return CliRunner().invoke(verbs, [str(arg) for arg in args], prog_name="peephole")


@pytest.fixture
def docs(tmp_path) -> Path:
    folder = tmp_path / "docs"
    folder.mkdir()
    return folder


PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)
ENCRYPTED = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(20)
BROKEN = {
    "locked.pdf": (pdf(["text"], password=True), "has a password; save it without one"),
    "scan.pdf": (pdf(["", ""]), "has no text, only images; run OCR on it first"),
    "cut.pdf": (
        b"%PDF-1.4\n1 0 obj",
        "broken PDF (Failed to load document (PDFium: Data format error)); make or",
    ),
    "cut.docx": (docx([("", "text")])[:300], "broken .docx (File is not a zip file); save it again"),
    "locked.docx": (ENCRYPTED, "is an old Office file, or one with a password; save it as .docx without a"),
    "picture.pdf": (PNG, "is not what its name says but a PNG image; rename it or remove it"),
    "page.docx": (b"<!DOCTYPE html><p>x", "is not what its name says but HTML; rename it or remove it"),
    "archive.xlsx": (zipped({"a.txt": "x"}), "is a ZIP archive but no .xlsx; rename it or remove it"),
    "latin.md": ("caf\xe9".encode("latin-1"), "not UTF-8 (line 1, byte 3); save it as UTF-8"),
    "picture.txt": (PNG, "is not what its name says but a PNG image; rename it or remove it"),
    "bomb.docx": (zipped({"word/document.xml": bytes(257 << 20)}), "unpacks to more than 256 MiB; split it"),
    "hollow.docx": (zipped({"word/a.xml": "<a/>"}), "cannot be read as docx ("),
    "entities.docx": (docx([("", "x")], '<!DOCTYPE a [<!ENTITY b "c">]>'), "holds XML with a document type"),
    "entities.odt": (
        opendocument("text", "", before="<!DOCTYPE a>"),
        "holds XML with a document type, which",
    ),
    "hollow.odp": (opendocument("presentation", "<"), "cannot be read as odp (ParseError: "),
    "page.odt": (docx([("", "text")]), "is a ZIP archive but no .odt; rename it or remove it"),
    "page.eml": (b"<html><p>x", "is no mail, for it begins with no header; rename it or remove it"),
    "deep.eml": (
        b"".join(b"Content-Type: multipart/mixed; boundary=%d\n\n--%d\n" % (n, n) for n in range(3000)),
        "is nested too deeply; simplify it, or leave it out",
    ),
    "one.mbox": (
        b"Subject: x\n\ny\n",
        'does not begin with "From ", a name and a time, as an mbox file does; ',
    ),
    "cut.ipynb": (
        b'{"nbformat": 4, "cells": [',
        "is no notebook, for it is not JSON (Expecting value: line 1 ",
    ),
}


@pytest.mark.parametrize("name", ["locked.pdf", "latin.md"])
def test_broken_file_is_one_line_that_names_it_and_the_remedy(docs, tmp_path, name):
    content, told = BROKEN[name]
    (docs / name).write_bytes(content)
    result = peephole("corpus", "files", docs, "-o", tmp_path / "data")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"Error: {docs / name}: {told} (--skip-broken goes on without it)\n"
    assert not (tmp_path / "data" / "corpus.jsonl").exists()


def test_broken_files_are_listed_and_the_others_read(docs, tmp_path):
    (docs / "good.md").write_text("# Good\n\ntext")
    for name, (content, _) in BROKEN.items():
        (docs / name).write_bytes(content)
    result = peephole("corpus", "files", docs, "-o", tmp_path / "data", "--skip-broken", "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    told = json.loads(result.stdout)
    assert (told["documents"], told["files"], told["read"], told["left_out"]) == (1, 1, 1, {})
    problems = {each["path"]: each["problem"] for each in told["broken"]}
    assert problems.keys() == BROKEN.keys()
    for name, problem in problems.items():
        assert problem.startswith(BROKEN[name][1]), name
        assert "\n" not in problem
    again = peephole("corpus", "files", docs, "-o", tmp_path / "data", "--skip-broken", "--exclude", "*.pdf")
    assert "1 documents of 1 files, 0 read, 1 unchanged\nleft out: 4 excluded\n" in again.stdout
    assert again.stderr.count("\n") == len(BROKEN) - 4
    assert "broken: latin.md: not UTF-8 (line 1, byte 3); save it as UTF-8\n" in again.stderr


def test_files_without_text_are_named(docs, tmp_path):
    (docs / "good.md").write_text("text")
    for number in range(12):
        (docs / f"e{number:02}.md").write_text("# Only a heading\n")
    result = peephole("corpus", "files", docs, "-o", tmp_path / "data")
    named = ", ".join(f"e{number:02}.md" for number in range(10))
    assert result.stdout.endswith(f"left out: 12 empty\nempty: {named} and 2 more\n")
    told = json.loads(peephole("corpus", "files", docs, "-o", tmp_path / "data", "--json").stdout)
    assert told["empty"] == [f"e{number:02}.md" for number in range(12)]


def test_folder_without_files_is_refused(docs, tmp_path):
    result = peephole("corpus", "files", docs, "-o", tmp_path / "data")
    assert result.stderr.startswith(f"Error: {docs}: holds no files that are read (.md .markdown")
    (docs / "a.md").write_text("\n")
    result = peephole("corpus", "files", docs, "-o", tmp_path / "data")
    assert result.stderr == f"Error: {docs}: no file holds any text; nothing was written\n"
    result = peephole("corpus", "files", tmp_path / "none", "-o", tmp_path / "data")
    assert result.stderr == f"Error: {tmp_path / 'none'}: no such folder; check the path\n"


def test_missing_extra_is_named_and_markdown_needs_none(docs, tmp_path, monkeypatch):
    for name in ("docutils", "lxml", "pypdfium2", "mammoth", "pptx", "python_calamine"):
        module = tmp_path / "without" / f"{name}.py"
        module.parent.mkdir(exist_ok=True)
        module.write_text(f"raise ModuleNotFoundError('not here', name={name!r})")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'without'}{os.pathsep}{Path.cwd()}")
    (docs / "a.md").write_text("# A\n\ntext")
    (docs / "b.txt").write_text("plain")
    assert peephole("corpus", "files", docs, "-o", tmp_path / "data").exit_code == 0
    (docs / "c.pdf").write_bytes(pdf(["text"]))
    result = peephole("corpus", "files", docs, "-o", tmp_path / "data", "--skip-broken")
    assert result.stderr == (
        f"Error: {docs / 'c.pdf'}: needs pypdfium2, which is not installed; "
        "run: pip install 'peephole[files]'\n"
    )


def test_index_follows_a_folder_of_files(docs, tmp_path, made):
    """From files to hits, then a file changes, one goes and one comes."""
    data, index = tmp_path / "data", tmp_path / "index"
    (docs / "a.md").write_text("# Disks\n\ncopy a whole folder\n\n## Archives\n\nunpack a tar archive\n")
    (docs / "b.html").write_text("<h1>Mail</h1><p>send mail with an attachment")
    assert peephole("corpus", "files", docs, "-o", data).exit_code == 0
    assert peephole("build", data, "-m", made.model, "-o", index).exit_code == 0
    (docs / "b.html").unlink()
    (docs / "c.txt").write_text("turn text into a date")
    (docs / "a.md").write_text("# Disks\n\ncopy a whole folder\n\n## Archives\n\nunpack a zip archive\n")
    assert peephole("corpus", "files", docs, "-o", data).exit_code == 0
    done = json.loads(peephole("add", index, data, "--sync", "--json").stdout)
    assert {key: done[key] for key in ("added", "replaced", "deleted", "unchanged", "documents")} == {
        "added": 1,
        "replaced": 1,
        "deleted": 1,
        "unchanged": 1,
        "documents": 3,
    }
    hits = json.loads(peephole("search", index, "--mode", "lexical", "--json", "zip", "archive").stdout)[
        "hits"
    ]
    assert [hit["id"] for hit in hits] == ["a.md#disks/archives"]
    again = peephole("add", index, data, "--sync").stdout
    assert (
        "0 added, 0 replaced, 0 deleted, 3 unchanged, 3 documents, generation-000002; nothing changed"
        in again
    )


def test_add_without_sync_deletes_nothing(docs, tmp_path, made):
    index = tmp_path / "index"
    assert peephole("build", made.data, "-m", made.model, "-o", index).exit_code == 0
    (tmp_path / "new.jsonl").write_text('{"_id": "n", "text": "new"}\n')
    done = json.loads(peephole("add", index, tmp_path / "new.jsonl", "--json").stdout)
    assert (done["added"], done["deleted"], done["unchanged"], done["documents"]) == (1, 0, 0, 9)
    refused = peephole("add", index, tmp_path / "new2.jsonl", "--sync")
    assert (refused.exit_code, refused.stderr.count("\n")) == (1, 1)
