"""Known queries on their way into an index: built, added, kept, left out."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from index.opened import open_index
from retrieval.data.dataset import Dataset
from retrieval.indexing.build import _training_queries, add, add_documents, build
from retrieval.indexing.sync import sync
from retrieval.model.config import ModelConfig
from retrieval.model.rescoring import Rescorer
from retrieval.search.features import NAMES, OF_TITLE_AND_TEXT

CONFIG = ModelConfig("bag", 8, 4, 8, tie="all")
QUERIES = {"q1": "how to begin", "q2": "first steps", "q3": "stop it", "q4": "unseen"}


def rescorer(reads_queries: bool) -> Rescorer:
    features = len(NAMES) if reads_queries else int(OF_TITLE_AND_TEXT.sum())
    shapes = ((8, 4), (8,), (1,), (1, features), (1,), (1,), (features,))
    rng = np.random.default_rng(0)
    return Rescorer(*(rng.normal(size=shape).astype(np.float32) for shape in shapes), reads_queries)


@pytest.fixture
def data(tmp_path: Path, write_beir) -> Path:
    documents = {"a": "start here", "b": "end there", "c": "nothing"}
    qrels = {"train": {"q1": {"a": 1}, "q2": {"a": 1, "c": 0}, "q3": {"b": 1}}, "test": {"q4": {"c": 1}}}
    return write_beir(tmp_path / "data", documents, QUERIES, qrels)


@pytest.fixture(params=[True])
def model(request, tmp_path: Path, random_model) -> Path:
    made = random_model(CONFIG, texts=["start end nothing how to begin first steps stop it"])
    made.rescorer = rescorer(request.param)
    made.save(tmp_path / "model")
    return tmp_path / "model"


def known_in(folder: Path) -> dict[str, tuple[str, ...]]:
    with open_index(folder) as index:
        return {document.id: document.queries for document in index.live_documents()}


KNOWN = {"a": ("how to begin", "first steps"), "b": ("stop it",), "c": ()}


def test_an_index_stores_the_training_queries_of_its_documents(data: Path, model: Path, tmp_path: Path):
    build(data, model, tmp_path / "index")
    assert known_in(tmp_path / "index") == KNOWN
    with open_index(tmp_path / "index") as index:
        (row,) = index.search_lexical(["steps"], 3).rows[0, :1].tolist()
        assert index.documents([row])[0].id == "a"


def test_without_known_queries_or_a_corpus_of_pairs_none_are_stored(data: Path, model: Path, tmp_path: Path):
    build(data, model, tmp_path / "asked", known_queries=False)
    build(data / "corpus.jsonl", model, tmp_path / "alone")
    for name in ("asked", "alone"):
        assert known_in(tmp_path / name) == dict.fromkeys("abc", ())


@pytest.mark.parametrize("model", [False], indirect=True)
def test_a_model_that_reads_none_has_none_stored(data: Path, model: Path, tmp_path: Path):
    build(data, model, tmp_path / "index")
    add(data, tmp_path / "index")
    assert known_in(tmp_path / "index") == dict.fromkeys("abc", ())


def test_a_document_keeps_its_known_queries_until_the_corpus_has_others(
    data: Path, model: Path, tmp_path: Path
):
    folder = tmp_path / "index"
    build(data, model, folder)
    changed = tmp_path / "new.jsonl"
    changed.write_text(json.dumps({"_id": "a", "text": "start elsewhere"}) + "\n")
    add(changed, folder)
    assert known_in(folder) == KNOWN
    (data / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\nq3\ta\t1\n")
    add(data, folder, known_queries=False)
    assert known_in(folder) == KNOWN
    add(data, folder)
    assert known_in(folder) == {"a": ("stop it",), "b": ("stop it",), "c": ()}


def test_synchronising_with_a_corpus_alone_changes_nothing(data: Path, model: Path, tmp_path: Path):
    folder = tmp_path / "index"
    build(data, model, folder)
    assert sync(data / "corpus.jsonl", folder).unchanged == 3
    assert sync(data, folder).unchanged == 3
    (data / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\nq1\ta\t1\nq2\tc\t1\n")
    found = sync(data, folder)
    assert (found.replaced, found.unchanged) == (2, 1)
    assert known_in(folder) == {"a": ("how to begin",), "b": ("stop it",), "c": ("first steps",)}


def test_documents_in_memory_bring_theirs(data: Path, model: Path, tmp_path: Path):
    folder = tmp_path / "index"
    build(data, model, folder)
    with open_index(folder) as index:
        (first, *_) = index.live_documents()
    add_documents([first._replace(id="new", queries=("another way",))], folder)
    assert known_in(folder) == {**KNOWN, "new": ("another way",)}


def test_queries_to_tune_by_are_those_of_training_zipped_or_not(data: Path):
    plain = _training_queries(Dataset(data))
    assert plain == [QUERIES["q1"], QUERIES["q2"], QUERIES["q3"]]
    content = (data / "queries.jsonl").read_bytes()
    (data / "queries.jsonl").unlink()
    with gzip.open(data / "queries.jsonl.gz", "wb") as file:
        file.write(content)
    assert _training_queries(Dataset(data)) == plain
