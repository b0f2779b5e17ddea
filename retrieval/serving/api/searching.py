"""The handlers that search and explain.

In: requests. Out: the JSON of `search --json` and of `explain --json`. A search runs in the loop in its turn.
One that waits for another machine, and one with conditions, facets, an offset or one hit per value runs in a
thread, for it may read the metadata of all documents, or rank many.
"""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from retrieval.search.answer import Answer
from retrieval.search.answer import Request as Wanted
from retrieval.search.retriever import Retriever
from retrieval.serving.api.reading import (
    Parameters,
    checked_facets,
    checked_field,
    checked_hits,
    checked_mode,
    checked_offset,
    checked_query,
    checked_share,
    checked_where,
    json_body,
    one,
    share,
    switch,
    whole,
)
from retrieval.serving.api.schemas import SearchMany
from retrieval.serving.engine import Shown, characters, search, to_values
from retrieval.serving.errors import Refusal, json_response
from retrieval.serving.settings import Limits
from retrieval.serving.state import State
from retrieval.serving.telemetry.log import Record
from retrieval.serving.turns import Batches

# Queries that are searched together: more save little, and hold up the loop.
_BATCH = 8
# Characters of which snippets take a millisecond or two.
_SHORT = 20_000


class SearchHandlers:
    """Handlers of /search and /explain."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._batches = Batches[str, Answer](state.turns, state.limits.seconds, _BATCH)

    async def get(self, request: Request, values: Parameters) -> Response:
        """GET /search: one query."""
        limits = self._state.limits
        query = checked_query(one(values, "q"), limits)
        shown = Shown(switch(values, "profile"), switch(values, "snippet"), switch(values, "text", "1"))
        wanted, recorded = _wanted(values, limits), switch(values, "record", "1")
        answers = await self._answers(request.scope["record"], [query], wanted)
        made = await self._values(answers, shown)
        if recorded and request.method != "HEAD":
            self._record(answers, made, wanted.offset)
        return json_response(made[0])

    async def post(self, request: Request, values: Parameters) -> Response:
        """POST /search: several queries, answered from one generation."""
        limits = self._state.limits
        asked: SearchMany = await json_body(request, limits, SearchMany)
        if not 1 <= len(asked.queries) <= limits.queries:
            raise Refusal(422, f"give 1 to {limits.queries} queries", "queries")
        queries = [checked_query(query, limits, "queries") for query in asked.queries]
        answers = await self._answers(request.scope["record"], queries, _wanted_by_all(asked, limits))
        shown = Shown(asked.profile, asked.snippet, asked.text)
        made = await self._values(answers, shown)
        if asked.record:
            self._record(answers, made, asked.offset)
        return json_response(made)

    async def explain(self, request: Request, values: Parameters) -> Response:
        """GET /explain: which words of a query, and of a document, carry the match."""
        state = self._state
        query = checked_query(one(values, "q"), state.limits)
        document_id, as_typed = one(values, "id", "") or None, switch(values, "as_typed")
        if document_id is not None and not await state.slow.run(state.engine.holds, document_id):
            raise Refusal(404, "no document has this id", "id")
        return json_response(await state.slow.run(state.engine.explain, query, document_id, as_typed))

    async def _values(self, answers: list[Answer], shown: Shown) -> list[dict[str, Any]]:
        """The JSON of the answers. Snippets of much text are made in a thread, for they hold up the loop."""
        if shown.snippet and characters(answers) > _SHORT:
            return await self._state.slow.run(to_values, answers, shown)
        return to_values(answers, shown)

    def _record(self, answers: list[Answer], made: list[dict[str, Any]], offset: int) -> None:
        """Record what is shown, if the server does, and add the id of each search to its JSON."""
        if self._state.recorder is None:
            return
        for each, values in zip(answers, made, strict=True):
            ids = (hit.id for hit in each.hits)
            values["search"] = self._state.recorder.shown(each.query, each.mode, offset, ids)

    async def _answers(self, record: Record, queries: list[str], wanted: Wanted) -> list[Answer]:
        """The answers to all queries, from one generation, and the record filled in."""
        state = self._state
        record.queries = queries
        with state.engine.pinned() as retriever:
            record.generation = retriever.index.generation
            answers = await self._searched(retriever, queries, wanted)
        record.hits = sum(len(each.hits) for each in answers)
        record.phases = dict(answers[0].phases)
        for each in answers:
            state.metrics.search(len(each.hits), each.phases)
        return answers

    async def _searched(self, retriever: Retriever, queries: list[str], wanted: Wanted) -> list[Answer]:
        slow = retriever.index.waits or wanted.where or wanted.facets or wanted.offset
        if slow or wanted.per is not None:
            return await self._state.slow.run(search, retriever, queries, wanted)

        def work(queries: list[str]) -> list[Answer]:
            return search(retriever, queries, wanted)

        if len(queries) == 1:
            return [await self._batches.result((retriever.index.pointer, wanted), queries[0], work)]
        answers: list[Answer] = []
        for start in range(0, len(queries), _BATCH):
            async with self._state.turns.turn():
                answers += work(queries[start : start + _BATCH])
        return answers


def _wanted(values: Parameters, limits: Limits) -> Wanted:
    """What the parameters of GET /search ask for."""
    return Wanted(
        checked_hits(whole(one(values, "k", "10")), limits),
        checked_mode(one(values, "mode", "hybrid")),
        checked_where(values.get("where", []), limits),
        checked_facets(values.get("facet", []), limits),
        checked_offset(whole(one(values, "offset", "0")), limits),
        checked_field(one(values, "per"), limits, "per") if "per" in values else None,
        share(one(values, "min_probability"), "min_probability") if "min_probability" in values else None,
        switch(values, "metadata"),
        switch(values, "as_typed"),
    )


def _wanted_by_all(asked: SearchMany, limits: Limits) -> Wanted:
    """What the body of POST /search asks for, of each of its queries."""
    return Wanted(
        checked_hits(asked.k, limits),
        asked.mode,
        checked_where(asked.where, limits),
        checked_facets(asked.facet, limits),
        checked_offset(asked.offset, limits),
        None if asked.per is None else checked_field(asked.per, limits, "per"),
        None if asked.min_probability is None else checked_share(asked.min_probability, "min_probability"),
        asked.metadata,
        asked.as_typed,
    )
