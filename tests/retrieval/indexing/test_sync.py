"""An index made to hold exactly a corpus: against a plain dictionary, and by what it encodes."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest

from index.disk.verify import verify
from index.documents.store import Document
from index.errors import InputError
from index.reader import Index
from index.writing import merging
from index.writing.comparison import is_same
from retrieval.indexing.build import add, build
from retrieval.indexing.sync import sync
from retrieval.model.config import ModelConfig
from retrieval.model.encoder import Encoder

CONFIG = ModelConfig("lstm", 8, 4, 8, "attention", tie="none")
WORDS = ["cats", "dogs", "boats", "码头"]
Corpus = dict[str, tuple[str, dict[str, object]]]


def write(path: Path, corpus: Corpus) -> Path:
    lines = [json.dumps({"_id": k, "text": text, "metadata": meta}) for k, (text, meta) in corpus.items()]
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def held(folder: Path) -> Corpus:
    with Index.open(folder, checksums=True) as index:
        documents = index.documents(index.rows().tolist())
    assert len({document.id for document in documents}) == len(documents)
    return {document.id: (document.text, dict(document.metadata)) for document in documents}


def numbered(count: int) -> Corpus:
    return {f"d{n}": (f"text number {n} of {WORDS[n % 4]}", {"n": n}) for n in range(count)}


@pytest.fixture(scope="module")
def built(tmp_path_factory, random_model) -> Path:
    """An index of twelve documents, not to change."""
    folder = tmp_path_factory.mktemp("built")
    random_model(CONFIG, texts=WORDS).save(folder / "model")
    build(write(folder / "corpus.jsonl", numbered(12)), folder / "model", folder / "index")
    return folder / "index"


@pytest.fixture
def index(built, tmp_path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "index"))


@pytest.fixture
def encoded(monkeypatch) -> list[str]:
    """Texts given to the encoder, without the look at a model that opening it takes."""
    seen: list[str] = []
    encode = Encoder.encode

    def counting(self, texts):
        seen.extend(text.strip() for text in texts if "text number" in text)
        return encode(self, texts)

    monkeypatch.setattr(Encoder, "encode", counting)
    return seen


def test_index_holds_exactly_the_corpus_and_encodes_only_what_changed(index, tmp_path, encoded):
    corpus = numbered(10)
    corpus["d3"] = ("text number 3 is new", {"n": 3})
    corpus["d4"] = (corpus["d4"][0], {"n": 4.0})  # as metadata it is another value
    corpus["new"] = ("text number 99", {})
    done = sync(write(tmp_path / "c.jsonl", corpus), index)
    assert (done.added, done.replaced, done.deleted, done.unchanged, done.documents) == (1, 2, 2, 8, 11)
    assert done.generation == "generation-000002"
    assert held(index) == corpus
    assert type(held(index)["d4"][1]["n"]) is float
    assert encoded == ["text number 3 is new", "text number 4 of cats", "text number 99"]
    assert verify(index) == []


def test_corpus_without_changes_publishes_nothing(index, tmp_path, encoded):
    corpus = dict(reversed(numbered(12).items()))  # the order does not matter
    done = sync(write(tmp_path / "c.jsonl", corpus), index)
    assert (done.added, done.replaced, done.deleted, done.unchanged, done.documents) == (0, 0, 0, 12, 12)
    assert (done.generation, encoded) == ("generation-000001", [])
    assert not (index / ".staging").exists()


def test_corpus_that_only_lacks_documents_writes_no_segment(index, tmp_path):
    done = sync(write(tmp_path / "c.jsonl", numbered(9)), index)
    assert (done.deleted, done.unchanged) == (3, 9)
    assert held(index) == numbered(9)
    with Index.open(index) as opened:
        assert len(opened.segments) == 1


def test_corpus_without_any_document_of_the_index_is_refused(index, tmp_path):
    with pytest.raises(InputError, match=r"other\.jsonl: has no document .*, such as 'd0', so all 12 would"):
        sync(write(tmp_path / "other.jsonl", {"x": ("text", {})}), index)
    assert held(index) == numbered(12)


def test_corpus_that_lacks_more_than_is_allowed_changes_nothing(index, tmp_path):
    half = write(tmp_path / "half.jsonl", numbered(6))
    with pytest.raises(InputError, match=r"half\.jsonl: lacks 6 of the 12 .*'d6', more than the 49 % "):
        sync(half, index, most_deleted=49)
    assert held(index) == numbered(12)
    assert sync(half, index, most_deleted=50).deleted == 6
    assert sync(half, index, most_deleted=0).unchanged == 6


@pytest.mark.parametrize("share", [float("nan"), -1, 101])
def test_a_limit_that_is_no_share_is_refused(index, share):
    with pytest.raises(InputError, match="a share from 0 to 100"):
        sync(index, index, most_deleted=share)


def test_broken_corpus_changes_nothing(index, tmp_path):
    path = write(tmp_path / "c.jsonl", numbered(3))
    path.write_text(path.read_text() + "{")
    with pytest.raises(InputError, match=r"c\.jsonl:4: "):
        sync(path, index)
    assert held(index) == numbered(12)


@pytest.mark.parametrize("seed", range(6))
def test_random_life_agrees_with_a_dictionary(index, tmp_path, seed, monkeypatch):
    monkeypatch.setattr(merging, "_ROWS_AT_ONCE", 3)
    chance = random.Random(seed)
    model, corpus = numbered(12), numbered(12)
    for step in range(12):
        before = dict(model)
        for key in chance.sample(sorted(corpus), min(len(corpus) - 1, chance.choice([0, 0, 1, 3]))):
            del corpus[key]
        for _ in range(chance.choice([0, 1, 2, 8])):
            key = f"d{chance.randrange(20)}"
            corpus[key] = (f"text number {chance.randrange(4)}", {"n": chance.choice([1, True, "1", None])})
        if not set(corpus) & set(model):
            continue
        path = write(tmp_path / f"{step}.jsonl", corpus)
        if chance.random() < 0.25:
            add(path, index)
            model = before | corpus
        else:
            done = sync(path, index)
            model = dict(corpus)
            same = {key for key in corpus if json.dumps(corpus[key]) == json.dumps(before.get(key))}
            replaced = corpus.keys() & before.keys() - same
            assert (done.added, done.replaced, done.deleted, done.unchanged) == (
                len(corpus.keys() - before.keys()),
                len(replaced),
                len(before.keys() - corpus.keys()),
                len(same),
            )
        assert json.dumps(held(index), sort_keys=True) == json.dumps(model, sort_keys=True)
    assert verify(index) == []


def test_interrupted_sync_goes_on_where_it_stopped(index, tmp_path, monkeypatch, encoded):
    monkeypatch.setattr("retrieval.indexing.passages._DOCUMENTS_PER_SHARD", 2)
    corpus = {key: (f"{text} again", meta) for key, (text, meta) in numbered(8).items()}
    path = write(tmp_path / "c.jsonl", corpus)

    def interrupt(stage, done, total):
        if stage == "encoding" and done >= 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sync(path, index, progress=interrupt)
    assert held(index) == numbered(12)
    first = list(encoded)
    done = sync(path, index, resume=True)
    assert (done.replaced, done.deleted, done.unchanged) == (8, 4, 0)
    assert held(index) == corpus
    assert sorted(encoded) == sorted(text for text, _ in corpus.values())
    assert len(first) == 4


def test_addition_cut_short_is_not_taken_for_a_sync(index, tmp_path, monkeypatch):
    """They stage different documents of the same corpus."""
    monkeypatch.setattr("retrieval.indexing.passages._DOCUMENTS_PER_SHARD", 2)
    corpus = numbered(12) | {"d5": ("text changed", {})}
    path = write(tmp_path / "c.jsonl", corpus)

    def interrupt(stage, done, total):
        if stage == "encoding":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        add(path, index, progress=interrupt)
    done = sync(path, index, resume=True)
    assert (done.replaced, done.unchanged) == (1, 11)
    assert held(index) == corpus


def test_equal_documents_may_name_their_metadata_in_another_order():
    one = Document("a", "t", "x", {"b": 1, "c": "é"})
    assert is_same(one, Document("a", "t", "x", {"c": "é", "b": 1}))
    assert not is_same(one, Document("a", "t", "x", {"c": "é", "b": True}))
    assert not is_same(one, Document("a", "t", "y", one.metadata))
    assert not is_same(one, Document("a", "", "x", one.metadata))
