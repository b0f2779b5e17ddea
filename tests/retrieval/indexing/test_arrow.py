"""Record batches of texts to record batches of vectors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from index.errors import InputError
from retrieval.model.config import preset
from retrieval.model.folder import read_model

if TYPE_CHECKING:
    from retrieval.towers.two_tower import TwoTower

pyarrow = pytest.importorskip("pyarrow", reason="needs the extra parquet")

from retrieval.indexing.arrow import encode_batches, vector_schema  # noqa: E402

LONG = " ".join(f"Sentence {number} says what file {number} holds." for number in range(60))


@pytest.fixture(scope="module")
def model(random_model: Callable[..., TwoTower], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("arrow") / "model"
    random_model(preset("lstm"), texts=["list files by size"]).save(folder)
    return folder


def batch(**columns):
    return pyarrow.record_batch(columns)


def vectors_of(batches):
    return np.concatenate([np.stack(one["vector"].to_numpy(zero_copy_only=False)) for one in batches])


def test_batches_of_texts_become_batches_of_vectors_one_for_one(model):
    texts = [
        batch(id=["a", "b"], title=["Files", None], text=["list them", "copy"]),
        batch(id=["c"], text=[LONG]),
        batch(id=pyarrow.array([], "string"), text=pyarrow.array([], "string")),
    ]
    found = list(encode_batches(iter(texts), model))
    assert [one["id"].to_pylist() for one in found] == [["a", "b"], ["c"], []]
    assert all(one.schema == vector_schema(256, with_spans=False) for one in found)
    expected = read_model(model).encoder("document").encode(["Files list them", "copy", LONG])
    np.testing.assert_allclose(vectors_of(found[:2]), expected, atol=1e-6)


def test_queries_and_passages(model):
    texts = [batch(id=["a"], text=[LONG])]
    (query,) = encode_batches(texts, read_model(model), "query")
    np.testing.assert_allclose(
        vectors_of([query]), read_model(model).encoder("query").encode([LONG]), atol=1e-6
    )
    (split,) = encode_batches(texts, model, passage_words=64)
    spans = list(zip(split["start"].to_pylist(), split["end"].to_pylist(), strict=True))
    assert split["id"].to_pylist() == ["a"] * len(spans)
    assert (spans[0][0], spans[-1][1]) == (0, len(LONG))
    assert len(spans) > 4


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"side": "Query"}, "there is no side 'Query'; the sides are query and document"),
        ({"passage_words": 2}, "passages of 2 words are too short; give 8 words or more, or 0 for none"),
        ({"passage_words": -1}, "passages of -1 words are too short; give 8 words or more, or 0 for none"),
        ({"side": "query", "passage_words": 64}, "queries have no passages"),
    ],
)
def test_another_side_and_passages_that_cannot_be_are_refused(model, given, told):
    with pytest.raises(InputError, match=told):
        list(encode_batches([batch(id=["a"], text=[LONG])], model, **given))


def test_lists_without_a_fixed_size_hold_the_same_numbers(model):
    texts = [batch(id=["a", "b"], text=["list", "copy"])]
    (fixed,) = encode_batches(texts, model)
    (free,) = encode_batches(texts, model, fixed_size=False)
    assert pyarrow.types.is_list(free.schema.field("vector").type)
    assert free["vector"].to_pylist() == fixed["vector"].to_pylist()


def test_a_batch_without_the_columns_or_with_a_null_id_is_refused(model):
    with pytest.raises(InputError, match="no column 'text'"):
        list(encode_batches([batch(id=["a"])], model))
    with pytest.raises(InputError, match="an id is null"):
        list(encode_batches([batch(id=[None, "b"], text=["x", "y"])], model))
