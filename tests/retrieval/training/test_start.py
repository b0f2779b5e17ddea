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
