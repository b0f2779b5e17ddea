"""From a corpus to an index: order, progress, and going on where a build broke off."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from index.documents.store import Document
from index.errors import ExistingError, InputError
from index.reader import Index
from retrieval.data.documents import count_documents
from retrieval.indexing.build import add_documents, build, create
from retrieval.model.config import ModelConfig
from retrieval.model.encoder import Encoder
from retrieval.model.folder import read_model

CONFIG = ModelConfig("lstm", 8, 4, 8, "attention", tie="none")
TEXTS = [f"document number {n} about {['cats', 'dogs', 'boats'][n % 3]}" for n in range(11)]


@pytest.fixture
def model(tmp_path, random_model):
    random_model(CONFIG, texts=TEXTS).save(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "corpus.jsonl"
    lines = [json.dumps({"_id": f"d{n}", "title": f"T{n}", "text": text}) for n, text in enumerate(TEXTS)]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr("retrieval.indexing.passages._DOCUMENTS_PER_SHARD", 3)


@pytest.fixture
def encoded(monkeypatch):
    """Texts given to the encoder while building, without the look at a model that opening it takes."""
    seen: list[str] = []
    encode = Encoder.encode

    def counting(self, texts):
        seen.extend(text for text in texts if text.startswith("T"))
        return encode(self, texts)

    monkeypatch.setattr(Encoder, "encode", counting)
    return seen


def vectors(folder):
    """Every stored vector in the order of rows, found by searching with unit axes."""
    with Index.open(folder) as index:
        axes = np.eye(index.dimension, dtype=np.float32)
        ranking = index.search_exact(axes, index.count)
        stored = np.empty((index.count, index.dimension), np.float32)
        for axis in range(index.dimension):
            stored[ranking.rows[axis], axis] = ranking.scores[axis]
        return stored, [document.id for document in index.documents(range(index.count))]


def test_vectors_are_those_of_the_document_tower_on_title_and_text(corpus, model, tmp_path, small_shards):
    manifest = build(corpus, model, tmp_path / "i")
    assert manifest.documents == 11
    stored, ids = vectors(tmp_path / "i")
    assert ids == [f"d{n}" for n in range(11)]
    expected = read_model(model).encoder("document").encode([f"T{n} {t}" for n, t in enumerate(TEXTS)])
    np.testing.assert_allclose(stored, expected, atol=3e-4)  # halves


def test_progress_counts_documents(corpus, model, tmp_path, small_shards):
    reports = []
    build(corpus, model, tmp_path / "i", progress=lambda *report: reports.append(report))
    assert [r for r in reports if r[0] == "encoding"] == [("encoding", n, 11) for n in (3, 6, 9, 11)]


def test_a_build_that_broke_off_goes_on_where_it_stood(corpus, model, tmp_path, small_shards, encoded):
    def fail(stage, done, total):
        if (stage, done) == ("encoding", 6):
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        build(corpus, model, tmp_path / "i", progress=fail)
    assert not (tmp_path / "i" / "CURRENT").exists()
    encoded.clear()
    build(corpus, model, tmp_path / "i", resume=True)
    assert [text.split()[0] for text in encoded] == [f"T{n}" for n in range(6, 11)]
    build(corpus, model, tmp_path / "whole")
    np.testing.assert_allclose(vectors(tmp_path / "i")[0], vectors(tmp_path / "whole")[0], atol=1e-6)
    assert vectors(tmp_path / "i")[1] == vectors(tmp_path / "whole")[1]


@pytest.mark.parametrize("change", ["corpus", "model"])
def test_resume_with_another_corpus_or_model_begins_anew(
    corpus, model, tmp_path, small_shards, encoded, change, random_model
):
    def fail(stage, done, total):
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError):
        build(corpus, model, tmp_path / "i", progress=fail)
    if change == "corpus":
        corpus.write_text(corpus.read_text().replace("number 10", "number ten"))
    else:
        shutil.rmtree(model)
        random_model(CONFIG, 1, TEXTS).save(model)
    encoded.clear()
    build(corpus, model, tmp_path / "i", resume=True)
    assert len(encoded) == 11
    stored, _ = vectors(tmp_path / "i")
    texts = [json.loads(line) for line in corpus.read_text().splitlines()]
    expected = read_model(model).encoder("document").encode([f"{t['title']} {t['text']}" for t in texts])
    np.testing.assert_allclose(stored, expected, atol=3e-4)  # halves


def test_a_broken_line_far_down_leaves_no_index(corpus, model, tmp_path, small_shards):
    with corpus.open("a") as file:
        file.write("{broken\n")
    with pytest.raises(InputError, match=r"corpus\.jsonl:12: broken JSON"):
        build(corpus, model, tmp_path / "i")
    assert not (tmp_path / "i" / "CURRENT").exists()


def test_a_resumed_build_reads_the_corpus_that_was_mended(corpus, model, tmp_path, small_shards):
    whole = corpus.read_text()
    corpus.write_text(whole + "{broken\n")
    with pytest.raises(InputError):
        build(corpus, model, tmp_path / "i")
    corpus.write_text(whole)
    assert build(corpus, model, tmp_path / "i", resume=True).documents == 11


def test_documents_are_counted_for_jsonl_only(corpus, tmp_path):
    assert count_documents(corpus) == 11
    assert count_documents(tmp_path) == 11
    (tmp_path / "t.tsv").write_text("a\tb\n")
    assert count_documents(tmp_path / "t.tsv") is None
    assert count_documents("-") is None


def test_an_index_is_created_empty_and_never_over_another(model, tmp_path):
    create(model, tmp_path / "i")
    assert add_documents([Document("a", text="cats")], tmp_path / "i").added == 1
    create(model, tmp_path / "i")
    with Index.open(tmp_path / "i", checksums=True) as index:
        assert [document.id for document in index.documents(index.rows())] == ["a"]


def test_documents_that_exist_are_replaced_kept_or_refused(model, tmp_path):
    def texts():
        with Index.open(tmp_path / "i") as index:
            return {document.id: document.text for document in index.documents(index.rows())}

    create(model, tmp_path / "i")
    add_documents([Document("a", text="cats")], tmp_path / "i")
    both = [Document("a", text="dogs"), Document("b", text="boats")]
    with pytest.raises(ExistingError, match="has a document with the id 'a'; nothing was added"):
        add_documents(both, tmp_path / "i", existing="refuse")
    assert texts() == {"a": "cats"}
    kept = add_documents(both, tmp_path / "i", existing="keep")
    assert (kept.added, kept.replaced, texts()) == (1, 0, {"a": "cats", "b": "boats"})
    again = add_documents(both, tmp_path / "i", existing="keep")
    assert (again.added, again.documents, again.generation) == (0, 2, kept.generation)
    replaced = add_documents(both, tmp_path / "i")
    assert (replaced.replaced, texts()) == (2, {"a": "dogs", "b": "boats"})
