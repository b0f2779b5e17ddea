"""The learned parts of re-scoring against their formulas, and their file."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from index.errors import CorruptError
from index.values import Texts
from retrieval.model.rescoring import Rescorer, WordVectors
from retrieval.model.weights import Table, read_weights, write_weights
from retrieval.model.word_rows import WordRows
from retrieval.text.vocabulary import Vocabulary

RNG = np.random.default_rng(0)


def rescorer(features: int = 5, hidden: int = 3, row_width: int = 4, width: int = 2) -> Rescorer:
    shapes = ((row_width, width), (row_width,), (1,), (hidden, features), (hidden,), (hidden,), (features,))
    return Rescorer(*(RNG.normal(size=shape).astype(np.float32) for shape in shapes))


def test_scores_are_those_of_the_formula():
    fitted = rescorer()
    x = RNG.normal(size=(7, 5)).astype(np.float32)
    for row, score in zip(x, fitted.scores(x).tolist(), strict=True):
        units = [
            math.tanh(sum(w * v for w, v in zip(weights, row, strict=True)) + bias)
            for weights, bias in zip(fitted.hidden, fitted.hidden_bias, strict=True)
        ]
        want = sum(v * u for v, u in zip(fitted.output, units, strict=True)) + float(fitted.linear @ row)
        assert score == pytest.approx(want, abs=1e-5)


@pytest.mark.parametrize("reads_queries", [False, True])
def test_a_file_comes_back_as_it_was(tmp_path: Path, reads_queries: bool):
    fitted = rescorer()._replace(reads_queries=reads_queries)
    fitted.save(tmp_path / "r")
    read = Rescorer.load(tmp_path / "r", 4)
    assert read is not None
    assert all(np.array_equal(getattr(read, name), array) for name, array in fitted._asdict().items())


@pytest.mark.parametrize(
    "change",
    [
        {"gate": np.ones(3, np.float32)},
        {"linear": np.ones(4, np.float32)},
        {"hidden_bias": np.ones((3, 1), np.float32)},
        {"output": np.full(3, np.nan, np.float32)},
        {"projection": np.ones((4, 0), np.float32)},
        {"projection": np.ones((4, 2), np.int8)},
        {"more": np.ones(1, np.float32)},
        {"version": np.ones(2, np.float32)},
        {"gate": None},
    ],
)
def test_other_arrays_are_refused(tmp_path: Path, change: dict[str, np.ndarray | None]):
    rescorer().save(tmp_path / "r")
    arrays = read_weights(tmp_path / "r") | change
    write_weights(
        tmp_path / "r", {name: np.array(array) for name, array in arrays.items() if array is not None}
    )
    with pytest.raises(CorruptError, match="restore the model folder"):
        Rescorer.load(tmp_path / "r", 4)


def test_every_cut_of_the_file_is_refused(tmp_path: Path):
    rescorer().save(tmp_path / "r")
    data = (tmp_path / "r").read_bytes()
    for size in range(0, len(data), 13):
        (tmp_path / "r").write_bytes(data[:size])
        with pytest.raises(CorruptError):
            Rescorer.load(tmp_path / "r", 4)


def test_another_version_is_not_used(tmp_path: Path):
    rescorer().save(tmp_path / "r")
    arrays = read_weights(tmp_path / "r") | {
        "version": np.array([3], np.float32),
        "new": np.ones(1, np.float32),
    }
    write_weights(tmp_path / "r", {name: np.array(array) for name, array in arrays.items()})
    assert Rescorer.load(tmp_path / "r", 4) is None


@pytest.fixture
def words() -> WordVectors:
    vocabulary = Vocabulary(("#ca", "cat", "at#", " cat "), 2)
    table = Table(RNG.normal(size=(len(vocabulary), 4)).astype(np.float32))
    return WordVectors(WordRows(vocabulary, table), rescorer())


def test_a_word_is_the_projected_sum_of_its_features(words: WordVectors):
    (direction,), (weight,) = words.encode_words(["cat"])
    row = words._rows.of(["cat"])[0]
    unit = row / np.linalg.norm(row)
    projected = unit @ words._rescorer.projection
    assert direction == pytest.approx(projected / np.linalg.norm(projected), abs=1e-5)
    gate = 1 / (1 + math.exp(-(unit @ words._rescorer.gate + words._rescorer.gate_bias[0])))
    assert weight == pytest.approx(np.linalg.norm(row) * gate, rel=1e-5)


def test_words_of_a_query_are_distinct_and_limited(words: WordVectors, monkeypatch: pytest.MonkeyPatch):
    vectors, weights = words.encode_query("cat dog cat bird", 3)
    want = words.encode_words(["cat", "dog"])
    assert np.allclose(vectors, want[0])
    assert np.allclose(weights, want[1])
    monkeypatch.setattr("retrieval.model.rescoring._KNOWN_WORDS", 0)  # forgets all words
    assert np.allclose(words.encode_query("dog cat", 3)[0], want[0][::-1])


def test_a_field_without_words_has_none(words: WordVectors):
    assert words.distinct_words(Texts(" ", "a b a")) == ([], ["a", "b"], [])
    text = " ".join(f"w{n}" for n in range(600))
    assert [len(field) for field in words.distinct_words(Texts(text, text, text))] == [600, 512, 0]


def test_known_queries_have_words_where_the_model_reads_them(words: WordVectors):
    reading = WordVectors(words._rows, words._rescorer._replace(reads_queries=True))
    assert (words.reads_queries, reading.reads_queries) == (False, True)
    text = " ".join(f"w{n}" for n in range(600))
    assert len(reading.distinct_words(Texts("", "", text))[2]) == 512
    assert reading.distinct_words(Texts("a", "b", "c d\nd"))[2] == ["c", "d"]


def test_a_rescorer_scores_alike_among_more_features():
    fitted = rescorer()
    own = np.array([True, False, True, True, True, False, True])
    x = RNG.normal(size=(4, 7)).astype(np.float32)
    assert np.allclose(fitted.among(own).scores(x), fitted.scores(x[:, own]), atol=1e-5)


def test_networks_of_more_units_add_up():
    fitted = rescorer()
    twice = fitted._replace(
        hidden=np.tile(fitted.hidden, (2, 1)),
        hidden_bias=np.tile(fitted.hidden_bias, 2),
        output=np.tile(fitted.output / 2, 2),
    )
    x = RNG.normal(size=(3, 5)).astype(np.float32)
    assert np.allclose(twice.scores(x), fitted.scores(x), atol=1e-5)
