"""Sums of rows: equal to numpy's own, bit for bit, for lists of every length."""

import numpy as np
import pytest

from retrieval.model.sums import feature_sums, sums_for_many, sums_of_rows
from retrieval.model.weights import Table, quantise
from retrieval.text.vocabulary import Ragged, ragged

# Lengths around those at which numpy's order of addition changes: 8 lanes after the first row, runs of 128.
LENGTHS = [1, 2, 3, 7, 8, 9, 10, 16, 17, 25, 40, 128, 129, 130, 137, 300]


def rows_and_offsets(lengths: list[int]) -> tuple[np.ndarray, np.ndarray]:
    rows = np.random.default_rng(1).standard_normal((sum(lengths), 24)).astype(np.float32)
    return rows, np.concatenate(([0], np.cumsum(lengths)))


@pytest.mark.parametrize("lengths", [LENGTHS, [*LENGTHS] * 3, [3, 9] * 600])
def test_sums_are_those_of_numpy_to_the_last_bit(lengths: list[int]) -> None:
    rows, offsets = rows_and_offsets(np.random.default_rng(2).permutation(lengths).tolist())
    sums = sums_of_rows(lambda places: rows[places], offsets, 24)
    assert sums.dtype == np.float32
    np.testing.assert_array_equal(sums, np.add.reduceat(rows, offsets[:-1]))


def test_few_lists_are_summed_too() -> None:
    rows, offsets = rows_and_offsets([2, 30])
    sums = sums_of_rows(lambda places: rows[places], offsets, 24)
    np.testing.assert_array_equal(sums, np.add.reduceat(rows, offsets[:-1]))


def table_and_features(lengths: list[int]) -> tuple[Table, Ragged]:
    rng = np.random.default_rng(4)
    table = quantise(rng.standard_normal((50, 24)).astype(np.float32))
    return table, ragged([rng.integers(0, 50, length).tolist() for length in lengths])


@pytest.mark.parametrize("lengths", [LENGTHS[:-3], LENGTHS, [3, 9] * 600], ids=str)
def test_compiled_sums_of_features_are_the_same_to_the_last_bit(lengths: list[int]) -> None:
    table, features = table_and_features(np.random.default_rng(2).permutation(lengths).tolist())
    many = sums_for_many()
    assert many is not feature_sums
    np.testing.assert_array_equal(many(table, features), feature_sums(table, features))
    whole = Table(table.rows(slice(None)))
    np.testing.assert_array_equal(many(whole, features), feature_sums(whole, features))


@pytest.mark.parametrize("wrong", [50, -1])
def test_compiled_sums_do_not_read_beyond_the_table(wrong: int) -> None:
    table, _ = table_and_features([])
    with pytest.raises(IndexError, match="that the table lacks"):
        sums_for_many()(table, ragged([[1, wrong]]))


@pytest.mark.parametrize("words", [2, 40])
def test_features_of_words_are_summed_from_their_table(words: int) -> None:
    table = quantise(np.random.default_rng(3).standard_normal((5, 6)).astype(np.float32))
    features = ragged([[4, 0, 4], [1]] * (words // 2))
    whole = table.rows(slice(None))
    expected = [whole[4] + (whole[0] + whole[4]), whole[1]] * (words // 2)
    np.testing.assert_array_equal(feature_sums(table, features), expected)
    np.testing.assert_array_equal(feature_sums(Table(whole), features), expected)
