"""How an index takes queries: as what they are read, which of their words no document has, the best hit.

In: an open Retriever, and queries without judgements. Out: a `Coverage` of each. It says what people ask for
that the documents may lack. Knows nothing of how often a query is asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from index.lexical.tokens import lexical_tokens
from index.protocol import OpenIndex
from index.values import Progress, no_progress
from retrieval.search.hits import Hit
from retrieval.search.retriever import Retriever
from retrieval.text.words import words

_BATCH = 64


class Coverage(NamedTuple):
    """How an index takes a query."""

    query: str
    searched: str  # the query as a search reads it, misspelt words corrected
    unknown: tuple[str, ...]  # words of `searched` that no document has, normalised
    best: Hit | None  # the first hit of a hybrid search; None for an index without documents

    def is_unlikely(self, probability: float) -> bool:
        """Whether the best hit is known to be relevant with less than this probability."""
        likely = None if self.best is None else self.best.probability
        return likely is not None and likely < probability


def coverage_of(
    retriever: Retriever,
    queries: Sequence[str],
    *,
    progress: Progress = no_progress,
) -> list[Coverage]:
    """Look queries up in an index.

    retriever: the index, open.
    queries: texts, more than white space each.
    progress: called after each batch of queries.
    Raises what `Retriever.search_all` raises.
    """
    found: list[Coverage] = []
    for start in range(0, len(queries), _BATCH):
        batch = queries[start : start + _BATCH]
        read = list(map(retriever.corrected, batch))
        hits = retriever.search_all(read, 1, as_typed=True)
        unknown = [unknown_words(retriever.index, each) for each in read]
        best = [each[0] if each else None for each in hits]
        found += map(Coverage, batch, read, unknown, best)
        progress("queries", len(found), len(queries))
    return found


def unknown_words(index: OpenIndex, query: str) -> tuple[str, ...]:
    """The different words of a query that no document has, in order; of Chinese text pairs of characters."""
    terms = index.unknown_terms(query)
    if not terms:
        return ()
    unknown = set(terms)
    found = dict.fromkeys(word for word in words(query) if not unknown.isdisjoint(lexical_tokens(word)))
    return tuple(found) or terms
