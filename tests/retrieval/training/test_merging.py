from __future__ import annotations

import numpy as np
import pytest
import torch

from index.documents.store import Document
from retrieval.model.config import ModelConfig, preset
from retrieval.text.vocabulary import learn_vocabulary
from retrieval.towers.two_tower import TwoTower
from retrieval.training import merging
from retrieval.training.examples.training_set import training_set
from retrieval.training.merging import can_merge, merged

TEXTS = [f"quince{n} marrow{n % 3} salsify{n % 5}" for n in range(60)]
QUERIES = [f"tart{n} quince{n}" for n in range(60)]
BAG = ModelConfig("bag", 16, 4, 16)
LSTM = ModelConfig("lstm", 16, 4, 16, tie="table")
CNN = ModelConfig("cnn", 16, 4, 16, tie="table")


@pytest.fixture(scope="module")
def numbered():
    documents = [Document(f"d{n}", "", text) for n, text in enumerate(TEXTS)]
    vocabulary = learn_vocabulary([*TEXTS, *QUERIES], min_count=1)
    queries = {f"q{n}": text for n, text in enumerate(QUERIES)}
    pairs = {f"q{n}": {f"d{n}": 1} for n in range(len(QUERIES))}
    return vocabulary, training_set(documents, queries, pairs, vocabulary, 8, 8)


def a_model(config, vocabulary, seed=0):
    torch.manual_seed(seed)
    model = TwoTower(config, vocabulary)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("attention", "bias")):
                parameter.normal_()
    return model


def cosines(model):
    return model.encode_queries(QUERIES) @ model.encode_documents(TEXTS).T


def turned(model, seed):
    """The same model in other axes."""
    torch.manual_seed(seed)
    axes = torch.linalg.qr(torch.randn(16, 16)).Q
    state = model.state_dict()
    for name in state:
        if name.endswith((".table", ".input", ".window")):
            state[name] = state[name] @ axes
    other = TwoTower(model.config, model.vocabulary)
    other.load_state_dict(state)
    return other


def test_a_single_member_is_the_model(numbered):
    vocabulary, data = numbered
    model = a_model(BAG, vocabulary)
    assert merged([model], data) is model


@pytest.mark.parametrize("config", [BAG, LSTM, CNN], ids=lambda config: config.tower)
def test_members_that_differ_in_their_axes_alone_make_the_same_model(numbered, config):
    vocabulary, data = numbered
    model = a_model(config, vocabulary)
    one = merged([model, turned(model, 1), turned(model, 2)], data)
    assert one.config == model.config
    np.testing.assert_allclose(cosines(one), cosines(model), atol=1e-4)
    lengths, before = (
        next(tensor for name, tensor in each.state_dict().items() if name.endswith(".table")).norm(dim=1)
        for each in (one, model)
    )
    np.testing.assert_allclose(lengths, before, rtol=1e-3)


def test_the_merged_model_is_nearer_to_the_mean_of_the_cosines_than_a_member(numbered):
    vocabulary, data = numbered
    several = [a_model(BAG, vocabulary, seed) for seed in range(3)]
    mean = np.mean([cosines(model) for model in several], axis=0)
    error = np.abs(cosines(merged(several, data)) - mean).mean()
    assert error < 0.7 * min(np.abs(cosines(model) - mean).mean() for model in several)


def test_the_members_stay_as_they_are(numbered):
    vocabulary, data = numbered
    several = [a_model(LSTM, vocabulary, seed) for seed in range(2)]
    before = [{name: tensor.clone() for name, tensor in model.state_dict().items()} for model in several]
    merged(several, data)
    for model, old in zip(several, before, strict=True):
        assert all(torch.equal(tensor, old[name]) for name, tensor in model.state_dict().items())


def test_directions_are_found_in_a_part_of_many_texts(numbered, monkeypatch):
    vocabulary, data = numbered
    model = a_model(BAG, vocabulary)
    monkeypatch.setattr(merging, "_MOST_TEXTS", 40)
    monkeypatch.setattr(merging, "_TEXTS_AT_ONCE", 7)
    one = merged([model, turned(model, 1)], data)
    np.testing.assert_allclose(cosines(one), cosines(model), atol=1e-4)


def test_no_number_of_an_embedding_is_much_larger_than_the_others(numbered, monkeypatch):
    vocabulary, data = numbered
    several = [a_model(BAG, vocabulary, seed) for seed in range(2)]

    def spread():
        lengths = np.linalg.norm(merged(several, data).encode_documents(TEXTS), axis=0)
        return lengths.max() / lengths.min()

    found = spread()
    monkeypatch.setattr(merging, "_rotation", torch.eye)  # the principal directions as they are
    assert found < spread() / 2


def test_embeddings_of_merged_models_are_sums_of_word_rows():
    assert all(can_merge(preset(tower)) for tower in ("lstm", "cnn", "bag"))
    assert not can_merge(preset("dnn"))
    assert not any(can_merge(preset(tower, paper=True)) for tower in ("lstm", "cnn", "dnn"))
