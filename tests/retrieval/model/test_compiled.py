"""The LSTM tower in a compiled loop against the same in numpy."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from retrieval.model import encoder as encoder_module
from retrieval.model import word_rows
from retrieval.model.compiled import _tanh, compiled_embedding
from retrieval.model.config import ModelConfig
from retrieval.model.folder import read_model
from retrieval.model.lstm import outputs_of_one
from retrieval.recurrence.outputs import is_narrow

SEEN = ["list all files by size", "启动服务 now", "tar -xzf archive.tar.gz", "复制 文件夹"]
TEXTS = [
    *SEEN,
    "",
    "?!",
    "a",
    "unseen wörds of 任何 script",
    " ".join(f"word{number}" for number in range(90)),
]

LSTMS = [
    ModelConfig("lstm", 8, 5, 8, "attention"),
    ModelConfig("lstm", 0, 64, 64, "last", tie="none"),
    ModelConfig("lstm", 8, 12, 12, "belt"),
    ModelConfig("lstm", 40, 32, 40, "attention"),
]


@pytest.mark.parametrize("config", LSTMS, ids=lambda config: f"{config.pooling}-{config.hidden}")
def test_compiled_embeddings_are_those_of_numpy(tmp_path, random_model, config):
    random_model(config, texts=SEEN).save(tmp_path, small=False)
    plain, compiled = (read_model(tmp_path).encoder("query", compiled=each) for each in (False, True))
    expected = np.concatenate([plain.encode([text]) for text in TEXTS])
    found = [compiled.encode([text]) for text in TEXTS]
    assert {(each.shape, each.dtype) for each in found} == {((1, config.dimension), np.dtype(np.float32))}
    np.testing.assert_allclose(np.concatenate(found), expected, atol=1e-6)
    np.testing.assert_array_equal(compiled.encode(TEXTS), plain.encode(TEXTS))  # batches are not compiled


@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize(
    "config",
    [*LSTMS, ModelConfig("lstm", 8, 100, 8, "attention"), ModelConfig("bag", 8, 4, 6)],
    ids=lambda config: f"{config.tower}-{config.pooling}-{config.hidden}",
)
def test_many_texts_are_encoded_in_loops_as_by_numpy(tmp_path, random_model, monkeypatch, config, single):
    monkeypatch.setattr(encoder_module, "_WORDS_BEFORE_COMPILING", 20)
    monkeypatch.setattr(word_rows, "_WORDS_BEFORE_COMPILING", 20)
    random_model(config, texts=SEEN).save(tmp_path)
    plain = read_model(tmp_path).encoder("document", compiled=single)
    many = read_model(tmp_path).encoder("document", compiled=single)
    many.expect_many()
    for texts in (TEXTS[:3], TEXTS, TEXTS[:1], [*TEXTS, "one more", *TEXTS]):
        np.testing.assert_allclose(many.encode(texts), plain.encode(texts), atol=1e-5)
    # Only an LSTM that is not narrow is left to numpy.
    assert (many._body.compile_many is None) == (config.tower != "lstm" or is_narrow(config.hidden))


def test_without_numba_numpy_encodes_many(tmp_path, random_model, monkeypatch):
    monkeypatch.setattr(encoder_module, "_WORDS_BEFORE_COMPILING", 0)
    monkeypatch.setattr(word_rows, "_WORDS_BEFORE_COMPILING", 0)
    random_model(LSTMS[0], texts=SEEN).save(tmp_path)
    plain, many = (read_model(tmp_path).encoder("query") for _ in range(2))
    monkeypatch.setitem(sys.modules, "retrieval.model.compiled", None)  # its import fails
    many.expect_many()
    np.testing.assert_array_equal(many.encode(TEXTS), plain.encode(TEXTS))


def test_a_tower_without_a_compiled_loop_encodes_as_before(tmp_path, random_model):
    random_model(ModelConfig("bag", 8, 4, 6), texts=SEEN).save(tmp_path, small=False)
    plain, compiled = (read_model(tmp_path).encoder("query", compiled=each) for each in (False, True))
    np.testing.assert_array_equal(compiled.encode(["list files"]), plain.encode(["list files"]))


def test_without_numba_numpy_encodes(tmp_path, random_model, monkeypatch):
    random_model(LSTMS[0], texts=SEEN).save(tmp_path, small=False)
    plain = read_model(tmp_path).encoder("query")
    monkeypatch.setitem(sys.modules, "retrieval.model.compiled", None)  # its import fails
    encoder = read_model(tmp_path).encoder("query", compiled=True)
    np.testing.assert_array_equal(encoder.encode(["list files"]), plain.encode(["list files"]))


def weights(size: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return (
        rng.normal(0, 0.3, (size, 4 * size)).astype(np.float32),
        rng.normal(0, 0.3, (3, size)).astype(np.float32),
    )


@pytest.mark.parametrize("words", [1, 2, 100])
def test_last_output_is_that_of_the_steps_in_numpy(words):
    inputs = np.random.default_rng(1).normal(0, 2, (words, 4 * 7)).astype(np.float32)
    recurrent, peepholes = weights(7)
    found = np.empty(7, np.float32)
    compiled_embedding(inputs, np.arange(words), recurrent, peepholes, np.empty(0, np.float32), found)
    last = outputs_of_one(inputs.copy(), recurrent, peepholes)[-1]
    np.testing.assert_allclose(found, last / np.linalg.norm(last), atol=1e-6)


@pytest.mark.parametrize("pooled", [False, True])
def test_numbers_that_are_not_finite_stay_so(pooled):
    inputs = np.zeros((3, 4 * 4 + 4), np.float32)
    inputs[1, 2] = np.nan
    attention = np.ones(4 if pooled else 0, np.float32)
    found = np.empty(4, np.float32)
    compiled_embedding(inputs, np.arange(3), *weights(4), attention, found)
    assert np.isnan(found).all()


def test_tanh_is_that_of_numpy():
    x = np.concatenate((np.linspace(-12, 12, 100_001), [0, 1e-30, -1e-4, np.inf, -np.inf, 3e38])).astype(
        np.float32
    )
    found = np.empty_like(x)
    _tanh(x, found)
    np.testing.assert_allclose(found, np.tanh(x.astype(np.float64)), rtol=0, atol=6e-8)
    assert np.abs(found).max() == 1
