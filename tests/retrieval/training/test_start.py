from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from index.documents.store import Document
from retrieval.model.config import ModelConfig
from retrieval.text.vocabulary import Lexicon, Vocabulary, learn_vocabulary, ragged
from retrieval.training.examples.training_set import TrainingSet, training_set
from retrieval.training.start import feature_weights, initial_model


@pytest.mark.parametrize("tower", ["lstm", "cnn"])
def test_first_attention_tells_words_apart(tower):
    documents = [Document("d", "", "one two three")]
    vocabulary = learn_vocabulary(["one two three"], min_count=1)
    data = training_set(documents, {"q": "one"}, {"q": {"d": 1}}, vocabulary, 8, 8)
    torch.manual_seed(0)
    model = initial_model(ModelConfig(tower, 16, 400, 16, "attention"), vocabulary, data)
    attention = model.towers["both"].body.attention
    assert attention.std().item() == pytest.approx(0.3, rel=0.1)


def test_first_weights_make_cosines_like_those_of_tfidf():
    # "the" is in every text; the rare words tell the texts apart.
    texts = {"a": "the quince", "b": "the marrow", "c": "the quince tart", "d": "the salsify"}
    documents = [Document(name, "", text) for name, text in texts.items()]
    vocabulary = learn_vocabulary(texts.values(), min_count=1)
    data = training_set(documents, {"q": "the"}, {"q": {"a": 1}}, vocabulary, 8, 8)
    torch.manual_seed(0)
    model = initial_model(ModelConfig("bag", 8, 4, 512), vocabulary, data)
    vectors = model.encode_documents(list(texts.values()))
    cosines = vectors @ vectors.T
    assert cosines[0, 2] > 0.5
    assert cosines[0, [1, 3]].max() < 0.25


# "the" is in every text.
TEXTS = ["the quince", "the marrow", "the quince tart", "the salsify and the marrow"]


def new_model(config):
    documents = [Document(f"d{n}", "", text) for n, text in enumerate(TEXTS)]
    vocabulary = learn_vocabulary(TEXTS, min_count=1)
    data = training_set(documents, {"q": "the"}, {"q": {"d0": 1}}, vocabulary, 8, 8)
    torch.manual_seed(0)
    return initial_model(config, vocabulary, data)


def word_rows(model, text):
    """The rows of a text's words, float32 (words, row width)."""
    table = model.tower("query").table.detach().numpy()  # the table of both, if they share it
    return np.stack([table[list(model.vocabulary.features(word))].sum(0) for word in text.split()])


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_dssm_starts_as_the_sum_of_its_rows():
    model = new_model(ModelConfig("dnn", 256, 256, 256))
    sums = unit(np.array([word_rows(model, text).sum(0) for text in TEXTS]))
    np.testing.assert_allclose(model.encode_documents(TEXTS), sums, atol=0.01)


def test_the_last_output_starts_as_the_sum_of_its_rows():
    model = new_model(ModelConfig("lstm", 256, 264, 264, "belt", tie="all"))
    sums = unit(np.array([word_rows(model, text).sum(0) for text in TEXTS]))
    carried = model.encode_documents(TEXTS)[:, :256]
    # The other cells move the weights of the words a little, and hardly show in the embedding.
    assert (np.linalg.norm(carried, axis=1) > 0.9).all()
    assert ((unit(carried) * sums).sum(1) > 0.95).all()


def test_the_papers_cnn_starts_as_extremes_over_time_of_its_rows():
    model = new_model(ModelConfig("cnn", 16, 32, 16, "max", tie="all"))
    rows = [word_rows(model, text) for text in TEXTS]
    expected = unit(np.array([text.max(0) + text.min(0) for text in rows]))
    np.testing.assert_allclose(model.encode_documents(TEXTS), expected, atol=0.04)


def test_a_tower_whose_layers_cannot_be_the_identity_starts_from_noise():
    second = new_model(ModelConfig("dnn", 0, 12, 8)).tower("query").body.second
    assert (second.abs() > 0).all()


def test_feature_weights_are_inverse_document_frequencies():
    # Four texts; feature 0 in all, 1 in two, 2 in one (twice there), 3 in none.
    data = TrainingSet(
        documents=ragged([[0, 1], [0, 1, 1]]),
        owners=np.arange(2),
        queries=ragged([[0], [2, 2]]),
        features=ragged([[0], [1], [0, 2, 2]]),
        pairs=np.zeros((0, 2), np.int64),
        grades=np.zeros(0, np.float32),
        relevant=ragged([[], []]),
        negatives=ragged([[], []]),
        removed_words=np.zeros((0, 2), np.int64),
        abbreviations=np.zeros(0, np.int64),
        long_forms=ragged([]),
        judged_pairs=0,
    )
    raw = [math.log(5 / 5), math.log(5 / 3), math.log(5 / 2), math.log(5 / 1)]
    seen_mean = sum(raw[:3]) / 3
    np.testing.assert_allclose(feature_weights(data, 4), np.array(raw) / seen_mean, rtol=1e-6)


def test_feature_weights_equal_counting_one_text_at_a_time():
    vocabulary = Vocabulary(("#ca", "cat"), 5)
    rng = np.random.default_rng(0)
    lexicon = Lexicon(vocabulary)
    texts = ["".join(rng.choice(list("cat dog"), 12)) for _ in range(2100)]
    documents, queries = (
        ragged([lexicon.word_ids(t) for t in part]) for part in (texts[:2000], texts[2000:])
    )
    nothing = np.zeros((0, 2), np.int64)
    none = ragged([[]] * len(queries))
    data = TrainingSet(
        documents,
        np.arange(2000),
        queries,
        lexicon.features(),
        nothing,
        np.zeros(0, np.float32),
        none,
        none,
        nothing,
        np.zeros(0, np.int64),
        ragged([]),
        0,
    )
    counts = np.zeros(len(vocabulary))
    for text in texts:
        words = Lexicon(vocabulary)
        words.word_ids(text)
        counts[np.unique(words.features().values)] += 1
    expected = np.log((len(texts) + 1) / (counts + 1))
    np.testing.assert_allclose(
        feature_weights(data, len(vocabulary)), expected / expected[counts > 0].mean(), rtol=1e-5
    )


def test_feature_weights_of_one_text_are_finite():
    vocabulary = Vocabulary((), 3)
    data = training_set([Document("d", "", "cat")], {"q": "cat"}, {"q": {"d": 1}}, vocabulary, 8, 8)
    assert np.isfinite(feature_weights(data, 3)).all()
