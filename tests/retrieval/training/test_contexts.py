from __future__ import annotations

import numpy as np
import pytest
import torch

from index.documents.store import Document
from retrieval.model.config import ModelConfig
from retrieval.text.vocabulary import learn_vocabulary
from retrieval.training import contexts
from retrieval.training.contexts import feature_contexts, rarely_trained, turn_to_contexts
from retrieval.training.examples.training_set import training_set
from retrieval.training.start import initial_model

# No two words have a trigram in common.
TEXTS = ["mpan quince", "mpan marrow marrow", "salsify", "tart salsify"]


def a_training_set(texts=TEXTS):
    documents = [Document(f"d{n}", "", text) for n, text in enumerate(texts)]
    vocabulary = learn_vocabulary([*texts, "unseen"], min_count=1)
    return vocabulary, training_set(documents, {"q": "unseen"}, {"q": {"d0": 1}}, vocabulary, 4, 4)


def random_rows(vocabulary, width=16):
    torch.manual_seed(0)
    return torch.randn(len(vocabulary), width)


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def test_contexts_are_sums_of_centred_passage_vectors():
    vocabulary, data = a_training_set()
    rows = random_rows(vocabulary)
    counts = np.zeros((len(TEXTS), len(vocabulary)), np.float32)
    for row, text in enumerate(TEXTS):
        for word in text.split():
            np.add.at(counts[row], vocabulary.features(word), 1)
    passages = unit(counts @ rows.numpy())
    expected = counts.T @ (passages - passages.mean(0))
    seen = counts.any(0)
    found = feature_contexts(rows, data).numpy()
    np.testing.assert_allclose(found[seen], unit(expected[seen]), atol=1e-5)
    assert not found[~seen].any()


def test_contexts_do_not_depend_on_how_many_passages_are_read_at_once(monkeypatch):
    vocabulary, data = a_training_set()
    rows = random_rows(vocabulary)
    at_once = feature_contexts(rows, data)
    monkeypatch.setattr(contexts, "_BATCH_PASSAGES", 3)
    torch.testing.assert_close(feature_contexts(rows, data), at_once)


def test_contexts_leave_the_rows_as_they_are():
    vocabulary, data = a_training_set()
    rows = random_rows(vocabulary)
    before = rows.clone()
    feature_contexts(rows, data)
    torch.testing.assert_close(rows, before, rtol=0, atol=0)
    assert rows.grad is None


def test_what_all_passages_say_is_no_context():
    vocabulary, data = a_training_set(["quince marrow"] * 3)
    assert feature_contexts(random_rows(vocabulary), data).norm(dim=1).max() < 0.1


def test_words_of_the_same_passages_start_near_each_other():
    vocabulary, data = a_training_set()
    torch.manual_seed(0)
    model = initial_model(ModelConfig("bag", 512, 4, 512), vocabulary, data)
    mpan, marrow, salsify = model.encode_queries(["mpan", "marrow", "salsify"])
    assert mpan @ marrow > 0.1
    assert mpan @ salsify < 0.0


def test_rows_turn_by_their_share_and_stay_as_long():
    vocabulary, data = a_training_set()
    table = random_rows(vocabulary)
    before, contexts = table.clone(), feature_contexts(table, data)
    share = torch.zeros(len(vocabulary), 1)
    row, other = (vocabulary.features(word)[-1] for word in ("quince", "marrow"))
    share[row] = 2.0
    turn_to_contexts(table, data, share)
    torch.testing.assert_close(table.norm(dim=1), before.norm(dim=1))
    torch.testing.assert_close(table[other], before[other])
    length = before[row].norm()
    expected = before[row] + 2 * length * contexts[row]
    torch.testing.assert_close(table[row], length * expected / expected.norm())


@pytest.mark.parametrize("full_epoch", [0, 9])
def test_what_is_rare_in_the_texts_of_pairs(monkeypatch, full_epoch):
    monkeypatch.setattr(contexts, "FULL_EPOCH", full_epoch)
    monkeypatch.setattr(contexts, "_RARE", 1)
    texts = ["quince. quince box (QBX). the", "marrow marrow salsify. marrow two three", "tart (QBX)"]
    documents = [Document(f"d{n}", "", text) for n, text in enumerate(texts)]
    vocabulary = learn_vocabulary([*texts, "tart"], min_count=1)
    data = training_set(documents, {"q": "tart quince"}, {"q": {"d0": 1}}, vocabulary, 8, 8)
    rare = rarely_trained(data, len(vocabulary))

    def is_rare(word):
        return bool(rare[vocabulary.features(word)[-1]])

    assert [is_rare(word) for word in ("quince", "tart", "the")] == [False, True, True]
    # Of the document without a judged pair the passage counts where pseudo-queries are drawn.
    assert is_rare("marrow") == (full_epoch == 0)
    assert not is_rare("qbx")  # an abbreviation
