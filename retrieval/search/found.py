"""What a search found: a ranking, and what was computed of its documents on the way.

In and out: numpy arrays. The evidence for hits (`retrieval.search.evidence`) is made of what was computed, so
that the index is not asked a second time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from index.lexical.bm25 import WordMatch
from index.ranking import Ranking
from index.values import Rows

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Known(NamedTuple):
    """What is known of n documents as answers to one query.

    rows: int64 (n,).
    cosines: float32 (n,), of the embeddings; of a split document the largest of the passages that were
        compared, which in a compressed index need not be all.
    matches: of the words of the query.
    """

    rows: Rows
    cosines: NDArray[np.float32]
    matches: WordMatch

    def of(self, rows: Rows) -> Known | None:
        """The same of these documents, int64 (n,); None if one of them is not known.

        The rows of this one must be ascending, and at least one.
        """
        places = np.searchsorted(self.rows, rows)
        if not np.array_equal(self.rows.take(places, mode="clip"), rows):
            return None
        scores, shares, weight, words = self.matches
        return Known(rows, self.cosines[places], WordMatch(scores[places], shares[places], weight, words))


class Found(NamedTuple):
    """The ranking of n queries.

    known: what is known of the documents of each query, those of the ranking or more; None if nothing is.
    """

    ranking: Ranking
    known: Sequence[Known | None]


def unknown(ranking: Ranking) -> Found:
    """A ranking of whose documents nothing is known."""
    return Found(ranking, [None] * len(ranking.rows))
