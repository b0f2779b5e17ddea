"""Vectors of a corpus or of queries as a file: the tower's, in order, named, and whole or not at all."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import faiss
import numpy as np
import pytest

from index.disk.writer_lock import WriterLock
from index.errors import BusyError, CorruptError, InputError
from retrieval.indexing.build import build
from retrieval.indexing.encode import Encoded, encode
from retrieval.model.config import preset
from retrieval.model.folder import read_model

if TYPE_CHECKING:
    from retrieval.towers.two_tower import TwoTower

LONG = " ".join(f"Sentence {number} says what file {number} holds." for number in range(60))
TEXTS = {"a": "list files", "b": "启动服务", "c/1": LONG, "d\n": "copy a folder", "e": "", "f": "list files"}


@pytest.fixture(scope="module")
def model(random_model: Callable[..., TwoTower], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("encode") / "model"
    random_model(preset("lstm"), texts=["list files by size", "sentence says what holds"]).save(folder)
    return folder


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    lines = [json.dumps({"_id": id_, "title": "T", "text": text}) for id_, text in TEXTS.items()]
    path = tmp_path / "corpus.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return path


def names_of(output: Path) -> list[Any]:
    lines = output.with_suffix(".ids.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def vectors_of(output: Path) -> Any:
    return np.load(output, allow_pickle=False)


def test_rows_are_the_document_towers_vectors_in_order_and_named(corpus: Path, model: Path, tmp_path: Path):
    output = tmp_path / "vectors.npy"
    encoded = encode(corpus, model, output)
    assert encoded == Encoded("document", 6, 6, 256, cut=1, word_limit=128)
    expected = read_model(model).encoder("document").encode([f"T {text}" for text in TEXTS.values()])
    vectors = vectors_of(output)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, expected, atol=1e-6)
    assert names_of(output) == [{"id": id_} for id_ in TEXTS]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "corpus.jsonl",
        "vectors.ids.jsonl",
        "vectors.npy",
    ]


@pytest.mark.usefixtures("like_nfs")
def test_vectors_are_written_to_a_folder_on_nfs_twice(corpus: Path, model: Path, tmp_path: Path):
    for _ in range(2):
        assert encode(corpus, model, tmp_path / "vectors.npy").vectors == 6


def test_parquet_holds_the_same(corpus: Path, model: Path, tmp_path: Path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs the extra parquet")
    for name in ("vectors.npy", "vectors.parquet"):
        encode(corpus, model, tmp_path / name)
    table = parquet.read_table(tmp_path / "vectors.parquet")
    assert str(table.schema.field("vector").type) == "fixed_size_list<element: float>[256]"
    assert table["id"].to_pylist() == list(TEXTS)
    np.testing.assert_array_equal(np.stack(table["vector"].to_numpy()), vectors_of(tmp_path / "vectors.npy"))


def test_passages_have_the_vectors_that_an_index_stores(corpus: Path, model: Path, tmp_path: Path):
    output = tmp_path / "vectors.npy"
    encoded = encode(corpus, model, output, passage_words=128)
    manifest = build(corpus, model, tmp_path / "index")
    segment = tmp_path / "index" / manifest.generation / "segment-000001"
    stored = faiss.read_index(str(segment / "vectors.faiss"))
    np.testing.assert_allclose(vectors_of(output), stored.reconstruct_n(0, stored.ntotal), atol=1e-3)
    names = names_of(output)
    assert len(names) == encoded.vectors == stored.ntotal > len(TEXTS)
    assert encoded.cut == 0
    parts = [LONG[name["start"] : name["end"]] for name in names if name["id"] == "c/1"]
    assert parts[0].startswith("Sentence 0 ")
    assert parts[-1].endswith("file 59 holds.")


def test_queries_are_encoded_by_their_tower(model: Path, tmp_path: Path):
    lines = tmp_path / "queries.txt"
    lines.write_text("list files\n\ncopy a folder\n")
    encoded = encode(lines, model, tmp_path / "queries.npy", "query")
    expected = read_model(model).encoder("query").encode(["list files", "copy a folder"])
    np.testing.assert_allclose(vectors_of(tmp_path / "queries.npy"), expected, atol=1e-6)
    assert names_of(tmp_path / "queries.npy") == [{"id": "1"}, {"id": "3"}]
    assert (encoded.texts, encoded.word_limit) == (2, 64)


def test_queries_of_a_beir_folder_and_of_pairs_keep_their_ids(
    model: Path, tmp_path: Path, write_beir: Callable[..., Path]
):
    folder = write_beir(tmp_path / "data", {"d": "x"}, {"q7": "list files"}, {"train": {"q7": {"d": 1}}})
    encode(folder, model, tmp_path / "beir.npy", "query")
    assert names_of(tmp_path / "beir.npy") == [{"id": "q7"}]
    (tmp_path / "pairs.csv").write_text("query,document\nlist files,ls\n")
    encode(tmp_path / "pairs.csv", model, tmp_path / "pairs.npy", "query")
    np.testing.assert_array_equal(vectors_of(tmp_path / "beir.npy"), vectors_of(tmp_path / "pairs.npy"))


KILLED = """
import os, signal, sys
from pathlib import Path
from retrieval.indexing import encode as module, passages
passages._DOCUMENTS_PER_SHARD = 2
def progress(stage, done, total):
    if done == 4:
        os.kill(os.getpid(), signal.SIGKILL)
