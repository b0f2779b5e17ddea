"""The likeliest documents of a dense and a lexical ranking of one query, by row.

In: two rankings. Out: their documents, each once, with ranks. If there are too many, those are left out that
fusion ranks last. Knows nothing of how the others are scored then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from index.ranking import Ranking
from index.values import Mask, Rows
from retrieval.search.fusion import scaled

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Merged(NamedTuple):
    """The c documents of two rankings of a query, by row.

    rows: int64 (c,), ascending.
    cosines: float32 (c,), the scores of the dense ranking.
    others: bool (c,), the documents that the dense ranking lacks. Their cosines are not filled in.
    dense_ranks, lexical_ranks: int64 (c,), from 0; the depth of the ranking for documents that it lacks.
    """

    rows: Rows
    cosines: NDArray[np.float32]
    others: Mask
    dense_ranks: NDArray[np.int64]
    lexical_ranks: NDArray[np.int64]


def merged(dense: Ranking, lexical: Ranking, most: int, dense_share: float) -> Merged:
    """The documents of two rankings of one query.

    dense, lexical: (1, depth), row -1 for no document.
    most: how many documents are kept, those of the highest fused scores; of equal ones the lower rows.
    dense_share: the weight of the dense ranking in fusion, see `retrieval.search.fusion`.
    """
    near, matching = dense.rows[0], lexical.rows[0]
    found = near >= 0
    rows = _union(near[found], matching[matching >= 0])
    cosines, others = np.empty(len(rows), np.float32), np.ones(len(rows), bool)
    places = np.searchsorted(rows, near[found])
    cosines[places], others[places] = dense.scores[0, found], False
    dense_ranks, lexical_ranks = _ranks(rows, near), _ranks(rows, matching)
    if len(rows) <= most:
        return Merged(rows, cosines, others, dense_ranks, lexical_ranks)
    fused = np.zeros(len(rows))
    for ranking, share in ((dense, dense_share), (lexical, 1 - dense_share)):
        ranked, scores = scaled(ranking, 0)
        fused[np.searchsorted(rows, ranked)] += share * scores
    kept = np.sort(np.argsort(-fused.astype(np.float32), kind="stable")[:most])
    return Merged(rows[kept], cosines[kept], others[kept], dense_ranks[kept], lexical_ranks[kept])


def _union(first: Rows, second: Rows) -> Rows:
    """The rows that are in either array, ascending.

    `np.union1d` is not used, because it loads numpy's masked arrays: 42 million instructions in a search from
    the shell.
    """
    rows = np.sort(np.concatenate((first, second)))
    new = np.ones(len(rows), bool)
    np.not_equal(rows[1:], rows[:-1], out=new[1:])
    return rows[new]


def _ranks(rows: Rows, ranked: Rows) -> NDArray[np.int64]:
    """The rank of each of some ascending rows, from 0. A row that is not ranked gets the number of ranks."""
    found = ranked[ranked >= 0]
    ranks = np.full(len(rows), len(ranked), np.int64)
    ranks[np.searchsorted(rows, found)] = np.arange(len(found))
    return ranks
