"""Traces of a text against the encoder, and against the cell worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from retrieval.explain.trace import Tracer, peephole_cells
from retrieval.model.config import ModelConfig
from retrieval.model.folder import read_model

SEEN = ["list all files by size", "启动服务 now", "copy a folder"]
TEXTS = [*SEEN, "files", "unheard of words", "?!", ""]

EXACT = [
    ModelConfig("bag", 8, 4, 6),
    ModelConfig("lstm", 8, 4, 8, "attention"),
    ModelConfig("cnn", 8, 4, 8, "attention", tie="none"),
]
OTHER = [
    ModelConfig("dnn", 8, 4, 6),
    ModelConfig("cnn", 0, 4, 6, "max"),
    ModelConfig("cnn", 8, 4, 6, "max"),
    ModelConfig("lstm", 0, 4, 4, "last", tie="none"),
    ModelConfig("lstm", 8, 4, 4, "last"),
]


def name(config):
    return f"{config.tower}-{config.pooling}-{config.word_dim}"


@pytest.fixture
def saved(tmp_path, random_model):
    def make(config):
        random_model(config, texts=SEEN).save(tmp_path / "m")
        return read_model(tmp_path / "m")

    return make


@pytest.mark.parametrize("config", EXACT + OTHER, ids=name)
def test_a_trace_ends_in_the_encoders_embedding(saved, config):
    model = saved(config)
    for side in ("query", "document"):
        expected = model.encoder(side).encode(TEXTS)
        for text, row in zip(TEXTS, expected, strict=True):
            composition = Tracer(model, side).trace(text).composition
            np.testing.assert_allclose(
                composition.embedding / np.linalg.norm(composition.embedding), row, atol=1e-5
            )


@pytest.mark.parametrize("config", EXACT, ids=name)
def test_contributions_of_the_words_sum_to_the_embedding(saved, config):
    trace = Tracer(saved(config), "query").trace(SEEN[0])
    assert trace.words == ["list", "all", "files", "by", "size"]
    assert trace.composition.contributions.shape == (5, config.dimension)
    np.testing.assert_allclose(
        trace.composition.contributions.sum(0), trace.composition.embedding, atol=1e-12
    )


@pytest.mark.parametrize("config", OTHER, ids=name)
def test_towers_that_are_no_sum_have_no_contributions(saved, config):
    assert Tracer(saved(config), "query").trace(SEEN[0]).composition.contributions is None


def test_attention_weighs_the_word_rows(saved):
    model = saved(EXACT[1])
    trace = Tracer(model, "query").trace(SEEN[0])
    logits = trace.left_to_right.output @ np.asarray(model.body("query")["attention"], np.float64)
    np.testing.assert_allclose(trace.composition.weights, 1 / (1 + np.exp(-logits)))
    np.testing.assert_allclose(
        trace.composition.contributions, trace.composition.weights[:, None] * trace.rows
    )


def test_the_lstm_is_given_the_words_in_reverse(saved):
    tracer = Tracer(saved(EXACT[1]), "query")
    forward, mirrored = tracer.trace("list files now"), tracer.trace("now files list")
    np.testing.assert_allclose(forward.right_to_left.output, mirrored.left_to_right.output[::-1])


def test_the_last_output_is_the_papers_embedding(saved):
    trace = Tracer(saved(OTHER[3]), "query").trace(SEEN[0])
    np.testing.assert_array_equal(trace.left_to_right.output[-1], trace.composition.embedding)


def test_winners_hold_the_maximum(saved):
    model = saved(OTHER[1])
    trace = Tracer(model, "query").trace(SEEN[0])
    left, middle, right = np.split(np.pad(trace.rows, ((1, 1), (0, 0))), 3, axis=1)
    bias = np.asarray(model.body("query")["window_bias"], np.float64)
    features = np.tanh(left[:-2] + middle[1:-1] + right[2:] + bias)
    np.testing.assert_array_equal(trace.composition.winners, features.argmax(0))
    np.testing.assert_allclose(trace.composition.pooled, features.max(0))


def sigm(x):
    return 1 / (1 + np.exp(-x))


def test_cell_worked_by_hand():
    # One cell; inputs in the order i f g o. Recurrent weights and peepholes all differ.
    x = np.array([[0.1, 0.2, 0.3, 0.4], [0.5, -0.6, 0.7, -0.8]])
    recurrent, peepholes = np.array([[0.9], [0.8], [0.7], [0.6]]), np.array([[0.5], [0.4], [0.3]])
    i1 = sigm(0.1)
    c1 = i1 * np.tanh(0.3)
    o1 = sigm(0.4 + 0.3 * c1)
    y1 = o1 * np.tanh(c1)
    i2, f2 = sigm(0.5 + 0.9 * y1 + 0.5 * c1), sigm(-0.6 + 0.8 * y1 + 0.4 * c1)
    c2 = f2 * c1 + i2 * np.tanh(0.7 + 0.7 * y1)
    o2 = sigm(-0.8 + 0.6 * y1 + 0.3 * c2)
    cells = peephole_cells(x, recurrent, peepholes)
    np.testing.assert_allclose(cells.input[:, 0], [i1, i2])
    np.testing.assert_allclose(cells.forget[:, 0], [sigm(0.2), f2])
    np.testing.assert_allclose(cells.state[:, 0], [c1, c2])
    np.testing.assert_allclose(cells.output_gate[:, 0], [o1, o2])
    np.testing.assert_allclose(cells.output[:, 0], [y1, o2 * np.tanh(c2)])
