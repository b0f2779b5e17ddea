"""A small index whose model knows nothing yet."""

from __future__ import annotations

from pathlib import Path

import pytest
from clicked_world import QUERIES_A_TOPIC, TOPICS, World

from index.dense.tuning import Goal
from retrieval.indexing.build import build
from retrieval.model.config import ModelConfig


@pytest.fixture
def world(tmp_path: Path, random_model, write_beir) -> World:
    documents = {f"d{n}": f"answer{n} answers{n}" for n in range(TOPICS)}
    relevant = {f"question{n} detail{m}": f"d{n}" for n in range(TOPICS) for m in range(QUERIES_A_TOPIC)}
    config = ModelConfig("bag", 16, 4, 16, query_words=8, document_words=8)
    random_model(config, texts=[*documents.values(), *relevant]).save(tmp_path / "model")
    corpus = write_beir(tmp_path / "data", documents, {}, {}) / "corpus.jsonl"
    build(corpus, tmp_path / "model", tmp_path / "index", goal=Goal(recall=1))
    return World(tmp_path / "index", corpus, relevant)
