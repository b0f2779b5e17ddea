"""Rankings of documents, made from the hits of a server, which are passages.

In: rows and scores, in any order. Out: rankings. Knows nothing of how the server finds them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from index.ranking import Ranking, best, empty_ranking
from index.remote.client import MOST_RESULTS
from index.values import Rows, Vectors

# For each query the rows and scores that a search found; a document's row comes once for each passage.
Found = list[list[tuple[int, float]]]

# Results that are asked for beyond k, so that ties with the last one come in the order of their rows.
TIES = 16
# Passages that a search asks for first for each document, and by how much it then goes deeper.
_PASSAGES_A_DOCUMENT = 4
_DEPTH_GROWTH = 4


def best_rows(found: Found, k: int) -> Ranking:
    """The k best, equal scores in the order of their rows."""
    ranking = empty_ranking(len(found), k)
    for query, hits in enumerate(found):
        ordered = sorted(hits)
        rows = np.array([row for row, _ in ordered], np.int64)
        scores = np.array([score for _, score in ordered], np.float32)
        chosen = best(scores, k)
        ranking.rows[query, : len(chosen)] = rows[chosen]
        ranking.scores[query, : len(chosen)] = scores[chosen]
    return ranking


def best_documents(
    search: Callable[[Vectors, int], Found], queries: Vectors, k: int, passages: int
) -> Ranking:
    """The k documents with the best passages; a document has the score of its best one.

    search: the nearest passages of some queries, as many as it is told, the best first.
    queries: float32 (n, dimension).
    k: results a query.
    passages: how many there are.
    """
    most = min(MOST_RESULTS, passages)
    ranking = empty_ranking(len(queries), k)
    pending, depth = np.arange(len(queries)), _PASSAGES_A_DOCUMENT * k + TIES
    while len(pending):
        depth = min(depth, most)
        firsts: Found = []
        short = []
        for query, hits in zip(pending.tolist(), search(queries[pending], depth), strict=True):
            scores: dict[int, float] = {}
            for row, score in hits:
                scores.setdefault(row, score)
            firsts.append(list(scores.items()))
            if len(scores) < k and len(hits) >= depth and depth < most:
                short.append(query)
        part = best_rows(firsts, k)
        ranking.rows[pending], ranking.scores[pending] = part.rows, part.scores
        pending = np.array(short, np.int64)
        depth *= _DEPTH_GROWTH
    return ranking


def add_passages(ranking: Ranking, scores: NDArray[np.float32], rows: Rows) -> None:
    """Merge more passages into a ranking of documents."""
    for query, line in enumerate(scores):
        top: dict[int, float] = dict(
            zip(ranking.rows[query].tolist(), ranking.scores[query].tolist(), strict=True)
        )
        top.pop(-1, None)
        least = float(ranking.scores[query, -1])
        for at in np.flatnonzero(line >= least).tolist():
            row, score = int(rows[at]), float(line[at])
            top[row] = max(score, top.get(row, score))
        part = best_rows([list(top.items())], ranking.rows.shape[1])
        ranking.rows[query], ranking.scores[query] = part.rows[0], part.scores[0]
