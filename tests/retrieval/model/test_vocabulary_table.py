"""The table beside a vocabulary gives what the JSON gives, and only for that JSON."""

from __future__ import annotations

import numpy as np
import pytest

from index.errors import CorruptError
from retrieval.model.vocabulary_table import load_vocabulary, save_vocabulary
from retrieval.model.weights import read_weights, write_weights
from retrieval.text.vocabulary import Vocabulary

NAMES = ("#ca", "cat", "at#", "##", "#启动#", " cat ", " zebra ", " éclair ")
WORDS = ["cat", "zebra", "éclair", "", "启动", "dog"]


@pytest.fixture
def paths(tmp_path):
    path, table = tmp_path / "vocabulary.json", tmp_path / "vocabulary.safetensors"
    save_vocabulary(Vocabulary(NAMES, 5), path, table)
    return path, table


def test_features_and_names_are_those_of_the_json(paths):
    loaded, plain = load_vocabulary(*paths), Vocabulary.from_json(paths[0].read_bytes())
    for words in (WORDS, WORDS * 20):
        assert loaded.features_of(words).values.tolist() == plain.features_of(words).values.tolist()
    assert [loaded.knows(word) for word in WORDS] == [True, True, True, True, False, False]
    assert (len(loaded), loaded.buckets, loaded.names) == (13, 5, NAMES)


def test_a_vocabulary_that_was_loaded_is_saved_as_it_was(paths, tmp_path):
    again = tmp_path / "again.json", tmp_path / "again.safetensors"
    save_vocabulary(load_vocabulary(*paths), *again)
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in paths]


def test_without_a_table_or_with_that_of_another_json_the_json_is_read(paths):
    paths[0].write_bytes(Vocabulary(("dog", " dog "), 2).to_json())
    assert load_vocabulary(*paths).features("dog")[1:] == [2, *Vocabulary(("dog",), 2).features("dog")[2:], 3]
    paths[1].unlink()
    assert load_vocabulary(*paths).names == ("dog", " dog ")


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("sizes", None),
        ("sizes", np.array([5], np.uint64)),
        ("grams", np.arange(4, dtype=np.uint64)),
        ("grams", np.arange(5, dtype=np.int64)),
        ("gram_ids", np.array([5, 6, 7, 8, 13], np.int32)),
        ("gram_ids", np.array([4, 6, 7, 8, 9], np.int32)),
        ("word_ids", np.array([-1, 11, 12], np.int32)),
        ("word_starts", np.array([0, 3, 8], np.int64)),
        ("word_starts", np.array([[0, 3, 8, 15]], np.int64)),
        ("word_starts", np.empty(0, np.int64)),
        ("word_starts", np.array([0, 3, 8, 99], np.int64)),
    ],
)
def test_a_damaged_table_is_told_with_its_path(paths, name, array):
    arrays = {key: np.array(value) for key, value in read_weights(paths[1]).items()} | {name: array}
    write_weights(paths[1], {key: value for key, value in arrays.items() if value is not None})
    with pytest.raises(CorruptError, match=r"vocabulary\.safetensors: damaged"):
        load_vocabulary(*paths)


def test_a_table_with_wild_places_of_words_finds_nothing_or_something_known(paths):
    arrays = {key: np.array(value) for key, value in read_weights(paths[1]).items()}
    arrays["word_starts"] = np.array([0, -9, 2**62, len(arrays["words"])])
    write_weights(paths[1], arrays)
    loaded = load_vocabulary(*paths)
    for words in (WORDS, WORDS * 20):
        assert loaded.features_of(words).values.min() >= 0
        assert loaded.features_of(words).values.max() < len(loaded)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"[1, 2]",
        b"null",
        b"{}",
        b'{"names": ["cat"]}',
        b'{"names": ["cat", 3], "buckets": 4}',
        b'{"names": 3, "buckets": 4}',
        b'{"names": "cat", "buckets": 4}',
        b'{"names": {"cat": 1}, "buckets": 4}',
        b'{"names": ["cat"], "buckets": 0}',
        b'{"names": ["cat"], "buckets": true}',
        b'{"names": ["cat"], "buckets": "4"}',
        b'{"names": ["cat"], "bucke',
        b"[" * 100_000,
    ],
)
def test_damaged_vocabulary_is_told_with_its_path(tmp_path, content):
    path = tmp_path / "vocabulary.json"
    path.write_bytes(content)
    with pytest.raises(CorruptError, match=r"vocabulary\.json: not a vocabulary") as caught:
        load_vocabulary(path, tmp_path / "none.safetensors")
    assert "\n" not in str(caught.value)


def test_missing_vocabulary_is_corruption(tmp_path):
    with pytest.raises(CorruptError, match="not a vocabulary"):
        load_vocabulary(tmp_path / "none.json", tmp_path / "none.safetensors")
