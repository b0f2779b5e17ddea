"""Orders the candidates of a query by a learned rescorer.

In: candidates that were compared with the query's words, and a rescorer. Out: rows, best first. Knows nothing
of indexes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from index.values import Rows
from retrieval.model.rescoring import Rescorer
from retrieval.search.features import NAMES, Candidates, add_candidate_features

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Compared(NamedTuple):
    """The c candidates of a query, at least one, compared with its words.

    rows: int64 (c,), ascending.
    candidates: what is known of them beside their words.
    words: how many distinct words the query has.
    table: their features, float32 (c, len(NAMES)); only those of their words are filled in.
    """

    rows: Rows
    candidates: Candidates
    words: int
    table: NDArray[np.float32]


def features_of(compared: Compared | None) -> tuple[Rows, NDArray[np.float32]]:
    """The rows of candidates, int64 (c,), and all of their features, float32 (c, len(NAMES))."""
    if compared is None:
        return np.empty(0, np.int64), np.empty((0, len(NAMES)), np.float32)
    add_candidate_features(compared.table, compared.candidates, compared.words)
    return compared.rows, compared.table


def order(rescorer: Rescorer, compared: Compared, rows: Rows, scores: NDArray[np.float32]) -> None:
    """Order the candidates of a query by a rescorer.

    compared: the candidates.
    rows: int64 (c,), filled in: best first, of equal ones the lowest first.
    scores: float32 (c,), filled in: from 1 down to 0; 1 if all are equal.
    """
    candidates, features = features_of(compared)
    found = rescorer.scores(features)
    best = np.argsort(-found, kind="stable")
    rows[:] = candidates[best]
    falling = found[best]
    spread = falling[0] - falling[-1]
    scores[:] = (falling - falling[-1]) / spread if spread > 0 else 1
