"""The queries that a document is known to answer: those that training judges it relevant for.

In: judgements and texts of queries. Out: for each document the texts that an index stores with it. Whoever
asks one of them again, or one that shares words with it, finds the document although it says it otherwise.
Queries of dev and test are never among them, so that what is measured there holds for queries to come.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from retrieval.data.queries import Judgements

# Queries of a document; of more those with the highest grades, and the first of these.
MOST_QUERIES = 100


def known_queries(judgements: Judgements, queries: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """The texts that each document is known to answer, by document id; documents without any are left out.

    judgements: of training queries.
    queries: query id to text.
    """
    found: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for query_id, grades in judgements.items():
        for document, grade in grades.items():
            if grade > 0:
                found[document].append((grade, queries[query_id]))
    known = {document: chosen(graded) for document, graded in found.items()}
    return {document: texts for document, texts in known.items() if texts}


def chosen(graded: Iterable[tuple[int, str]]) -> tuple[str, ...]:
    """Those of a document's queries that are stored, one line each, without repeats.

    graded: grade, and text.
    """
    ordered = sorted(graded, key=lambda one: -one[0])
    distinct: dict[str, str] = {}
    for _, text in ordered:
        line = " ".join(text.split())
        if line:
            distinct.setdefault(line.casefold(), line)
    return tuple(distinct.values())[:MOST_QUERIES]
