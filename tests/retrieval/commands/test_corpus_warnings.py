"""Verbs that read documents say what a folder leaves out, and what is empty in it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli import verbs


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """A folder with two texts, and three files that are no text."""
    folder = tmp_path / "hand book"
    folder.mkdir()
    contents = {
        "a.md": "# Copy\n\ncopy a file",
        "b.txt": "list files",
        "c.md": " \n",
        "d.html": "x",
        "e.html": "y",
    }
    for name, content in contents.items():
        (folder / name).write_text(content)
    return folder


def test_every_verb_that_reads_a_folder_of_texts_says_what_it_leaves_out(made, texts, tmp_path):
    said = (
        f"Warning: {texts}: 3 files left out (2 .html, 1 empty); `peephole corpus files '{texts}' -o DATA` "
        "reads .html\n"
    )
    train = ("-o", tmp_path / "model", "--tower", "bag", "--epochs", "1", "--members", "1")
    for verb, *rest in (
        ("build", texts, "-m", made.model, "-o", tmp_path / "index"),
        ("add", tmp_path / "index", texts),
        ("encode", texts, "-m", made.model, "-o", tmp_path / "vectors.npy"),
        ("train", texts, *train),
    ):
        result = CliRunner().invoke(verbs, [verb, *map(str, rest), "--json"])
        assert (result.exit_code, result.stderr) == (0, said), verb
        assert json.loads(result.stdout)
        if verb in ("build", "add"):
            assert json.loads(result.stdout)["documents"] == 2


def test_files_that_nothing_reads_have_no_remedy(made, texts, tmp_path):
    for name in ("d.html", "e.html", "c.md"):
        (texts / name).unlink()
    (texts / "f.png").write_bytes(b"x")
    result = CliRunner().invoke(
        verbs, ["build", str(texts), "-m", str(made.model), "-o", str(tmp_path / "index")]
    )
    assert (result.exit_code, result.stderr) == (0, f"Warning: {texts}: 1 file left out (1 .png)\n")


def test_nothing_left_out_is_nothing_said(made, texts, tmp_path):
    for name in ("d.html", "e.html", "c.md"):
        (texts / name).unlink()
    result = CliRunner().invoke(
        verbs, ["build", str(texts), "-m", str(made.model), "-o", str(tmp_path / "index")]
    )
    assert (result.exit_code, result.stderr) == (0, "")


def test_empty_documents_of_a_beir_folder_are_kept_for_they_may_be_judged(made, write_beir, tmp_path):
    data = write_beir(tmp_path / "data", {"a": "copy", "b": "", "c": " ", "d": "list"}, {}, {})
    result = CliRunner().invoke(
        verbs, ["build", str(data), "-m", str(made.model), "-o", str(tmp_path / "index"), "--json"]
    )
    assert (result.exit_code, result.stderr) == (0, "")
    assert json.loads(result.stdout)["documents"] == 4
