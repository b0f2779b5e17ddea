import numpy as np

from index.ranking import Ranking, best, empty_ranking, merge


def test_best_breaks_ties_by_position():
    assert best(np.array([1, 3, 3, 2, 3], np.float32), 2).tolist() == [1, 2]


def test_best_of_fewer_than_k_gives_all_in_order():
    assert best(np.array([1, 3, 2], np.float32), 9).tolist() == [1, 2, 0]


def test_best_of_nothing_is_empty():
    assert best(np.empty(0, np.float32), 3).tolist() == []


def test_best_agrees_with_a_full_sort():
    scores = np.random.default_rng(0).integers(0, 50, 1000).astype(np.float32)
    expected = sorted(range(1000), key=lambda i: (-scores[i], i))[:77]
    assert best(scores, 77).tolist() == expected


def test_ranking_of_one_query_and_of_fewer_rows_is_a_part_of_the_whole():
    whole = Ranking(np.float32([[3, 2], [5, 4], [7, 6]]), np.array([[1, 0], [2, 3], [5, 4]]))
    assert [part.tolist() for part in whole.of(1)] == [[[5, 4]], [[2, 3]]]
    assert [part.tolist() for part in whole.top(1)] == [[[3], [5], [7]], [[1], [2], [5]]]


def test_merge_shifts_rows_and_keeps_what_is_missing_last():
    first = Ranking(np.array([[0.9, 0.1]], np.float32), np.array([[1, 0]]))
    second = empty_ranking(1, 2)
    second.scores[0, 0], second.rows[0, 0] = 0.5, 2
    merged = merge([first, second], [0, 10], 4)
    assert merged.rows.tolist() == [[1, 12, 0, -1]]
    assert merged.scores[0, :3].tolist() == [np.float32(0.9), np.float32(0.5), np.float32(0.1)]
    assert merged.scores[0, 3] == -np.inf
