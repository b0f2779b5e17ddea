"""The answer to a query, and its JSON: one form for `peephole search --json` and for the HTTP API.

In: an open index, queries, and what is asked of each. Out: hits with the time that they took, and JSON
values. Knows nothing of who asks.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from index.phases import Phases, recording
from retrieval.search.hits import Hit
from retrieval.search.modes import Mode
from retrieval.search.passages import Passage
from retrieval.search.retriever import Retriever

if TYPE_CHECKING:
    from retrieval.search.facets import FacetValue


class Request(NamedTuple):
    """What is asked of a search besides its query; see `Retriever.search` and `Retriever.facets`."""

    k: int = 10
    mode: Mode = "hybrid"
    where: tuple[str, ...] = ()
    facets: tuple[str, ...] = ()  # fields whose values are counted
    offset: int = 0
    per: str | None = None
    min_probability: float | None = None
    metadata: bool = False
    as_typed: bool = False


class Answer(NamedTuple):
    """The hits of a query, the counted values by field, and the time that the search took."""

    query: str  # as typed
    searched: str  # the query that was searched for, its misspelt words corrected
    mode: Mode
    hits: list[Hit]
    facets: Mapping[str, list[FacetValue]]
    took_ms: float  # without the facets
    phases: Phases  # seconds


def answer(retriever: Retriever, query: str, request: Request) -> Answer:
    """Search, and measure it. Raises what `Retriever.search` and `Retriever.facets` raise."""
    return answers(retriever, [query], request)[0]


def answers(retriever: Retriever, queries: Sequence[str], request: Request) -> list[Answer]:
    """Search for several queries at once. Each answer has the time of the whole call.

    Raises what `answer` raises. Scores may differ from those of single queries in the last digits, because
    several vectors are multiplied in another order.
    """
    start = time.perf_counter()
    with recording() as phases:
        searched = queries if request.as_typed else list(map(retriever.corrected, queries))
        found = retriever.search_all(
            *(searched, request.k, request.mode, request.where),
            offset=request.offset,
            per=request.per,
            min_probability=request.min_probability,
            metadata=request.metadata,
            as_typed=True,  # as they are now
        )
    took_ms = (time.perf_counter() - start) * 1000
    return [
        Answer(query, read, request.mode, hits, _facets(retriever, read, request), took_ms, phases)
        for query, read, hits in zip(queries, searched, found, strict=True)
    ]


def _facets(retriever: Retriever, query: str, request: Request) -> dict[str, list[FacetValue]]:
    if not request.facets:
        return {}
    return retriever.facets(query, request.facets, request.mode, request.where, as_typed=True)


def answer_json(answer: Answer, *, profile: bool = False) -> dict[str, Any]:
    """The answer as JSON values: query, mode, took_ms, hits and, if any were counted, facets.

    If another query was searched for than the one typed, also `corrected`: that query.

    A hit has the fields of `Hit`; metadata only if the request asks for it.

    profile: also `phases_ms`, the milliseconds of each phase.
    """
    values: dict[str, Any] = {
        "query": answer.query,
        "mode": answer.mode,
        "took_ms": round(answer.took_ms, 3),
        "hits": [_hit_json(hit) for hit in answer.hits],
    }
    if answer.searched != answer.query:
        values["corrected"] = answer.searched
    if answer.facets:
        values["facets"] = {
            field: [{"value": each.value, "count": each.count} for each in counts]
            for field, counts in answer.facets.items()
        }
    if profile:
        values["phases_ms"] = phases_ms(answer)
    return values


def _hit_json(hit: Hit) -> dict[str, Any]:
    values = hit._asdict()
    if isinstance(hit.passage, Passage):
        values["passage"] = hit.passage._asdict()
    if hit.metadata is None:
        del values["metadata"]
    return values


def phases_ms(answer: Answer) -> dict[str, float]:
    """The milliseconds of each phase, in the order in which they ended, and `other`, the rest."""
    known = {name: round(seconds * 1000, 3) for name, seconds in answer.phases.items()}
    return {**known, "other": round(max(0.0, answer.took_ms - sum(known.values())), 3)}
