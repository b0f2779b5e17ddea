"""Re-scoring: the candidates of hybrid search in the order of a small network over features of each.

In: the dense and the lexical ranking of a query, an index and what the model has learned of re-scoring. Out:
one ranking of the candidates of both. Knows nothing of how the two rankings were made; imports no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from index.errors import NO_COMPILED_LOOPS, CorruptError
from index.interaction.matches import Matches
from index.ranking import Ranking, empty_ranking
from index.values import Mask, Rows, Vectors
from retrieval.model.folder import FILES, TrainedModel
from retrieval.model.rescoring import Rescorer, WordVectors
from retrieval.model.word_rows import WordRows
from retrieval.search.evidence import Probabilities, probabilities_of_known
from retrieval.search.features import (
    NAMES,
    OF_TITLE_AND_TEXT,
    Candidates,
    OfWords,
    features_of_words,
    word_features,
)
from retrieval.search.found import Found, Known
from retrieval.search.merging import merged
from retrieval.search.ordering import Compared, order

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from index.protocol import OpenIndex

# Documents of each of the two rankings that are re-scored. On the dev split of tldr, nDCG@10 is .0005 lower
# with 50 than with 100, at half the work.
RESCORING_DEPTH = 50
# Documents of both together that are re-scored, those that fusion ranks first. On the dev splits nDCG@10 is
# the same with all of them, which are some 80. Not fewer than `RESCORING_DEPTH`: a search that finds fewer
# than it asked for is taken for one that has seen all, see `retrieval.search.paging`.
MOST_RESCORED = 50
# A Milvus server is asked for the candidates of so many queries at once.
_QUERIES_AT_ONCE = 16

# A function with the parameters and the result of `Index.compare_words`.
CompareWords: TypeAlias = "Callable[[Rows, Vectors], Iterable[tuple[Mask | slice, Matches]]]"


# Orders candidates: fills in the rows, best first, int64 (c,), and their scores, float32 (c,).
_Order: TypeAlias = "Callable[[Compared, Rows, NDArray[np.float32]], None]"


class Rescoring:
    """What a model has learned of re-scoring, ready for the queries of several threads.

    model: the trained model; its towers share their feature rows.
    rescorer: of the model.
    rows: of words.
    probabilities: `probabilities_of_known`, or what does the same faster.
    Raises CorruptError if it is for other features than this program computes.
    """

    def __init__(self, model: TrainedModel, rescorer: Rescorer, rows: WordRows) -> None:
        self.words = WordVectors(rows, rescorer)
        if not rescorer.reads_queries and len(rescorer.linear) == np.count_nonzero(OF_TITLE_AND_TEXT):
            rescorer = rescorer.among(OF_TITLE_AND_TEXT)
        if len(rescorer.linear) != len(NAMES):
            raise CorruptError(f"{model.folder / FILES.rescoring}: damaged; restore the model folder")
        self.rescorer = rescorer
        self.query_words = model.config.query_words  # that are read
        self._dense_share = model.config.dense_share
        self._merged = merged
        self._of_words: OfWords = word_features
        self._order: _Order = partial(order, rescorer)
        self.probabilities: Probabilities = probabilities_of_known

    def compile(self) -> None:
        """Re-score in compiled loops from now on, if numba is there."""
        try:
            from retrieval.search.compiled import (
                compile_all,
                compiled_merged,
                compiled_order,
                compiled_probabilities,
                compiled_word_features,
            )
        except NO_COMPILED_LOOPS:
            return
        compile_all(self.rescorer)
        self._merged = compiled_merged
        self._of_words = compiled_word_features
        self._order = partial(compiled_order, self.rescorer.transposed())
        self.probabilities = compiled_probabilities

    def fits(self, index: OpenIndex) -> bool:
        """Whether the index has vectors of words of all documents, of the width that this compares."""
        return index.word_width() == self.words.width

    def rank(
        self, index: OpenIndex, queries: Sequence[str], embeddings: Vectors, dense: Ranking, lexical: Ranking
    ) -> Found:
        """The likeliest documents of two rankings, best first; scores from 1 down to 0.

        index: whose rows the rankings have.
        queries: n texts.
        embeddings: float32 (n, dimension), of the queries.
        dense, lexical: (n, depth), of the same depth, row -1 for no document.
        Returns a ranking (n, at most `MOST_RESCORED`), and what is known of all of its documents.
        """
        depth = min(dense.rows.shape[1] + lexical.rows.shape[1], MOST_RESCORED)
        ranking = empty_ranking(len(queries), depth)
        known: list[Known | None] = []
        for query, (text, embedding) in enumerate(zip(queries, embeddings, strict=True)):
            if len(queries) > 1 and query % _QUERIES_AT_ONCE == 0:
                several = slice(query, query + _QUERIES_AT_ONCE)
                candidates = np.union1d(dense.rows[several], lexical.rows[several])
                index.prepare(candidates[candidates >= 0])
            compared = self.compared(index, text, embedding, dense.of(query), lexical.of(query))
            if compared is None:
                known.append(None)
                continue
            found = len(compared.rows)
            self._order(compared, ranking.rows[query, :found], ranking.scores[query, :found])
            known.append(Known(compared.rows, compared.candidates.cosines, compared.candidates.matches))
        return Found(ranking, known)

    def compared(
        self,
        index: OpenIndex,
        query: str,
        embedding: NDArray[np.float32],
        dense: Ranking,
        lexical: Ranking,
        most: int = MOST_RESCORED,
        compare: CompareWords | None = None,
    ) -> Compared | None:
        """The candidates of a query; None if there are none.

        index: whose rows the rankings have.
        query: its text.
        embedding: float32 (dimension,), of the query.
        dense, lexical: of this query alone, (1, depth).
        most: how many of their documents are candidates, those that fusion ranks first.
        compare: in place of `index.compare_words`, for an index without words.
        """
        rows, cosines, others, dense_ranks, lexical_ranks = self._merged(
            dense, lexical, most, self._dense_share
        )
        if not len(rows):
            return None
        matches = index.match_words(query, rows)  # first: a server then tells all of these documents at once
        cosines[others] = index.cosines(rows[others], embedding)
        candidates = Candidates(cosines, matches, dense_ranks, lexical_ranks, dense.rows.shape[1])
        vectors, weights = self.words.encode_query(query, self.query_words)
        matched = (compare or index.compare_words)(rows, vectors)
        table = features_of_words(len(rows), matched, weights, self._of_words)
        return Compared(rows, candidates, len(weights), table)
