"""Keyword detection by the cells of an LSTM, worked by hand."""

from __future__ import annotations

import numpy as np

from retrieval.explain.keywords import active_cells, detection_counts, is_keyword

# y(t) of three cells over four words. Jumps from word to word: cell 0 .1 .7 .1; cell 1 .3 .0 -.6;
# cell 2 .0 .0 .02.
OUTPUT = np.array([[0.0, 0.1, 0.01], [0.1, 0.4, 0.01], [0.8, 0.4, 0.01], [0.9, -0.2, 0.03]])


def test_a_cell_detects_the_words_at_its_large_jumps():
    cells = active_cells(OUTPUT)
    assert [cell.cell for cell in cells] == [0, 1, 2]
    assert [cell.output for cell in cells] == [0.9, -0.2, 0.03]
    assert [cell.words for cell in cells] == [[2], [1, 3], [3]]
    assert detection_counts(cells, 4) == [0, 1, 1, 2]


def test_from_the_right_places_are_the_texts():
    cells = active_cells(OUTPUT[::-1], backwards=True)
    assert [cell.words for cell in cells] == [[1], [0, 2], [0]]


def test_the_ten_most_active_cells_are_taken_by_size():
    output = np.zeros((2, 12))
    output[1] = np.arange(12) * np.where(np.arange(12) % 2, -0.01, 0.01)
    assert [cell.cell for cell in active_cells(output)] == [11, 10, 9, 8, 7, 6, 5, 4, 3, 2]


def test_the_first_word_is_never_detected():
    steep = np.array([[0.9] * 10, [0.9] * 10, [0.91] * 10])
    assert detection_counts(active_cells(steep), 3) == [0, 0, 10]


def test_a_cell_that_does_not_move_detects_nothing():
    assert [cell.words for cell in active_cells(np.full((3, 2), 0.5))] == [[], []]
    assert [cell.words for cell in active_cells(np.full((1, 2), 0.5))] == [[], []]


def test_a_keyword_has_more_than_four_cells_both_ways():
    assert is_keyword([5, 5])
    assert not is_keyword([10, 4])
    assert is_keyword([None, 5])
    assert not is_keyword([4, None])
    assert not is_keyword([None, None])
    assert not is_keyword([])