corpus, model, output = map(Path, sys.argv[1:])
module.encode(corpus, model, output, progress=progress)
"""


@pytest.mark.parametrize("suffix", [".npy", ".parquet"])
def test_a_killed_run_leaves_no_output_and_goes_on_where_it_was(
    suffix: str, corpus: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    if suffix == ".parquet":
        pytest.importorskip("pyarrow", reason="needs the extra parquet")
    output, whole = tmp_path / f"vectors{suffix}", tmp_path / f"whole{suffix}"
    killed = subprocess.run([sys.executable, "-c", KILLED, str(corpus), str(model), str(output)])
    assert killed.returncode == -9
    assert not output.exists()
    monkeypatch.setattr("retrieval.indexing.passages._DOCUMENTS_PER_SHARD", 2)
    counts: list[int] = []
    encode(corpus, model, output, resume=True, progress=lambda stage, done, total: counts.append(done))
    assert counts == [6]  # the first four texts were not encoded again
    encode(corpus, model, whole)
    if suffix == ".npy":
        assert names_of(output) == names_of(whole)
        vectors = [vectors_of(path) for path in (output, whole)]
    else:
        from pyarrow import parquet

        tables = [parquet.read_table(path) for path in (output, whole)]
        assert tables[0]["id"] == tables[1]["id"]
        vectors = [np.stack(table["vector"].to_numpy()) for table in tables]
    np.testing.assert_allclose(*vectors, atol=1e-6)  # other batches round differently


def interrupted(corpus: Path, model: Path, output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("retrieval.indexing.passages._DOCUMENTS_PER_SHARD", 2)

    def stop(stage: str, done: int, total: int | None) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encode(corpus, model, output, progress=stop)


@pytest.mark.parametrize("change", ["corpus", "passages", "no resume"])
def test_what_was_encoded_of_something_else_is_not_kept(
    change: str, corpus: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    output = tmp_path / "vectors.npy"
    interrupted(corpus, model, output, monkeypatch)
    if change == "corpus":
        corpus.write_text(corpus.read_text().replace("list files", "move files"))
    counts: list[int] = []
    encode(
        corpus,
        model,
        output,
        passage_words=64 if change == "passages" else 0,
        resume=change != "no resume",
        progress=lambda stage, done, total: counts.append(done),
    )
    assert counts == [2, 4, 6]


def test_the_old_output_stays_until_the_new_one_is_complete(
    corpus: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    output = tmp_path / "vectors.npy"
    encode(corpus, model, output)
    before = output.read_bytes()
    interrupted(corpus, model, output, monkeypatch)
    assert output.read_bytes() == before
    encode(corpus, model, output, passage_words=64)
    assert len(vectors_of(output)) == len(names_of(output)) > 6


def test_a_damaged_draft_is_told_and_not_resumed(
    corpus: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    output = tmp_path / "vectors.npy"
    interrupted(corpus, model, output, monkeypatch)
    (tmp_path / ".vectors.npy.draft" / "vectors.npy").write_bytes(b"short")
    with pytest.raises(CorruptError, match="ends early; run without --resume"):
        encode(corpus, model, output, resume=True)
    encode(corpus, model, output)
    assert len(vectors_of(output)) == 6


def test_a_corpus_that_is_broken_at_once_leaves_nothing(model: Path, tmp_path: Path):
    (tmp_path / "corpus.jsonl").write_text("{broken\n")
    with pytest.raises(InputError, match="broken JSON"):
        encode(tmp_path / "corpus.jsonl", model, tmp_path / "vectors.npy")
    assert [path.name for path in tmp_path.iterdir()] == ["corpus.jsonl"]


def test_a_corpus_that_is_broken_at_its_end_leaves_nothing(
    corpus: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("retrieval.indexing.passages._DOCUMENTS_PER_SHARD", 2)
    corpus.write_text(corpus.read_text() + "{broken\n")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(InputError, match="broken JSON"):
        encode(corpus, model, tmp_path / "vectors.npy")
    assert sorted(tmp_path.iterdir()) == before


def test_two_runs_do_not_write_the_same_output(corpus: Path, model: Path, tmp_path: Path):
    (tmp_path / ".vectors.npy.draft").mkdir()
    with WriterLock(tmp_path / ".vectors.npy.draft"), pytest.raises(BusyError):
        encode(corpus, model, tmp_path / "vectors.npy")


def test_what_cannot_be_written_or_split_is_refused(corpus: Path, model: Path, tmp_path: Path):
    with pytest.raises(InputError, match=r"neither \.npy nor \.parquet"):
        encode(corpus, model, tmp_path / "vectors.txt")
    with pytest.raises(InputError, match="queries have no passages"):
        encode(corpus, model, tmp_path / "vectors.npy", "query", passage_words=64)
    with pytest.raises(InputError, match="--passages must not be more"):
        encode(corpus, model, tmp_path / "vectors.npy", passage_words=200)
