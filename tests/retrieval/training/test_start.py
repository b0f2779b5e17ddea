from __future__ import annotations

import numpy as np
import pytest
import torch

from index.documents.store import Document
from retrieval.model.config import ModelConfig
from retrieval.text.vocabulary import learn_vocabulary
from retrieval.training.batches import training_set
from retrieval.training.start import initial_model


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
    assert np.abs(cosines[0, [1, 3]]).max() < 0.25


# "the" is in every text.
TEXTS = ["the quince", "the marrow", "the quince tart", "the salsify and the marrow"]


def new_model(config):
    documents = [Document(f"d{n}", "", text) for n, text in enumerate(TEXTS)]
    vocabulary = learn_vocabulary(TEXTS, min_count=1)
    data = training_set(documents, {"q": "the"}, {"q": {"d0": 1}}, vocabulary, 8, 8)
    torch.manual_seed(0)
    return initial_model(config, vocabulary, data)


@pytest.mark.parametrize(
    "config",
    [ModelConfig("dnn", 256, 256, 256), ModelConfig("lstm", 256, 264, 264, "belt", tie="table")],
    ids=lambda config: config.tower,
)
def test_the_papers_towers_start_as_sums_of_tfidf_rows(config):
    bag = new_model(ModelConfig("bag", 256, 4, 256)).encode_documents(TEXTS)
    vectors = new_model(config).encode_documents(TEXTS)
    # The words have other weights in the belt, within the noise of its small LSTM, so the texts are compared.
    np.testing.assert_allclose(vectors @ vectors.T, bag @ bag.T, atol=0.15)


def test_the_papers_cnn_starts_as_extremes_over_time_of_the_rows():
    model = new_model(ModelConfig("cnn", 16, 32, 16, "max"))
    tower = model.tower("document")
    words = {word: 0 for text in TEXTS for word in text.split()}
    with torch.no_grad():
        rows = {}
        for word in words:
            features = torch.tensor(model.vocabulary.features(word))
            rows[word] = tower.table[features].sum(0).numpy()
    expected = np.array(
        [
            np.max([rows[w] for w in text.split()], 0) + np.min([rows[w] for w in text.split()], 0)
            for text in TEXTS
        ]
    )
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(model.encode_documents(TEXTS), expected, atol=0.02)


def test_a_tower_whose_layers_cannot_be_the_identity_starts_from_noise():
    second = new_model(ModelConfig("dnn", 0, 12, 8)).tower("query").body.second
    assert (second.abs() > 0).all()
