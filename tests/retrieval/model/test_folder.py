"""The model folder: it keeps the model, and a damaged folder is refused."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest

from index.disk.carried_model import fingerprint
from index.errors import CorruptError, FormatVersionError, InputError, StorageError
from retrieval.model.config import ModelConfig
from retrieval.model.folder import FILES, read_model
from retrieval.model.weights import read_weights, write_weights
from retrieval.towers.two_tower import TwoTower

LSTM = ModelConfig("lstm", 8, 4, 8, "attention", tie="none", query_words=3, document_words=5)
EVERY_TOWER = [
    LSTM,
    ModelConfig("lstm", 0, 4, 4, "last", tie="none"),
    ModelConfig("cnn", 8, 4, 8, "max"),
    ModelConfig("dnn", 8, 4, 6),
    ModelConfig("bag", 8, 4, 6),
]


@pytest.fixture
def folder(tmp_path, random_model):
    random_model(LSTM).save(tmp_path / "m", {"seconds": 1})
    return tmp_path / "m"


def test_saved_model_keeps_config_vocabulary_and_training(folder, random_model):
    saved = read_model(folder)
    assert saved.config == LSTM
    vocabulary = random_model(LSTM).vocabulary
    assert (saved.vocabulary.names, saved.vocabulary.buckets) == (vocabulary.names, vocabulary.buckets)
    assert json.loads((folder / FILES.training).read_text()) == {"seconds": 1}
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        [FILES.config, FILES.table, FILES.training, FILES.vocabulary, FILES.weights]
    )


@pytest.mark.parametrize("config", EVERY_TOWER, ids=lambda c: c.tower)
def test_weights_saved_in_full_come_back_to_the_bit(tmp_path, random_model, config):
    model = random_model(config)
    model.save(tmp_path, small=False)
    loaded = TwoTower.load(tmp_path)
    for name, tensor in model.state_dict().items():
        np.testing.assert_array_equal(loaded.state_dict()[name].numpy(), tensor.numpy())


def test_small_tables_are_int8_and_within_half_a_step(folder, random_model):
    stored = read_weights(folder / FILES.weights)
    tower = random_model(LSTM).tower("query")
    table = tower.table.detach().numpy()
    assert stored["query.table"].dtype == np.int8
    error = np.abs(read_model(folder).table("query").rows(slice(None)) - table)
    assert (error <= np.abs(table).max(1, keepdims=True) / 253).all()
    np.testing.assert_array_equal(
        stored["query.body.layers.0.recurrent"], tower.body.layers[0].recurrent.detach().numpy()
    )


def test_loaded_model_is_what_the_encoder_serves(folder):
    texts = ["list files", "启动", "", "one two three four five six"]
    model, saved = TwoTower.load(folder), read_model(folder)
    np.testing.assert_allclose(saved.encoder("query").encode(texts), model.encode_queries(texts), atol=1e-5)
    np.testing.assert_allclose(
        saved.encoder("document").encode(texts), model.encode_documents(texts), atol=1e-5
    )


def test_each_side_reads_its_own_number_of_words(folder):
    query, document = (read_model(folder).encoder(side) for side in ("query", "document"))
    base, longer = "a b c", "a b c d e f g"
    np.testing.assert_array_equal(query.encode([base]), query.encode([longer]))
    np.testing.assert_array_equal(document.encode(["a b c d e"]), document.encode([longer]))
    assert np.abs(document.encode([base]) - document.encode([longer])).max() > 1e-3


def test_tied_towers_are_stored_once(tmp_path, random_model):
    random_model(ModelConfig("bag", 8, 4, 6, tie="all")).save(tmp_path)
    assert {name.split(".")[0] for name in read_weights(tmp_path / FILES.weights)} == {"both"}


def test_a_shared_table_is_stored_once_and_read_by_both_sides(tmp_path, random_model):
    model = random_model(LSTM._replace(tie="table"))
    model.save(tmp_path, small=False)
    stored = read_weights(tmp_path / FILES.weights)
    assert [name for name in stored if name.endswith(".table")] == ["query.table"]
    saved = read_model(tmp_path)
    for side in ("query", "document"):
        np.testing.assert_array_equal(saved.table(side).rows(slice(None)), stored["query.table"])
    query, document = (saved.encoder(side).encode(["a b c"]) for side in ("query", "document"))
    assert np.abs(query - document).max() > 1e-3


def test_saving_again_replaces_the_model(folder, random_model):
    random_model(EVERY_TOWER[3]).save(folder)
    assert read_model(folder).config == EVERY_TOWER[3]


def test_a_folder_that_is_no_model_says_how_to_make_one(tmp_path):
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(InputError, match=r"not a model folder .*peephole train"):
            read_model(path)


def test_another_format_version_is_refused(folder):
    config = json.loads((folder / FILES.config).read_text())
    (folder / FILES.config).write_text(json.dumps(config | {"format_version": 2}))
    with pytest.raises(FormatVersionError, match="format version 2"):
        read_model(folder)


@pytest.mark.parametrize("name", [FILES.vocabulary, FILES.weights])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(CorruptError, match=name):
        read_model(folder)


@pytest.mark.parametrize(
    "name", [FILES.config, FILES.vocabulary, FILES.table, FILES.weights, FILES.calibration]
)
def test_a_file_that_may_not_be_read_is_not_called_damaged(folder, name, monkeypatch):
    def refuse(path, *rest):
        if Path(path) == folder / name:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path, *rest)

    real = os.open
    if not (folder / name).exists():
        (folder / name).touch()
    monkeypatch.setattr(os, "open", refuse)
    for read in (lambda: read_model(folder).rescorer(), lambda: fingerprint(folder)):
        with pytest.raises(StorageError) as caught:
            read()
        problem = "cannot be opened (Permission denied); check its permissions"
        assert str(caught.value) == f"{folder / name}: {problem}"


def changed(folder, **changes):
    """Write the weights with some arrays replaced, or left out for None."""
    arrays = {name: np.array(array) for name, array in read_weights(folder / FILES.weights).items()}
    arrays |= {name.replace("__", "."): array for name, array in changes.items()}
    write_weights(folder / FILES.weights, {name: a for name, a in arrays.items() if a is not None})


@pytest.mark.parametrize(
    "table", [None, np.ones((3, 8), np.int8), np.ones(5, np.float32), np.float32([[[1]]])]
)
def test_a_table_that_does_not_fit_the_vocabulary_is_refused(folder, table):
    changed(folder, document__table=table)
    with pytest.raises(CorruptError, match=r"document\.table does not fit the vocabulary"):
        read_model(folder)


@pytest.mark.parametrize("shape", [(1,), (1, 2), (2, 1), (1, 0)])
def test_scales_that_do_not_fit_the_table_are_refused(folder, shape):
    rows = len(read_model(folder).table("document").values)
    changed(
        folder,
        document__table=np.ones((rows, 8), np.int8),
        document__table_scales=np.ones((shape[0] * rows, *shape[1:]), np.float32),
    )
    with pytest.raises(CorruptError, match="table_scales does not fit the table"):
        read_model(folder).encoder("document")


def test_another_models_vocabulary_is_refused(folder, random_model):
    other = random_model(LSTM, texts=["other words"]).vocabulary
    (folder / FILES.vocabulary).write_bytes(other.to_json())
    with pytest.raises(CorruptError, match="does not fit the vocabulary"):
        read_model(folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"query__body__layers__0__recurrent": None},
        {"query__body__layers__0__peepholes": None},
        {"query__body__layers__0__bias": np.ones(7, np.float32)},
        {"query__body__layers__0__recurrent": np.ones((16, 5), np.float32)},
        {"query__body__layers__0__input": np.ones((16, 9), np.float32)},
        {"query__body__layers__0__input": None},
        {"query__body__attention": np.ones(5, np.float32)},
        {
            "query__body__attention": np.ones(1, np.float32)
        },  # numpy would repeat it, and a loop read beyond it
        {"query__body__layers__0__peepholes": np.ones((1, 4), np.float32)},
        {"query__body__attention": None},
        {"query__body__attention": np.full(4, np.nan, np.float32)},
        {"query__table_scales": np.ones((2, 1), np.float32)},
        {"query__table_scales": np.full((1, 1), np.inf, np.float32)},
    ],
    ids=lambda changes: next(iter(changes)),
)
@pytest.mark.parametrize("compiled", [False, True])
def test_weights_that_are_not_those_of_the_config_are_refused(folder, changes, compiled):
    changed(folder, **changes)
    with pytest.raises(CorruptError, match=r"weights\.safetensors: does not fit config\.json") as caught:
        read_model(folder).encoder("query", compiled=compiled)
    assert "\n" not in str(caught.value)
    read_model(folder).encoder("document")


@pytest.mark.parametrize("compiled", [False, True])
def test_word_rows_that_are_narrower_than_the_embedding_are_refused(folder, compiled):
    arrays = read_weights(folder / FILES.weights)
    narrow = np.array(arrays["query.table"][:, :4])
    changed(folder, query__table=narrow, query__body__layers__0__input=np.ones((16, 4), np.float32))
    with pytest.raises(CorruptError, match="word rows have 4 numbers, not 8"):
        read_model(folder).encoder("query", compiled=compiled)


@pytest.mark.parametrize("config", EVERY_TOWER, ids=lambda c: c.tower)
def test_every_array_of_every_tower_is_missed(tmp_path, random_model, config):
    random_model(config).save(tmp_path, small=False)
    whole = read_weights(tmp_path / FILES.weights)
    for name in [name for name in whole if name.startswith(("query.body", "both.body"))]:
        write_weights(tmp_path / FILES.weights, {other: whole[other] for other in whole if other != name})
        with pytest.raises(CorruptError, match="does not fit"):
            read_model(tmp_path).encoder("query")
        with pytest.raises(CorruptError, match="does not fit"):
            TwoTower.load(tmp_path)
