"""The towers on small cases, computed by hand one text and one word at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from retrieval.model.config import ModelConfig
from retrieval.text.vocabulary import Vocabulary, ragged
from retrieval.towers.bodies import dropout_noise, mean_rows, text_batch
from retrieval.towers.tower import Tower
from retrieval.towers.two_tower import TwoTower

# Four words; the first has two features, the last one feature twice.
FEATURES = ragged([[0, 1], [2], [3], [4, 4]])
TEXTS = [[0, 1, 2], [3], [1, 1], [2, 3, 0, 1, 2]]


def tower(config, seed=0):
    """A tower of random weights over the five features."""
    torch.manual_seed(seed)
    made = Tower(config, 5)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(std=0.7)
    return made


def numbers(made):
    """Every weight as float64, by its name without `body.`."""
    return {name.removeprefix("body."): p.detach().double().numpy() for name, p in made.named_parameters()}


def word_rows(weights):
    table = weights["table"]
    return np.array([table[0] + table[1], table[2], table[3], 2 * table[4]])


def embed(made, texts=TEXTS):
    return made(text_batch(ragged(texts), FEATURES)).detach().numpy()


def unit(vectors):
    array = np.array(vectors)
    return array / np.linalg.norm(array, axis=1, keepdims=True)


def sigm(x):
    return 1 / (1 + np.exp(-x))


def test_batch_holds_each_distinct_word_once():
    batch = text_batch(ragged([[3, 1, 3], [1]]), FEATURES)
    assert batch.features.tolist() == [2, 4, 4]  # words 1 and 3
    assert batch.feature_offsets.tolist() == [0, 1]
    assert batch.words.tolist() == [1, 0, 1, 0]
    assert batch.lengths.tolist() == [3, 1]
    assert batch.offsets.tolist() == [0, 3]


def test_mean_counts_a_repeated_word_each_time():
    batch = text_batch(ragged([[0, 0, 1], [1]]), FEATURES)
    rows = torch.tensor([[3.0, 0.0], [0.0, 6.0]])
    assert mean_rows(rows, batch).tolist() == [[2.0, 2.0], [0.0, 6.0]]


def test_bag_is_the_average_of_its_words():
    made = tower(ModelConfig("bag", 3, 4, 3))
    rows = word_rows(numbers(made))
    np.testing.assert_allclose(embed(made), unit([rows[text].mean(0) for text in TEXTS]), atol=1e-6)


def test_dssm_is_three_layers_of_tanh_over_trigram_counts():
    made = tower(ModelConfig("dnn", 0, 4, 3))
    w = numbers(made)
    expected = []
    for text in TEXTS:
        counts = np.zeros(5)
        for word in text:
            for feature in ([0, 1], [2], [3], [4, 4])[word]:
                counts[feature] += 1
        first = np.tanh(counts @ w["table"] + w["first_bias"])
        second = np.tanh(w["second"] @ first + w["second_bias"])
        expected.append(np.tanh(w["third"] @ second + w["third_bias"]))
    np.testing.assert_allclose(embed(made), unit(expected), atol=1e-6)


@pytest.mark.parametrize(("pooling", "word_dim"), [("max", 0), ("max", 6), ("attention", 6)])
def test_cnn_convolves_windows_of_three_with_zeros_beyond_both_ends(pooling, word_dim):
    made = tower(ModelConfig("cnn", word_dim, 4, 6, pooling))
    w = numbers(made)
    rows = word_rows(w)
    placed = rows @ w["window"].T if word_dim else rows
    left, middle, right = np.split(placed, 3, 1)
    expected = []
    for text in TEXTS:
        features = []
        for t, word in enumerate(text):
            sum_ = middle[word] + w["window_bias"]
            if t > 0:
                sum_ = sum_ + left[text[t - 1]]
            if t + 1 < len(text):
                sum_ = sum_ + right[text[t + 1]]
            features.append(np.tanh(sum_))
        if pooling == "attention":
            expected.append((sigm(features @ w["attention"])[:, None] * rows[text]).sum(0))
        else:
            expected.append(np.tanh(w["output"] @ np.max(features, 0)))
    np.testing.assert_allclose(embed(made), unit(expected), atol=1e-6)


def lstm_outputs(w, rows, text):
    """y(1), ..., y(T) of one text by the equations, the words in the order of `text`."""
    R, P, b = (w[f"layers.0.{part}"] for part in ("recurrent", "peepholes", "bias"))
    H = R.shape[1]
    y, c = np.zeros(H), np.zeros(H)
    outputs = []
    for word in text:
        i, f, g, o = np.split(rows[word] + b + R @ y, 4)
        c = sigm(f + P[1] * c) * c + sigm(i + P[0] * c) * np.tanh(g)
        y = sigm(o + P[2] * c) * np.tanh(c)
        outputs.append(y)
    return np.array(outputs)


@pytest.mark.parametrize(("pooling", "word_dim"), [("attention", 5), ("last", 0), ("last", 5)])
def test_lstm_follows_the_equations_then_weighs_rows_or_gives_its_last_output(pooling, word_dim):
    made = tower(ModelConfig("lstm", word_dim, 3, 5 if pooling == "attention" else 3, pooling))
    w = numbers(made)
    rows = word_rows(w)
    gate_rows = rows @ w["layers.0.input"].T if word_dim else rows
    expected = []
    for text in TEXTS:
        states = lstm_outputs(w, gate_rows, text)
        if pooling == "attention":
            expected.append((sigm(states @ w["attention"])[:, None] * rows[text]).sum(0))
        else:
            expected.append(states[-1])
    np.testing.assert_allclose(embed(made), unit(expected), atol=2e-6)


def belt():
    """A tower with a belt of five cells and three others; what it learns is random."""
    torch.manual_seed(3)
    made = Tower(ModelConfig("lstm", 5, 8, 8, "belt"), 5)
    inputs, recurrent, bias, peepholes = made.body.gates()
    with torch.no_grad():
        made.table.normal_(std=0.7)
        inputs[0, :5] = torch.randn(5)
        bias[0, :5] = 0.4
        peepholes[:2, 5:] = torch.randn(2, 3)
        recurrent[0, :5, 5:] = 9 * torch.randn(3)
    return made


def last_outputs(made):
    """y(T) of each text by the equations, with all weights that the tower has."""
    w = numbers(made)
    gate_rows = word_rows(w) @ w["layers.0.input"].T
    return unit([lstm_outputs(w, gate_rows, text)[-1] for text in TEXTS])


def test_belt_is_the_last_output_of_the_whole_lstm():
    made = belt()
    np.testing.assert_allclose(embed(made), last_outputs(made), atol=2e-6)


def test_belt_is_the_last_output_of_the_whole_lstm_after_learning_too():
    made = belt()
    before = numbers(made)
    optimiser = torch.optim.Adam(made.parameters(), lr=0.03)
    target = torch.randn(len(TEXTS), 8)
    for _ in range(20):
        optimiser.zero_grad()
        (made(text_batch(ragged(TEXTS), FEATURES)) * target).sum().backward()
        optimiser.step()
    np.testing.assert_allclose(embed(made), last_outputs(made), atol=2e-5)
    after = numbers(made)
    moved = {name: np.abs(after[name] - before[name]) > 0.01 for name in after}
    gates = {name: part.reshape(4, 8, -1) for name, part in moved.items() if name.endswith(("input", "nt"))}
    assert gates["layers.0.input"][0, :5].all()  # v
    assert gates["layers.0.recurrent"][0, :5, 5:].all()  # a
    assert gates["layers.0.recurrent"][:3, 5:, 5:].any((1, 2)).all()  # the small LSTM
    # The rest of the belt stays as it was, and all output gates.
    for part in gates.values():
        assert not part[1:, :5].any() and not part[3].any()
    assert not gates["layers.0.recurrent"][:, :, :5].any()


def test_a_new_belt_gives_each_word_the_same_weight():
    torch.manual_seed(0)
    made = Tower(ModelConfig("lstm", 300, 308, 308, "belt"), 5)
    rows = word_rows(numbers(made))
    with torch.no_grad():
        made.body.gates()[1].zero_()  # the small LSTM moves nothing
        made.table *= 0.01  # as good as linear
    cosines = (embed(made)[:, :300] * unit([rows[text].sum(0) for text in TEXTS])).sum(1)
    assert (cosines > 0.99).all()


SHAPES = [
    ModelConfig("bag", 4, 3, 4),
    ModelConfig("dnn", 0, 3, 4),
    ModelConfig("cnn", 4, 3, 4, "attention"),
    ModelConfig("cnn", 0, 3, 4, "max"),
    ModelConfig("lstm", 4, 3, 4, "attention"),
    ModelConfig("lstm", 0, 3, 3, "last"),
    ModelConfig("lstm", 4, 3, 3, "last"),
]


@pytest.mark.parametrize("config", SHAPES, ids=lambda c: f"{c.tower}-{c.pooling}")
def test_embeddings_are_of_unit_length(config):
    vectors = embed(tower(config))
    assert (vectors.shape, vectors.dtype) == ((len(TEXTS), config.dimension), np.float32)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("config", SHAPES, ids=lambda c: f"{c.tower}-{c.pooling}")
def test_gradient_reaches_every_weight(config):
    made = tower(config)
    target = torch.randn(len(TEXTS), config.dimension)
    (made(text_batch(ragged(TEXTS), FEATURES)) * target).sum().backward()
    for name, parameter in made.named_parameters():
        assert parameter.grad is not None, name
        # Each row of a table or matrix, not only some of it.
        assert (parameter.grad.abs().flatten(1).sum(1) > 0).all() if parameter.dim() > 1 else True, name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("config", SHAPES, ids=lambda c: f"{c.tower}-{c.pooling}")
def test_a_new_tower_is_finite_and_tells_texts_apart(config):
    torch.manual_seed(0)
    vectors = embed(Tower(config, 5))
    assert np.isfinite(vectors).all()
    cosines = vectors @ vectors.T
    assert (cosines[~np.eye(len(TEXTS), dtype=bool)] < 0.9999).all()


def test_dropout_zeroes_entries_of_word_rows_and_scales_the_rest():
    config = ModelConfig("bag", 1000, 1, 1000)
    made = tower(config)
    noise = dropout_noise(1, 1000, 0.25, torch.Generator().manual_seed(0))
    batch = text_batch(ragged([[1]]), FEATURES)
    (rows,) = made.word_rows(batch)
    kept = made.embed(rows, batch, noise).detach().numpy()[0]
    row = numbers(made)["table"][2]
    zero = kept == 0
    assert 0.2 < zero.mean() < 0.3
    ratio = kept[~zero] / row[~zero]
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-4)


def test_tied_towers_are_one_and_others_two():
    vocabulary = Vocabulary(("#ca", "cat"), 3)
    tied = TwoTower(ModelConfig("bag", 4, 3, 4, tie="all"), vocabulary)
    assert tied.tower("query") is tied.tower("document")
    apart = TwoTower(ModelConfig("bag", 4, 3, 4, tie="none"), vocabulary)
    assert apart.tower("query") is not apart.tower("document")
    assert sum(p.numel() for p in apart.parameters()) == 2 * sum(p.numel() for p in tied.parameters())
    assert np.abs(apart.encode_queries(["cat"]) - apart.encode_documents(["cat"])).max() > 1e-3
    np.testing.assert_array_equal(tied.encode_queries(["cat"]), tied.encode_documents(["cat"]))


def test_encoding_many_texts_keeps_their_order(random_model):
    model = random_model(ModelConfig("lstm", 4, 3, 4, "attention"))
    texts = ["list files " * (n % 7) + str(n) for n in range(700)]
    together = model.encode_queries(texts)
    for row in (0, 13, 511, 512, 699):
        np.testing.assert_allclose(together[row], model.encode_queries([texts[row]])[0], atol=1e-6)
