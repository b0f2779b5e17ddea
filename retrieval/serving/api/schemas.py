"""The JSON of requests and answers as types, from which they are read and documented.

Fields of documents beyond these are metadata, as in a corpus. Knows nothing of what is done with them.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, field

from retrieval.search.modes import Mode


class Passage(Struct):
    """A part of a document's text, from character `start` to before `end`."""

    start: int
    end: int
    text: str


class Piece(Struct):
    """A part of a snippet; marked if it is a word of the query."""

    text: str
    marked: bool


class Hit(Struct):
    """A document that was found.

    text: left out with text=0.
    probability: that it is relevant, null if the model has no calibration.
    passage: its part that answers best, null if it was not split; left out with text=0.
    metadata: with metadata=1.
    snippet: with snippet=1, the words around those of the query, of the passage if there is one.
    """

    rank: int
    id: str
    score: float
    title: str
    probability: float | None = None
    text: str | None = None
    passage: Passage | None = None
    metadata: dict[str, Any] | None = None
    snippet: list[Piece] | None = None


class FacetValue(Struct):
    """A value of a metadata field, and how many of all documents that match have it."""

    value: str | int | float
    count: int


class Answer(Struct):
    """The answer to a query; facets by field if some were asked for, phases_ms with profile only.

    corrected: the query that was searched for, if misspelt words of the one typed were corrected.
    search: the id under which it was recorded, for POST /click; only if the server records clicks.
    """

    query: str
    mode: str
    took_ms: float
    hits: list[Hit]
    corrected: str | None = None
    facets: dict[str, list[FacetValue]] | None = None
    phases_ms: dict[str, float] | None = None
    search: str | None = None


class Click(Struct, forbid_unknown_fields=True):
    """A click on a result: the id of its search, the document's, and the rank at which it stood."""

    search: Annotated[str, Meta(pattern="^[0-9a-f]{16}$", max_length=16)]
    document: Annotated[str, Meta(min_length=1, max_length=1024)]
    rank: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None


class Taken(Struct):
    """That a click was taken, to be recorded if its search showed the document."""

    taken: bool


class Fields(Struct):
    """The metadata fields of few values, for filters, with the values of each; of one generation.

    records_clicks: whether the server records searches and clicks.
    """

    generation: str
    documents: int
    fields: dict[str, list[FacetValue]]
    records_clicks: bool


class SearchMany(Struct, forbid_unknown_fields=True):
    """Several queries at once."""

    queries: list[str]
    k: Annotated[int, Meta(ge=1)] = 10
    mode: Mode = "hybrid"
    where: list[str] = []
    facet: list[str] = []
    offset: Annotated[int, Meta(ge=0)] = 0
    per: str | None = None
    min_probability: Annotated[float, Meta(ge=0, le=1)] | None = None
    profile: bool = False
    snippet: bool = False
    text: bool = True
    metadata: bool = False
    as_typed: bool = False
    record: bool = True


class Document(Struct):
    """A document of the index."""

    id: str
    title: str
    text: str
    metadata: dict[str, Any]


class NewDocument(Struct):
    """A document to write under the id of the path, as a line of a corpus; title or text is needed.

    Further fields are metadata.
    id: may be left out, and is otherwise that of the path.
    """

    id: str | UnsetType = field(name="_id", default=UNSET)
    title: str | None = None
    text: str | None = None
    metadata: dict[str, Any] | None = None


class Documents(Struct, forbid_unknown_fields=True):
    """Documents to add or replace, each as a line of a corpus: _id, title or text, metadata."""

    documents: list[dict[str, Any]]


class Added(Struct):
    """What a write did, and the generation that it made."""

    generation: str
    documents: int
    added: int
    replaced: int


class Deleted(Struct):
    """That a document was deleted, and the generation without it."""

    id: str
    deleted: bool
    generation: str


class Ready(Struct):
    """Whether this worker serves; refused says why a newer generation is not served."""

    status: Literal["ready", "opening"]
    generation: str | None = None
    documents: int | None = None
    refused: str | None = None


class Alive(Struct):
    """That the process lives."""

    status: str


class Embed(Struct):
    """Texts to embed, as OpenAI's clients send them."""

    model: Annotated[str, Meta(description="query or document")]
    input: str | list[str]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None
    user: str | None = None


class Embedding(Struct):
    """The vector of one text: numbers, or base64 of little-endian float32."""

    index: int
    embedding: list[float] | str
    object: str = "embedding"


class Usage(Struct):
    """Words that the tower read; prompt_tokens and total_tokens are the same."""

    prompt_tokens: int
    total_tokens: int


class Embeddings(Struct):
    """The vectors, in the order of the texts."""

    data: list[Embedding]
    model: str
    usage: Usage
    object: str = "list"


class Explanation(Struct):
    """What `peephole explain --json` prints.

    corrected: the query that is explained, if misspelt words of the one asked were corrected.
    """

    tower: str
    pooling: str
    exact: bool
    cosine: float | None
    query: dict[str, Any]
    document: dict[str, Any] | None
    pairs: list[dict[str, Any]]
    ranking: dict[str, Any] | None
    corrected: str | None = None
