"""The numpy encoder against the torch towers, for every kind of model and every kind of text."""

from __future__ import annotations

import itertools
import subprocess
import sys

import numpy as np
import pytest
import torch

from index.errors import InputError
from retrieval.model import encoder as encoder_module
from retrieval.model.config import ModelConfig
from retrieval.model.folder import read_model
from retrieval.text.vocabulary import learn_vocabulary
from retrieval.towers.two_tower import TwoTower

SEEN = ["list all files by size", "启动服务 now", "tar -xzf archive.tar.gz", "复制 文件夹"]


def admitted():
    """One small config for each combination of settings that a config can have."""
    settings = itertools.product(
        ("lstm", "cnn", "dnn", "bag"),
        ("attention", "last", "max", "mean"),
        ("all", "table", "none"),
        (0, 8),
    )
    for tower, pooling, tie, word_dim in settings:
        if tower in ("dnn", "bag") and (pooling != "mean" or word_dim):
            continue  # these neither pool nor have rows of their own
        output = {"attention": word_dim, "last": 4}.get(pooling, 6)
        try:
            yield ModelConfig(tower, word_dim, 4, output, pooling, tie, query_words=40, document_words=400)
        except InputError:
            continue


CONFIGS = list(admitted())


def name(config):
    return f"{config.tower}-{config.pooling}-{config.tie}-{config.word_dim}"


def random_texts(seed, count=25):
    """Texts of words seen and unseen, of signs, of Chinese and of everything mixed; short and long."""
    rng = np.random.default_rng(seed)
    known = [word for text in SEEN for word in text.split()]
    letters = list("abcdefghijklmnopqrstuvwxyz0123456789")
    signs = list("?!.,;:()[]{}<>@#$%^&*-_=+|~`'\"\\/ ♥€")
    han = [chr(code) for code in rng.integers(0x4E00, 0x9FA5, 50)]

    def word():
        kind = rng.integers(5)
        if kind == 0:
            return str(rng.choice(known))
        pool = (letters, signs, han, letters + signs + han)[kind - 1]
        return "".join(rng.choice(pool, rng.integers(1, 9)))

    texts = [" ".join(word() for _ in range(rng.integers(0, 13))) for _ in range(count)]
    long = " ".join(word() for _ in range(900))
    endless = "".join(rng.choice(letters, 5000))
    return [*texts, "", " \t\n", "?!", "\udcff", "启", "a", endless, long]


def served(model, folder, side="query"):
    model.save(folder, small=False)
    return read_model(folder).encoder(side)


def test_every_setting_is_covered():
    shapes = {(config.tower, config.pooling, config.word_dim) for config in CONFIGS}
    assert shapes == {
        ("lstm", "attention", 8), ("lstm", "last", 0), ("lstm", "last", 8),
        ("cnn", "attention", 8), ("cnn", "max", 0), ("cnn", "max", 8),
        ("dnn", "mean", 0), ("bag", "mean", 0),
    }  # fmt: skip
    assert len(CONFIGS) == 3 * len(shapes)  # each with every tie


@pytest.mark.parametrize("config", CONFIGS, ids=name)
def test_encoder_equals_the_torch_tower_on_random_texts(tmp_path, random_model, config):
    seed = CONFIGS.index(config)
    model = random_model(config, seed, SEEN)
    with torch.no_grad():  # or words of 64 trigrams close all gates, and what is left is noise
        for tower in {model.tower("query"), model.tower("document")}:
            for table in tower.parameters(recurse=False):
                table.mul_(0.25)
    model.save(tmp_path, small=False)
    saved, texts = read_model(tmp_path), random_texts(seed)
    for side, expected in (
        ("query", model.encode_queries(texts)),
        ("document", model.encode_documents(texts)),
    ):
        got = saved.encoder(side).encode(texts)
        assert (got.shape, got.dtype) == ((len(texts), config.dimension), np.float32)
        np.testing.assert_allclose(got, expected, atol=1e-5)
        np.testing.assert_allclose(np.linalg.norm(got, axis=1), 1, atol=1e-5)


