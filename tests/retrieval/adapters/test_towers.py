"""Both towers, from a model folder or from the index that carries the model."""

from __future__ import annotations

import numpy as np
import pytest

from index.errors import InputError
from retrieval.adapters.towers import Towers
from retrieval.model.config import ModelConfig
from retrieval.model.folder import read_model

TEXTS = ["list files", "copy a folder"]


@pytest.mark.parametrize("side", ["query", "document"])
def test_each_side_is_encoded_by_its_own_tower(tmp_path, random_model, side):
    random_model(ModelConfig("cnn", 8, 4, 8, tie="none")).save(tmp_path / "model")
    encoded = Towers(tmp_path / "model").encode(side, TEXTS)
    assert np.array_equal(encoded, read_model(tmp_path / "model").encoder(side).encode(TEXTS))
    other = "document" if side == "query" else "query"
    assert not np.allclose(encoded, Towers(tmp_path / "model").encode(other, TEXTS))


def test_an_index_stands_for_the_model_inside_it(index, model_folder):
    towers = Towers(index)
    assert towers.dimension == 16
    assert np.array_equal(towers.encode("query", TEXTS), Towers(model_folder).encode("query", TEXTS))


def test_a_folder_of_neither_is_refused(tmp_path):
    with pytest.raises(InputError, match="not a model folder"):
        Towers(tmp_path)
