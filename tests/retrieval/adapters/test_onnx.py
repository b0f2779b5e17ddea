"""A tower exported to ONNX gives the encoder's vectors, whatever the words, the tower and its storage."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

pytest.importorskip("onnx", reason="needs the extra onnx")
onnxruntime = pytest.importorskip("onnxruntime", reason="runs the exported model")

from index.errors import InputError  # noqa: E402
from retrieval.adapters.onnx import export_tower, onnx_inputs, tower_model  # noqa: E402
from retrieval.model.config import ModelConfig, preset  # noqa: E402
from retrieval.model.folder import read_model  # noqa: E402

if TYPE_CHECKING:
    from retrieval.towers.two_tower import TwoTower

SMALL = {"hidden": 6, "word_dim": 5, "dimension": 5}
CONFIGS = {
    "lstm, attention": preset("lstm")._replace(**SMALL),
    "lstm, last": ModelConfig("lstm", pooling="last", word_dim=5, hidden=6, dimension=6, tie="table"),
    "lstm, trigrams to gates": ModelConfig("lstm", 0, 6, 6, "last", tie="none", whole_words=False),
    "lstm, paper": preset("lstm", paper=True)._replace(hidden=6, word_dim=4, dimension=6),
    "cnn, attention": preset("cnn")._replace(**SMALL),
    "cnn, trigrams to windows": ModelConfig("cnn", 0, 6, 4, "max", tie="none", whole_words=False),
    "cnn, paper": preset("cnn", paper=True)._replace(hidden=6, word_dim=3, dimension=3),
    "dnn": preset("dnn")._replace(hidden=6, dimension=4),
    "bag": preset("bag")._replace(dimension=6),
}
LONG = " ".join(f"word{number}" for number in range(200))  # more than a query's 64 and a document's 128


def run(model, inputs):
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    (embeddings,) = session.run(None, inputs)
    return embeddings


@pytest.mark.parametrize("small", [True, False], ids=["int8", "float32"])
@pytest.mark.parametrize("name", CONFIGS)
def test_embeddings_equal_those_of_the_encoder(
    name: str, small: bool, random_model: Callable[..., TwoTower], tmp_path: Path
) -> None:
    random_model(CONFIGS[name]).save(tmp_path / "model", small=small)
    model = read_model(tmp_path / "model")
    texts = [" ".join(LONG.split()[:count]) for count in range(1, 65)]
    texts += ["", "?!", "启动 nginx 服务", "list files -xzf c++ 2.13.0", LONG, "list files"]
    for side in ("query", "document"):
        proto = tower_model(model, side)
        facts = {entry.key: entry.value for entry in proto.metadata_props}
        assert facts["peephole.word_limit"] == str(model.config.word_limit(side))
        inputs = onnx_inputs(model.vocabulary, texts, int(facts["peephole.word_limit"]))
        embeddings = run(proto.SerializeToString(), inputs)
        expected = model.encoder(side).encode(texts)
        np.testing.assert_allclose(embeddings, expected, atol=1e-5)
        assert np.abs(expected - expected[0]).max() > 0.1  # the texts differ, so equal rows would show


@pytest.mark.parametrize("name", CONFIGS)
def test_no_sum_is_spread_over_threads_that_overwrite_each_other(
    name: str, random_model: Callable[..., TwoTower], tmp_path: Path
) -> None:
    # onnxruntime's ScatterND with a reduction: now and then a vector is wrong, too seldom to be seen here.
    random_model(CONFIGS[name]).save(tmp_path / "model")
    nodes = tower_model(read_model(tmp_path / "model"), "query").graph.node
    assert any(node.op_type == "ScatterElements" for node in nodes)
    assert not any(node.op_type == "ScatterND" and node.attribute for node in nodes)


def test_one_text_alone_gets_the_vector_that_it_has_among_others(
    random_model: Callable[..., TwoTower], tmp_path: Path
) -> None:
    random_model(CONFIGS["lstm, attention"]).save(tmp_path / "model")
    assert (
        export_tower(tmp_path / "model", tmp_path / "query.onnx").size_bytes
        == (tmp_path / "query.onnx").stat().st_size
    )
    vocabulary = read_model(tmp_path / "model").vocabulary
    alone, among = ["copy a folder"], ["copy a folder", LONG, ""]
    one, many = (run(tmp_path / "query.onnx", onnx_inputs(vocabulary, texts, 64)) for texts in (alone, among))
    np.testing.assert_allclose(one[0], many[0], atol=1e-6)


def test_a_tower_of_another_side_is_refused_and_nothing_written(
    random_model: Callable[..., TwoTower], tmp_path: Path
) -> None:
    random_model(CONFIGS["lstm, attention"]).save(tmp_path / "model")
    with pytest.raises(InputError, match="there is no side 'quer'; the sides are query and document"):
        export_tower(tmp_path / "model", tmp_path / "query.onnx", "quer")  # type: ignore[arg-type]
    assert not (tmp_path / "query.onnx").exists()


def test_the_lstm_is_the_standard_operator_with_peepholes(
    random_model: Callable[..., TwoTower], tmp_path: Path
) -> None:
    random_model(CONFIGS["lstm, last"]).save(tmp_path / "model")
    graph = tower_model(read_model(tmp_path / "model"), "query").graph
    (lstm,) = [node for node in graph.node if node.op_type == "LSTM"]
    assert list(lstm.input)[7] == "P"
    assert {node.domain for node in graph.node} == {""}