def test_encoder_runs_the_whole_lstm_of_a_belt(tmp_path):
    # Only as it starts and learns, for the torch tower takes the weights that stay zero for zero.
    torch.manual_seed(4)
    vocabulary = learn_vocabulary(SEEN, min_count=1)
    model = TwoTower(ModelConfig("lstm", 8, 12, 12, "belt", "table", document_words=400), vocabulary)
    texts = random_texts(4)
    got = served(model, tmp_path, "document").encode(texts)
    np.testing.assert_allclose(got, model.encode_documents(texts), atol=1e-5)


FEW = [
    ModelConfig("lstm", 8, 4, 8, "attention"),
    ModelConfig("lstm", 0, 4, 4, "last", tie="none"),
    ModelConfig("cnn", 8, 4, 8, "max"),
    ModelConfig("dnn", 8, 4, 6),
    ModelConfig("bag", 8, 4, 6),
]


@pytest.mark.parametrize("config", FEW, ids=name)
def test_a_text_alone_equals_itself_in_a_batch(tmp_path, random_model, config):
    encoder, texts = served(random_model(config, texts=SEEN), tmp_path), random_texts(1)
    together = encoder.encode(texts)
    alone = np.concatenate([encoder.encode([text]) for text in texts])
    np.testing.assert_allclose(alone, together, atol=1e-5)


@pytest.mark.parametrize("config", FEW, ids=name)
def test_order_of_texts_does_not_matter(tmp_path, random_model, config):
    texts = random_texts(2)
    order = np.random.default_rng(0).permutation(len(texts))
    model = random_model(config, texts=SEEN)
    forward = served(model, tmp_path).encode(texts)
    shuffled = served(model, tmp_path).encode([texts[row] for row in order])
    np.testing.assert_allclose(shuffled, forward[order], atol=1e-5)


def test_emptying_the_word_cache_changes_nothing(tmp_path, random_model, monkeypatch):
    model = random_model(FEW[0], texts=SEEN)
    batches = [random_texts(seed, 10) for seed in range(4)] + [random_texts(0, 10)]
    expected = [served(model, tmp_path).encode(texts) for texts in batches]
    monkeypatch.setattr(encoder_module, "_CACHE_BYTES", 0)
    uncached = served(model, tmp_path)
    for texts, vectors in zip(batches, expected, strict=True):
        np.testing.assert_allclose(uncached.encode(texts), vectors, atol=1e-5)


def test_small_batches_change_nothing(tmp_path, random_model, monkeypatch):
    encoder, texts = served(random_model(FEW[0], texts=SEEN), tmp_path), random_texts(3)
    expected = encoder.encode(texts)
    monkeypatch.setattr(encoder_module, "_BATCH_WORDS", 7)
    np.testing.assert_allclose(encoder.encode(texts), expected, atol=1e-5)


def test_no_texts_give_no_rows(tmp_path, random_model):
    assert served(random_model(FEW[0]), tmp_path).encode([]).shape == (0, 8)


def test_equal_texts_get_equal_embeddings(tmp_path, random_model):
    first, second = served(random_model(FEW[0]), tmp_path).encode(["List FILES", "list files"])
    np.testing.assert_allclose(first, second, atol=1e-6)


def test_word_order_matters_to_the_lstm_and_not_to_the_bag(tmp_path, random_model):
    for config, differs in ((FEW[1], True), (FEW[4], False)):
        first, second = served(random_model(config), tmp_path).encode(["list files", "files list"])
        assert (np.abs(first - second).max() > 1e-3) == differs


@pytest.mark.parametrize(
    "module", ["retrieval.model.encoder", "retrieval.model.folder", "retrieval.search.retriever", "cli"]
)
def test_query_path_loads_no_heavy_library(module):
    heavy = (
        "torch",
        "scipy",
        "matplotlib",
        "pandas",
        "ir_measures",
        "rich",
        "onnx",
        "onnxruntime",
        "sklearn",
    )
    program = f"import sys, {module}; print(*sorted(set(sys.modules) & set({heavy!r})))"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []
