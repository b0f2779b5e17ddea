"""The ranking of documents for queries: by embeddings, by words, or both fused.

In: an open generation, queries with their embeddings. Out: scores and rows. Knows nothing of what the
documents say.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from index.errors import InputError
from index.phases import phase
from index.ranking import Ranking
from index.values import Vectors
from retrieval.search.found import Found, Known, unknown
from retrieval.search.fusion import fuse
from retrieval.search.generation import OpenGeneration
from retrieval.search.grouping import best_of_each
from retrieval.search.modes import Mode, Where
from retrieval.search.paging import deepen
from retrieval.search.rescoring import RESCORING_DEPTH

if TYPE_CHECKING:
    from index.documents.filtering.expression import Expression
    from index.protocol import OpenIndex

# The first depth of the two rankings that hybrid search fuses, and of a search of compressed vectors; see
# retrieval/search/paging.py for the next ones.
FUSION_DEPTH = 100
_SCAN_DEPTH = 10


def rank(
    opened: OpenGeneration,
    queries: Sequence[str],
    embeddings: Vectors | None,
    k: int,
    mode: Mode,
    where: Where = (),
) -> Found:
    """The k best documents of each query.

    opened: what is searched.
    queries: n texts.
    embeddings: float32 (n, dimension), of the queries; None for mode "lexical".
    k, mode, where: as for `Retriever.search`.
    Returns a ranking (n, at most k), row -1 where there are fewer documents, and what re-scoring computed
    of its documents. Raises InputError as `Retriever.search` does.
    """
    check_depth(k)
    index = opened.index
    count = max(1, index.count)
    k = min(k, count)  # memory must not grow with a k that no index can fill
    conditions = conditions_of(where)
    if embeddings is None:
        return unknown(_lexical(index, queries, k, conditions))
    if mode == "dense":
        if index.is_exact(conditions):
            return unknown(_dense(index, embeddings, k, conditions))
        return unknown(
            deepen(lambda depth, _: _dense(index, embeddings, depth, conditions), k, _SCAN_DEPTH, count)
        )

    rescoring = opened.rescoring
    known: Sequence[Known | None] = [None] * len(queries)

    def fused(depth: int, level: int) -> Ranking:
        """The documents of both rankings; scores 0 to 1, and 1 lower in each next level.

        Only the first level is re-scored, and of it the likeliest: of the others few are relevant. The next
        level has all of them.
        """
        nonlocal known
        dense = _dense(index, embeddings, depth, conditions)
        lexical = _lexical(index, queries, depth, conditions)
        if level == 0 and rescoring is not None:
            with phase("rescore"):
                ranking, known = rescoring.rank(index, queries, embeddings, dense, lexical)
                return ranking
        with phase("fuse"):
            ranking = fuse(dense, lexical, min(2 * depth, count), opened.tower.dense_share)
        return Ranking(ranking.scores - np.float32(level), ranking.rows)

    ranking = deepen(fused, k, FUSION_DEPTH if rescoring is None else RESCORING_DEPTH, count)
    return Found(ranking, known)


def page(
    opened: OpenGeneration,
    queries: Sequence[str],
    embeddings: Vectors | None,
    k: int,
    mode: Mode,
    where: Where,
    offset: int,
    per: str | None,
) -> Found:
    """The documents of the ranks 1 to offset + k.

    opened, queries, embeddings, k, mode, where: as for `rank`.
    offset, per: as for `Retriever.search`.
    Returns and raises what `rank` does, InputError for an offset below 0 and a field that no document has.
    """
    check_depth(k)
    if operator.index(offset) < 0:
        raise InputError(f"offset must be at least 0, not {offset}")
    count = max(1, opened.index.count)
    last = min(offset + k, count)
    if per is None:
        ranking, known = rank(opened, queries, embeddings, last, mode, where)
    else:
        from index.documents.filtering.parse import parse_field

        field = parse_field(per)
        known = []

        def ranked(depth: int) -> Ranking:
            nonlocal known  # each depth begins with the same re-scored documents
            ranking, known = rank(opened, queries, embeddings, depth, mode, where)
            return ranking

        ranking = best_of_each(
            ranked,
            lambda rows: opened.index.values_of(field, rows),
            last,
            count,
        )
    return Found(ranking.top(last), known)


def check_depth(k: int) -> None:
    """Raise InputError unless k is at least 1, and TypeError if it is no whole number."""
    if operator.index(k) < 1:
        raise InputError(f"k must be at least 1, not {k}")


def conditions_of(where: Where) -> Sequence[Expression]:
    """The filters of a search, parsed. Raises InputError for one that cannot be parsed."""
    if not where:
        return ()  # most searches have none, and must not wait for the import of the parser
    from index.documents.filtering.parse import parse_filters

    return parse_filters(where)


def _dense(index: OpenIndex, embeddings: Vectors, k: int, where: Sequence[Expression]) -> Ranking:
    with phase("dense"):
        return index.search_dense(embeddings, k, where)


def _lexical(index: OpenIndex, queries: Sequence[str], k: int, where: Sequence[Expression]) -> Ranking:
    with phase("lexical"):
        return index.search_lexical(queries, k, where)
