"""Fitting of re-scoring: features are those of serving; dev decides between sum, network and fusion."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from index.phases import recording
from retrieval.data.known_queries import known_queries
from retrieval.indexing.build import build
from retrieval.model.config import ModelConfig
from retrieval.model.folder import read_model_of
from retrieval.model.rescoring import Rescorer
from retrieval.search.features import NAMES, OF_TITLE_AND_TEXT
from retrieval.search.ordering import features_of
from retrieval.search.rescoring import Rescoring
from retrieval.search.retriever import Retriever
from retrieval.training.examples.dataset import TrainingData, read_training_data
from retrieval.training.fitting import network, rescoring
from retrieval.training.fitting.candidates import candidates_of, judged_candidates, word_comparison
from retrieval.training.fitting.dev_index import dev_index
from retrieval.training.fitting.dev_rankings import rank_dev
from retrieval.training.fitting.linear import PRIOR
from retrieval.training.fitting.rescoring import RANKED, fit_rescorer
from retrieval.training.recipe import Recipe
from retrieval.training.train import train

WORDS = [f"word{n}" for n in range(60)]


@pytest.fixture(autouse=True)
def few_steps(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(network, "_LEAST_STEPS", 60)
    monkeypatch.setattr(network, "_EPOCHS", 1)


@pytest.fixture
def dataset(tmp_path: Path, write_beir) -> TrainingData:
    """Sixty documents; a query is two words of one. The title has a word that no query has."""
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(WORDS, 6)) for _ in range(60)]
    documents = {f"d{n}": text for n, text in enumerate(texts)}
    queries = {f"q{n}": " ".join(rng.choice(texts[n % 60].split(), 2)) for n in range(240)}
    qrels = {f"q{n}": {f"d{n % 60}": 1} for n in range(240)}
    names = list(qrels)
    splits = {"train": names[:120], "dev": names[120:]}
    judged = {split: {name: qrels[name] for name in part} for split, part in splits.items()}
    return read_training_data(write_beir(tmp_path / "data", documents, queries, judged))


@pytest.fixture
def model(random_model):
    return random_model(ModelConfig("bag", 8, 4, 8, tie="all"), texts=WORDS)


@pytest.mark.parametrize("reads_queries", [False, True])
def test_features_of_dev_are_those_of_an_index_untrained(dataset, model, tmp_path, reads_queries):
    rng = np.random.default_rng(1)
    own = OF_TITLE_AND_TEXT | reads_queries
    shapes = ((8, 4), (8,), (1,), (1, own.sum()), (1,), (1,), (own.sum(),))
    rescorer = Rescorer(*(rng.normal(size=shape).astype(np.float32) for shape in shapes), reads_queries)
    known = known_queries(dataset.train, dataset.queries) if reads_queries else {}
    with dev_index(model, dataset, tmp_path / "dev", known_queries=known) as retriever:
        saved = read_model_of(retriever.index)
        untrained = Rescoring(saved, rescorer, saved.word_rows("query"))
        compare = word_comparison(retriever, untrained, tmp_path / "words")
        judged = judged_candidates(untrained, retriever, dataset, rank_dev(retriever, dataset), compare)
        ids = [document.id for document in retriever.index.texts(judged.rows.tolist())]
    model.rescorer = rescorer
    model.save(tmp_path / "model")
    build(tmp_path / "data", tmp_path / "model", tmp_path / "index")
    with Retriever.open(tmp_path / "index") as retriever:
        for number, (name, grades) in enumerate(dataset.dev.items()):
            text = dataset.queries[name]
            dense, lexical = (retriever.rank([text], 50, mode) for mode in ("dense", "lexical"))
            embedding = retriever.encode([text])[0]
            rows, features = features_of(
                untrained.compared(retriever.index, text, embedding, dense, lexical, 100)
            )
            found = [document.id for document in retriever.index.texts(rows.tolist())]
            place = slice(*judged.starts[number : number + 2])
            assert ids[place] == found
            assert np.allclose(judged.features[place], features[:, own], atol=1e-3)
            assert features[:, NAMES.index("query in known queries")].any() == reads_queries
            assert judged.gains[place].tolist() == [grades.get(each, 0) for each in found]


def test_a_model_is_fitted_and_surpasses_fusion_or_has_no_rescorer(dataset, model, tmp_path, monkeypatch):
    with dev_index(model, dataset, tmp_path / "dev") as retriever:
        fitted, ranking = fit_rescorer(
            retriever, dataset, rank_dev(retriever, dataset), 0.9, tmp_path / "words", 0
        )
        assert ranking.rows.shape == (len(dataset.dev), RANKED)
        assert fitted is not None  # a random model's dense ranking counts too much in this fusion
        assert fitted.projection.shape == (8, 8)
        assert not fitted.reads_queries
        assert fitted.linear.shape == (np.count_nonzero(OF_TITLE_AND_TEXT),)
        # As good as the weighted sum is, the network is not needed; nor is fusion.
        monkeypatch.setattr(rescoring, "_ndcg", lambda *arguments: np.ones(len(dataset.dev)))
        ranked = rank_dev(retriever, dataset)
        assert fit_rescorer(retriever, dataset, ranked, 0.9, tmp_path / "more", 0).rescorer.is_linear
        # Clearly worse than fusion, both are dropped.
        values = iter([np.zeros(120), np.zeros(120), np.ones(120)])
        monkeypatch.setattr(rescoring, "_ndcg", lambda *arguments: next(values))
        assert fit_rescorer(retriever, dataset, ranked, 0.9, tmp_path / "worse", 0).rescorer is None


def test_few_dev_queries_move_the_prior_and_none_leave_it(dataset, model, tmp_path, monkeypatch):
    monkeypatch.setattr(rescoring, "_is_worse", lambda values, others: False)
    with dev_index(model, dataset, tmp_path / "dev") as retriever:
        few = replace(dataset, dev=dict(list(dataset.dev.items())[:99]))
        ranked = rank_dev(retriever, few)
        moved = fit_rescorer(retriever, few, ranked, 0.5, tmp_path / "few", 0)
        assert moved.rescorer.is_linear
        assert moved.ranking.rows.shape == (99, RANKED)
        none = replace(dataset, dev={})
        bare = fit_rescorer(retriever, none, rank_dev(retriever, none), 0.5, tmp_path / "none", 0)
        spread = candidates_of(retriever, none, rank_dev(retriever, none), tmp_path / "again", 0).spread
    assert bare.ranking.rows.shape == (0, RANKED)
    prior = PRIOR[OF_TITLE_AND_TEXT]
    varies = spread > 1e-6
    assert varies.sum() > 15  # the first title is in no query, and the last features of it are always 0
    assert bare.rescorer.linear * spread == pytest.approx(np.where(varies, prior, 0), abs=1e-5)
    assert np.abs(moved.rescorer.linear * spread - np.where(varies, prior, 0)).max() > 0.01


def test_where_documents_show_known_queries_the_rescorer_reads_them(dataset, model, tmp_path, monkeypatch):
    monkeypatch.setattr(rescoring, "_is_worse", lambda values, others: False)
    known = known_queries(dataset.train, dataset.queries)
    with dev_index(model, dataset, tmp_path / "dev", known_queries=known) as retriever:
        ranked = rank_dev(retriever, dataset)
        fitted, _ = fit_rescorer(retriever, dataset, ranked, 0.5, tmp_path / "words", 0)
    assert fitted.reads_queries
    assert fitted.linear.shape == (len(NAMES),)
    assert fitted.linear[~OF_TITLE_AND_TEXT].any()


def test_a_loss_within_two_standard_errors_is_none():
    values = np.full(20, 0.5)
    assert not rescoring._is_worse(values, values)
    assert not rescoring._is_worse(values, values + np.tile([0.3, 0.0, -0.2, 0.1], 5))  # by .05, error .04
    assert rescoring._is_worse(values, values + np.tile([0.3, 0.2, -0.1, 0.1], 5))


def test_few_dev_queries_cannot_speak_against_re_scoring():
    assert not rescoring._is_worse(np.zeros(19), np.ones(19))
    assert rescoring._is_worse(np.zeros(20), np.ones(20))


def test_a_fit_is_the_same_whatever_the_number_of_threads(dataset, model, tmp_path):
    before = torch.get_num_threads()
    with dev_index(model, dataset, tmp_path / "dev") as retriever:
        ranked = rank_dev(retriever, dataset)
        fits = []
        for threads in (1, 2, 2):
            torch.set_num_threads(threads)
            folder = tmp_path / f"words-{len(fits)}"
            fits.append(fit_rescorer(retriever, dataset, ranked, 0.9, folder, 0).rescorer)
            assert torch.get_num_threads() == threads
    torch.set_num_threads(before)
    for fit in fits[1:]:
        assert all(np.array_equal(one, other) for one, other in zip(fits[0], fit, strict=True))


def test_towers_with_rows_of_their_own_are_not_compared_by_words(dataset, random_model, tmp_path):
    model = random_model(ModelConfig("bag", 8, 4, 8, tie="none"), texts=WORDS)
    with dev_index(model, dataset, tmp_path / "dev") as retriever:
        assert (
            fit_rescorer(
                retriever, dataset, rank_dev(retriever, dataset), 0.9, tmp_path / "words", 0
            ).rescorer
            is None
        )
        empty = replace(dataset, dev={})
        none = fit_rescorer(retriever, empty, rank_dev(retriever, empty), 0.9, tmp_path / "words", 0)
        assert none.rescorer is None
        assert none.ranking.rows.shape == (0, RANKED)


def test_training_writes_what_it_fitted_and_serving_re_scores(dataset, tmp_path, monkeypatch):
    # The weighted sum, the network, fusion.
    values = iter([np.zeros(120), np.ones(120), np.zeros(120)])
    monkeypatch.setattr(rescoring, "_ndcg", lambda *arguments: next(values))
    config = ModelConfig("bag", 8, 4, 8, tie="all")
    train(tmp_path / "data", tmp_path / "model", config, Recipe(epochs=1, batch=32))
    assert not (tmp_path / "model" / ".dev").exists()
    build(tmp_path / "data", tmp_path / "model", tmp_path / "index")
    with Retriever.open(tmp_path / "index") as retriever:
        assert not retriever.rescoring.rescorer.is_linear
        with recording() as phases:
            retriever.search("word1 word2")
        assert "rescore" in phases
