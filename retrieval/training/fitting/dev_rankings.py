"""The dense and the lexical ranking of the dev queries, which every fit at the end of training starts from.

In: an index of the dev documents and the data set. Out: `DevRankings`. Knows nothing of what is fitted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from index.ranking import Ranking
from retrieval.search.ranking import FUSION_DEPTH
from retrieval.search.retriever import Retriever
from retrieval.training.examples.dataset import TrainingData


class DevRankings(NamedTuple):
    """The two rankings of n queries, `FUSION_DEPTH` deep, by exact search.

    query_ids: of the queries, in the order of the rankings.
    """

    query_ids: tuple[str, ...]
    dense: Ranking
    lexical: Ranking

    def only(self, queries: Mapping[str, Any]) -> DevRankings:
        """The rankings of those of the queries that are in the mapping."""
        at = np.array([at for at, query_id in enumerate(self.query_ids) if query_id in queries], np.int64)
        dense, lexical = (Ranking(each.scores[at], each.rows[at]) for each in (self.dense, self.lexical))
        return DevRankings(tuple(self.query_ids[place] for place in at), dense, lexical)


def rank_dev(retriever: Retriever, dataset: TrainingData) -> DevRankings:
    """Rank the dev queries.

    retriever: of `retrieval.training.fitting.dev_index`.
    dataset: the data set.
    """
    texts = [dataset.queries[query_id] for query_id in dataset.dev]
    dense = retriever.rank(texts, FUSION_DEPTH, "dense", as_typed=True)
    lexical = retriever.rank(texts, FUSION_DEPTH, "lexical", as_typed=True)
    return DevRankings(tuple(dataset.dev), dense, lexical)
