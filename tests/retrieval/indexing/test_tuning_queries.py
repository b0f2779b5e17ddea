"""Queries to tune by: real ones, those that documents are known to answer, or pieces of the documents."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from index.values import Texts, Vectors
from retrieval.indexing.build import build
from retrieval.indexing.tuning_queries import queries_of, tuning_queries
from retrieval.model.config import ModelConfig
from retrieval.model.folder import TrainedModel, read_model
from retrieval.towers.two_tower import TwoTower

LONG = Texts("", " ".join(f"w{n}" for n in range(500)))
REAL = [f"how to list files {n}" for n in range(50)]


@pytest.fixture
def model(tmp_path, random_model: Callable[..., TwoTower]) -> TrainedModel:
    random_model(ModelConfig("lstm", 8, 4, 8, "attention", tie="none")).save(tmp_path / "model")
    return read_model(tmp_path / "model")


def test_pieces_are_some_successive_words():
    pieces = queries_of([LONG] * 200)
    assert all(f" {piece} " in f" {LONG.text} " for piece in pieces)
    assert {len(piece.split()) for piece in pieces} == {2, 3, 4, 5, 6}
    starts = [int(piece.split()[0][1:]) for piece in pieces]
    assert min(starts) < 50
    assert max(starts) > 400
    assert queries_of([LONG] * 200) == pieces


def test_pieces_of_chinese_have_twice_as_many_characters():
    text = "".join(chr(0x4E00 + n) for n in range(300))
    pieces = queries_of([Texts("", text)] * 200)
    assert all(piece in text for piece in pieces)
    assert {len(piece) for piece in pieces} == {4, 6, 8, 10, 12}


@pytest.mark.parametrize(
    ("texts", "query"),
    [
        (Texts("", ""), ""),
        (Texts("", " \n "), ""),
        (Texts("ls", ""), "ls"),
        (Texts("?!", "..."), "?! ..."),
        (Texts("ls", "list", "what lists files"), "what lists files"),
    ],
)
def test_short_documents_give_all_of_their_text_and_known_queries_go_first(texts: Texts, query: str):
    assert queries_of([texts]) == [query]


def test_fifty_real_queries_take_the_place_of_pieces(model: TrainedModel):
    encode = model.encoder("query").encode
    texts = [LONG] * 3
    np.testing.assert_array_equal(tuning_queries(model, REAL)(texts), encode(REAL))
    np.testing.assert_array_equal(tuning_queries(model, REAL[:49])(texts), encode(queries_of(texts)))
    np.testing.assert_array_equal(tuning_queries(model)(texts), encode(queries_of(texts)))


def test_a_large_corpus_is_tuned_by_pieces_of_its_documents(
    model: TrainedModel, tmp_path, monkeypatch: pytest.MonkeyPatch
):
    from index.dense import beside

    asked: list[Vectors | None] = []
    tune = beside.tune

    def noted(vectors, queries, *others):
        asked.append(queries)
        return tune(vectors, queries, *others)

    monkeypatch.setattr(beside, "tune", noted)
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text("".join(f'{{"_id": "{n}", "text": "list files {n} now"}}\n' for n in range(5)))
    build(corpus, model.folder, tmp_path / "small")
    monkeypatch.setattr("index.writing.segment.SMALL", 0)
    build(corpus, model.folder, tmp_path / "large")
    pieces: Sequence[str] = queries_of([Texts("", f"list files {n} now") for n in range(5)])
    assert asked[0] is None
    np.testing.assert_array_equal(asked[1], model.encoder("query").encode(pieces))
