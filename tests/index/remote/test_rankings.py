import numpy as np

from index.ranking import empty_ranking
from index.remote.rankings import Found, add_passages, best_documents, best_rows
from index.values import Vectors


def test_equal_scores_come_in_the_order_of_rows_whatever_order_the_server_has():
    ranking = best_rows([[(7, 0.5), (2, 0.5), (4, 0.9)], []], 2)
    assert ranking.rows.tolist() == [[4, 2], [-1, -1]]
    assert ranking.scores.tolist() == [np.float32([0.9, 0.5]).tolist(), [-np.inf, -np.inf]]


def test_documents_are_looked_for_deeper_until_there_are_enough():
    # Document 0 has the 90 best passages of the first query, and of the second every document has one.
    passages: Found = [
        [(0, 1.0)] * 90 + [(row, 0.5) for row in range(1, 11)],
        [(row, 0.9) for row in range(100)],
    ]
    asked: list[tuple[int, int]] = []

    def search(queries: Vectors, depth: int) -> Found:
        asked.append((len(queries), depth))
        return [passages[int(query[0])][:depth] for query in queries]

    ranking = best_documents(search, np.array([[0], [1]], np.float32), 2, 100)
    assert ranking.rows.tolist() == [[0, 1], [0, 1]]
    assert ranking.scores.tolist() == [[1.0, 0.5], np.float32([0.9, 0.9]).tolist()]
    assert asked == [(2, 24), (1, 96)]


def test_a_document_keeps_the_score_of_its_best_passage():
    ranking = empty_ranking(1, 2)
    add_passages(ranking, np.array([[0.1, 0.3, 0.2]], np.float32), np.array([5, 5, 8]))
    add_passages(ranking, np.array([[0.15, 0.05]], np.float32), np.array([9, 5]))
    assert ranking.rows.tolist() == [[5, 8]]
    assert ranking.scores.tolist() == np.float32([[0.3, 0.2]]).tolist()
