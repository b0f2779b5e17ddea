"""The verbs encode and export, and the verbs whose extra is missing."""

from __future__ import annotations

import builtins
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from cli import verbs
from retrieval.model.config import preset

if TYPE_CHECKING:
    from retrieval.towers.two_tower import TwoTower

LONG = " ".join(f"word{number}" for number in range(200))


@pytest.fixture(scope="module")
def model(random_model: Callable[..., TwoTower], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vectors") / "model"
    random_model(preset("lstm"), texts=["list files by size"]).save(folder)
    return folder


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.jsonl"
    path.write_text(f'{{"_id": "a", "text": "list files"}}\n{{"_id": "b", "text": "{LONG}"}}\n')
    return path


def run(*arguments: object, stdin: str | None = None) -> Result:
    return CliRunner().invoke(verbs, [str(argument) for argument in arguments], input=stdin)


def test_encode_says_what_it_wrote_and_what_the_model_did_not_read(corpus: Path, model: Path, tmp_path: Path):
    output = tmp_path / "vectors.npy"
    done = run("encode", corpus, "-m", model, "-o", output)
    assert done.exit_code == 0
    assert done.stdout == f"{output}: 2 vectors, 256 dimensions, of 2 documents\n"
    told = "the model read the first 128 words only; --passages gives a long one several vectors"
    assert done.stderr == f"of 1 documents {told}\n"
    split = run("encode", corpus, "-m", model, "-o", output, "--passages", 128, "--json")
    facts = json.loads(split.stdout)
    assert facts == {
        "output": str(output),
        "side": "document",
        "texts": 2,
        "vectors": len(np.load(output, allow_pickle=False)),
        "dimension": 256,
        "cut": 0,
        "word_limit": 128,
    }
    assert facts["vectors"] > 2


def test_encode_reads_standard_input_for_either_side(model: Path, tmp_path: Path):
    output = tmp_path / "vectors.npy"
    for side, text in (("document", '{"_id": "a", "text": "list files"}\n'), ("query", "list files\n")):
        done = run("encode", "-", "-m", model, "-o", output, "--side", side, stdin=text)
        assert (done.exit_code, len(np.load(output, allow_pickle=False))) == (0, 1), done.output
        refused = run("encode", "-", "-m", model, "-o", output, "--side", side, "--resume", stdin=text)
        assert refused.exit_code == 1
        assert "cannot be resumed" in refused.stderr


def test_a_file_of_queries_for_the_side_of_documents_is_told_of_the_other_side(model: Path, tmp_path: Path):
    lines = tmp_path / "questions.txt"
    lines.write_text("list files\n")
    refused = run("encode", lines, "-m", model, "-o", tmp_path / "vectors.npy")
    assert refused.exit_code == 1
    (line,) = refused.stderr.splitlines()
    assert line.endswith("or a folder, or --side query for a file of queries")
    assert [path.name for path in tmp_path.iterdir()] == ["questions.txt"]


def test_passages_that_are_no_number_of_words_are_refused(corpus: Path, model: Path, tmp_path: Path):
    asked = ("encode", corpus, "-m", model, "-o", tmp_path / "v.npy", "--passages")
    assert "'auto' is no number of words; give one of 8 or more, or off" in run(*asked, "auto").stderr
    assert "4 is not in the range x>=8" in run(*asked, "4").stderr


def test_columns_are_named_for_queries_too(model: Path, tmp_path: Path):
    table = tmp_path / "pairs.csv"
    table.write_text("Frage,Antwort\nlist files,ls\n")
    named = ["--column", "query=Frage", "--column", "document=Antwort"]
    output = tmp_path / "queries.npy"
    assert run("encode", table, "-m", model, "-o", output, "--side", "query", *named).exit_code == 0
    assert len(np.load(output, allow_pickle=False)) == 1
    lines = tmp_path / "queries.txt"
    lines.write_text("list files\n")
    refused = run("encode", lines, "-m", model, "-o", output, "--side", "query", *named)
    assert refused.exit_code == 1
    assert "has no columns to name" in refused.stderr


@pytest.mark.parametrize(
    ("output", "told"),
    [
        ("vectors.txt", "neither .npy nor .parquet"),
        (".", "is a folder"),
        ("no/vectors.npy", "cannot be written"),
    ],
)
def test_an_output_that_cannot_be_is_one_line(
    output: str, told: str, corpus: Path, model: Path, tmp_path: Path
):
    done = run("encode", corpus, "-m", model, "-o", tmp_path / output)
    assert done.exit_code == 1
    assert told in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_export_writes_a_tower(model: Path, tmp_path: Path):
    pytest.importorskip("onnx", reason="needs the extra onnx")
    output = tmp_path / "query.onnx"
    done = run("export", model, "-o", output)
    assert done.exit_code == 0, done.output
    size = output.stat().st_size
    assert done.stdout == f"{output}: query tower, 256 dimensions, {size:,} bytes\n"
    told = json.loads(run("export", model, "-o", output, "--side", "document", "--json").stdout)
    assert told["side"] == "document"
    assert told["word_limit"] == 128
    refused = run("export", tmp_path, "-o", output)
    assert (refused.exit_code, len(refused.stderr.splitlines())) == (1, 1)


@pytest.mark.parametrize(
    ("library", "extra", "arguments"),
    [
        ("onnx", "onnx", ["export", "{model}", "-o", "{folder}/query.onnx"]),
        ("mcp", "mcp", ["mcp", "{model}"]),
        ("pyarrow", "parquet", ["encode", "{corpus}", "-m", "{model}", "-o", "{folder}/vectors.parquet"]),
        ("ray", "ray", ["build", "{corpus}", "-m", "{model}", "-o", "{folder}/index", "--ray", "local"]),
    ],
)
def test_a_missing_extra_is_named_with_its_command(
    library: str,
    extra: str,
    arguments: list[str],
    corpus: Path,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    for name in [name for name in sys.modules if name.split(".")[0] == library]:
        monkeypatch.delitem(sys.modules, name)
    for name in (
        f"retrieval.adapters.{library}",
        "retrieval.indexing.arrow",
        "retrieval.indexing.distributed",
    ):
        monkeypatch.delitem(sys.modules, name, raising=False)
    real = builtins.__import__

    def absent(name: str, *rest: Any, **options: Any) -> Any:
        if name.split(".")[0] == library:
            raise ModuleNotFoundError(f"No module named {library!r}", name=library)
        return real(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", absent)
    names = {"model": model, "corpus": corpus, "folder": tmp_path}
    before = sorted(tmp_path.rglob("*"))
    done = run(*(argument.format(**names) for argument in arguments))
    assert done.exit_code == 1
    assert (
        done.stderr
        == f"Error: needs {library}, which is not installed; run: pip install 'peephole[{extra}]'\n"
    )
    assert sorted(tmp_path.rglob("*")) == before
