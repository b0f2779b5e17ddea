"""The rows of words. The row of a word is the sum of the rows of its features.

In: a vocabulary, a table of feature rows, and words. Out: their rows. Knows nothing of what is made of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from retrieval.model.sums import FeatureSums, feature_sums, sums_for_many
from retrieval.model.weights import Table
from retrieval.text.vocabulary import Vocabulary

if TYPE_CHECKING:
    from numpy.typing import NDArray

# The rows of up to this many words, such as those of a query, are remembered until other words are asked for.
_FEW_WORDS = 64
# Words after which sums are compiled. numpy takes as long for them as the loop takes to load.
_WORDS_BEFORE_COMPILING = 50_000


class WordRows:
    """Gives the rows of words; safe for use by several threads.

    vocabulary: the features.
    table: their rows.
    The last few words are remembered: the tower asks for the new words of a query, and so does re-scoring.
    """

    def __init__(self, vocabulary: Vocabulary, table: Table) -> None:
        self.vocabulary = vocabulary
        self._table = table
        self._sums: FeatureSums = feature_sums
        self._words_to_go: float = math.inf  # until sums are compiled
        self._last: tuple[Sequence[str], NDArray[np.float32]] = (), np.empty((0, 0), np.float32)

    def expect_many(self) -> None:
        """Compile the sums once it pays, if numba is there; they stay the same to the last bit.

        The call that compiles them takes up to two seconds longer.
        """
        self._words_to_go = _WORDS_BEFORE_COMPILING

    def of(self, words: Sequence[str]) -> NDArray[np.float32]:
        """The rows of n words, at least one, float32 (n, row width), not to be written to."""
        last, rows = self._last  # another thread may replace both meanwhile
        if words == last:
            return rows
        self._words_to_go -= len(words)
        if self._words_to_go < 0:
            self._words_to_go, self._sums = math.inf, sums_for_many()
        rows = self._sums(self._table, self.vocabulary.features_of(words))
        if len(words) <= _FEW_WORDS:
            self._last = words, rows
        return rows
