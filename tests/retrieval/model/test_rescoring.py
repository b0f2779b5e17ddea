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


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def rescorer(rng: np.random.Generator) -> Rescorer:
    row_width, width, hidden, features = 4, 2, 3, 5
    shapes = ((row_width, width), (row_width,), (1,), (hidden, features), (hidden,), (hidden,), (features,))
    return Rescorer(*(rng.normal(size=shape).astype(np.float32) for shape in shapes))


def test_scores_are_those_of_the_formula(rescorer: Rescorer, rng: np.random.Generator):
    x = rng.normal(size=(7, 5)).astype(np.float32)
    for row, score in zip(x, rescorer.scores(x).tolist(), strict=True):
        units = [
            math.tanh(sum(w * v for w, v in zip(weights, row, strict=True)) + bias)
            for weights, bias in zip(rescorer.hidden, rescorer.hidden_bias, strict=True)
        ]
        want = sum(v * u for v, u in zip(rescorer.output, units, strict=True)) + float(rescorer.linear @ row)
        assert score == pytest.approx(want, abs=1e-5)


@pytest.mark.parametrize("reads_queries", [False, True])
def test_a_file_comes_back_as_it_was(tmp_path: Path, reads_queries: bool, rescorer: Rescorer):
    fitted = rescorer._replace(reads_queries=reads_queries)
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
def test_other_arrays_are_refused(tmp_path: Path, change: dict[str, np.ndarray | None], rescorer: Rescorer):
    rescorer.save(tmp_path / "r")
    arrays = read_weights(tmp_path / "r") | change
    write_weights(
        tmp_path / "r", {name: np.array(array) for name, array in arrays.items() if array is not None}
    )
    with pytest.raises(CorruptError, match="restore the model folder"):
        Rescorer.load(tmp_path / "r", 4)


def test_every_cut_of_the_file_is_refused(tmp_path: Path, rescorer: Rescorer):
    rescorer.save(tmp_path / "r")
    data = (tmp_path / "r").read_bytes()
    for size in range(0, len(data), 13):
        (tmp_path / "r").write_bytes(data[:size])
        with pytest.raises(CorruptError):
            Rescorer.load(tmp_path / "r", 4)


def test_another_version_is_not_used(tmp_path: Path, rescorer: Rescorer):
    rescorer.save(tmp_path / "r")
    arrays = read_weights(tmp_path / "r") | {
        "version": np.array([3], np.float32),
        "new": np.ones(1, np.float32),
    }
    write_weights(tmp_path / "r", {name: np.array(array) for name, array in arrays.items()})
    assert Rescorer.load(tmp_path / "r", 4) is None


@pytest.fixture
def words(rescorer: Rescorer, rng: np.random.Generator) -> WordVectors:
    vocabulary = Vocabulary(("#ca", "cat", "at#", " cat "), 2)
    table = Table(rng.normal(size=(len(vocabulary), 4)).astype(np.float32))
    return WordVectors(WordRows(vocabulary, table), rescorer)


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


def test_a_rescorer_scores_alike_among_more_features(rescorer: Rescorer, rng: np.random.Generator):
    own = np.array([True, False, True, True, True, False, True])
    x = rng.normal(size=(4, 7)).astype(np.float32)
    assert np.allclose(rescorer.among(own).scores(x), rescorer.scores(x[:, own]), atol=1e-5)


def test_networks_of_more_units_add_up(rescorer: Rescorer, rng: np.random.Generator):
    twice = rescorer._replace(
        hidden=np.tile(rescorer.hidden, (2, 1)),
        hidden_bias=np.tile(rescorer.hidden_bias, 2),
        output=np.tile(rescorer.output / 2, 2),
    )
    x = rng.normal(size=(3, 5)).astype(np.float32)
    assert np.allclose(twice.scores(x), rescorer.scores(x), atol=1e-5)
