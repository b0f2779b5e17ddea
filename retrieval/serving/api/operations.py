"""The table of the API's operations.

In: the shared state. Out: operations, for `retrieval.serving.app` to route and for OpenAPI to describe.
"""

from __future__ import annotations

from retrieval.search.modes import MODES
from retrieval.serving.api import schemas
from retrieval.serving.api.clicks import ClickHandlers
from retrieval.serving.api.documents import DocumentHandlers
from retrieval.serving.api.embeddings import EmbeddingHandlers
from retrieval.serving.api.fields import FieldHandlers
from retrieval.serving.api.health import HealthHandlers
from retrieval.serving.api.openapi import Operation, Parameter
from retrieval.serving.api.searching import SearchHandlers
from retrieval.serving.settings import Limits
from retrieval.serving.state import State

_TEXT = {"type": "string", "minLength": 1}
_SWITCH = {"type": "string", "enum": ["0", "1", "false", "true"], "default": "0"}
_SWITCH_ON = {**_SWITCH, "default": "1"}
_AS_TYPED = Parameter("as_typed", _SWITCH, "1 corrects no misspelt words of the query.")


def operations(state: State) -> list[Operation]:
    """All operations."""
    clicks = [] if state.settings.clicks is None else _clicking(state)
    return [*_searching(state), *_embedding(state), *clicks, *_writing(state), *_operating(state)]


def _query(limits: Limits) -> Parameter:
    schema = {**_TEXT, "maxLength": limits.query_characters}
    return Parameter("q", schema, "The query.", required=True)


def _search_parameters(limits: Limits) -> tuple[Parameter, ...]:
    k = {"type": "integer", "minimum": 1, "maximum": limits.hits, "default": 10}
    where = {"type": "array", "items": _TEXT, "maxItems": limits.conditions}
    facet = {"type": "array", "items": _TEXT, "maxItems": limits.facets}
    offset = {"type": "integer", "minimum": 0, "maximum": limits.offset, "default": 0}
    return (
        _query(limits),
        Parameter("k", k, "Most hits."),
        Parameter("mode", {"type": "string", "enum": list(MODES), "default": "hybrid"}, "How to rank."),
        Parameter("where", where, "Conditions on the metadata, such as year>=2020; repeatable."),
        Parameter("facet", facet, "Metadata fields whose values are counted; repeatable."),
        Parameter("offset", offset, "How many of the best hits are left out, to read the next page."),
        Parameter("per", _TEXT, "A metadata field of which no two hits share a value."),
        Parameter(
            "min_probability",
            {"type": "number", "minimum": 0, "maximum": 1},
            "Hits that are relevant with less probability are left out; needs a calibrated model.",
        ),
        Parameter("profile", _SWITCH, "1 adds the milliseconds of each phase."),
        Parameter("snippet", _SWITCH, "1 adds a snippet to each hit, with the words of the query marked."),
        Parameter("text", _SWITCH_ON, "0 leaves out the text and passage of each hit."),
        Parameter("metadata", _SWITCH, "1 adds the metadata of each hit."),
        _AS_TYPED,
        Parameter("record", _SWITCH_ON, "0 leaves this search out of the click log, if there is one."),
    )


def _searching(state: State) -> list[Operation]:
    limits, handlers = state.limits, SearchHandlers(state)
    searched = _search_parameters(limits)
    explained = (
        _query(limits),
        Parameter("id", {"type": "string"}, "The document to explain the query against."),
        _AS_TYPED,
    )
    return [
        Operation(
            "GET", "/search", handlers.get, "Search.", searched, answer=schemas.Answer, statuses=(422,)
        ),
        Operation(
            "GET",
            "/fields",
            FieldHandlers(state).get,
            "The metadata fields of few values, and their values.",
            answer=schemas.Fields,
        ),
        Operation(
            "GET",
            "/explain",
            handlers.explain,
            "Which words carry a match.",
            explained,
            answer=schemas.Explanation,
            statuses=(404, 422),
        ),
        Operation(
            "POST",
            "/search",
            handlers.post,
            "Search for several queries, all in one generation.",
            body=schemas.SearchMany,
            answer=list[schemas.Answer],
        ),
    ]


def _embedding(state: State) -> list[Operation]:
    return [
        Operation(
            "POST",
            "/v1/embeddings",
            EmbeddingHandlers(state).post,
            "Embed texts with a tower.",
            body=schemas.Embed,
            answer=schemas.Embeddings,
            statuses=(404,),
        ),
    ]


def _clicking(state: State) -> list[Operation]:
    return [
        Operation(
            "POST",
            "/click",
            ClickHandlers(state).post,
            "Record a click on a result.",
            body=schemas.Click,
            answer=schemas.Taken,
            statuses=(404,),
        )
    ]


def _writing(state: State) -> list[Operation]:
    handlers, one = DocumentHandlers(state), "/documents/{id:any}"
    return [
        Operation("GET", one, handlers.get, "A document.", answer=schemas.Document, statuses=(404,)),
        Operation(
            "PUT",
            one,
            handlers.put,
            "Add or replace a document.",
            body=schemas.NewDocument,
            answer=schemas.Added,
            writes=True,
        ),
        Operation(
            "DELETE",
            one,
            handlers.delete,
            "Delete a document.",
            answer=schemas.Deleted,
            statuses=(404,),
            writes=True,
        ),
        Operation(
            "POST",
            "/documents",
            handlers.post,
            "Add or replace documents in one step.",
            body=schemas.Documents,
            answer=schemas.Added,
            writes=True,
        ),
    ]


def _operating(state: State) -> list[Operation]:
    handlers = HealthHandlers(state)
    return [
        Operation("GET", "/healthz", handlers.alive, "Whether the process lives.", answer=schemas.Alive),
        Operation("GET", "/readyz", handlers.ready, "Whether an index is served.", answer=schemas.Ready),
        Operation("GET", "/metrics", handlers.metrics, "Metrics of all workers, for Prometheus."),
    ]
