"""Documents as rows of a collection, one a passage.

In: documents with the table of their passages, vectors, and numbers of terms and words. Out: rows. Knows
nothing of the server but the length of its texts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from index.documents.metadata import metadata_json
from index.documents.store import Document
from index.errors import InputError
from index.interaction.writing import WordEncoder
from index.lexical.tokens import lexical_tokens
from index.remote.client import TEXTS, Row
from index.remote.conditions import stored_attributes
from index.remote.documents import key_of
from index.remote.terms import UNUSED, sparse_of
from index.remote.words import numbers_of
from index.values import Texts

# What rows have that are not the first ones of a document.
_REST: Row = {"key": "", "id": "", "title": "", "metadata": "", "sparse": {UNUSED: 1.0}}
_NO_WORDS: Row = {"words": [], "title_words": 0}
_NO_QUERIES: Row = {"queries": ""}


class Numbering(NamedTuple):
    """What documents are stored by, besides their vectors.

    terms: the numbers of the terms of BM25.
    average: the average number of tokens of a document.
    words: the numbers of the words by which a model re-scores.
    encoder: what tells the words of a document; None for a collection without words.
    queries: whether the collection has known queries.
    """

    terms: Mapping[str, int]
    average: float
    words: Mapping[str, int]
    encoder: WordEncoder | None
    queries: bool = True


def rows_of_document(
    document: Document,
    spans: NDArray[np.int32],
    vectors: NDArray[np.float16],
    first: int,
    numbering: Numbering,
) -> Iterator[Row]:
    """The rows of a document.

    document: the document.
    spans: int32 (p, 2), first character and end of each passage.
    vectors: float16 (p, d), of the passages.
    first: the number of the first row.
    numbering: of all documents.
    """
    attributes = stored_attributes(document.metadata)
    rest = _REST | (_NO_WORDS if numbering.encoder else {}) | (_NO_QUERIES if numbering.queries else {})
    if numbering.encoder and numbering.queries:
        rest["query_words"] = 0
    for at, (piece, (start, end), vector) in enumerate(
        zip(pieces(document.text, spans), spans.tolist(), vectors, strict=True)
    ):
        row = {"number": first + at, "row": first, "start": start, "end": end, "text": piece, **rest}
        if not at:
            row |= _first_row(document, numbering)
        yield row | {"attributes": attributes, "dense": vector.astype(np.float32)}


def _first_row(document: Document, numbering: Numbering) -> Row:
    """What only the first row of a document has."""
    texts = texts_of(document, numbering.encoder, numbering.queries)
    row: Row = {
        "key": key_of(document.id),
        "id": document.id,
        "title": document.title,
        "metadata": metadata_json(document.metadata),
        "sparse": sparse_of(lexical_tokens(texts.joined()), numbering.terms, numbering.average),
    }
    if numbering.queries:
        row["queries"] = _fitting(document.queries)
    if numbering.encoder is not None:
        words, of_title, of_queries = numbers_of(texts, numbering.words, numbering.encoder)
        row |= {"words": words, "title_words": of_title}
        if numbering.queries:
            row["query_words"] = of_queries
    return row


def texts_of(document: Document, encoder: WordEncoder | None, queries: bool) -> Texts:
    """The texts of a document by which it is found.

    encoder: what tells its words.
    queries: whether the collection has known queries.
    """
    read = queries and (encoder is None or encoder.reads_queries)
    return document.texts() if read else document.texts()._replace(queries="")


def _fitting(queries: Sequence[str]) -> str:
    """The first queries, one a line, as far as Milvus can hold them."""
    sizes = accumulate(len(query.encode("utf-8", "surrogatepass")) + 1 for query in queries)
    return "\n".join(queries[: sum(size <= TEXTS["queries"] for size in sizes)])


def pieces(text: str, spans: NDArray[np.int32]) -> list[str]:
    """A text cut where its passages begin, one piece a passage; together they are the text."""
    cuts = [0, *np.maximum.accumulate(spans[1:, 0]).tolist(), len(text)]
    return [text[start:end] for start, end in pairwise(cuts)]


def check_lengths(documents: Sequence[Document], table: NDArray[np.int32]) -> None:
    """Raise InputError for a document that Milvus cannot hold.

    table: of the passages of these documents, as in index/dense/passages.py.
    """
    starts = np.searchsorted(table[:, 0], np.arange(len(documents) + 1))
    for number, document in enumerate(documents):
        spans = table[starts[number] : starts[number + 1], 1:]
        parts = {"id": document.id, "title": document.title, "metadata": metadata_json(document.metadata)}
        for name, text in (*parts.items(), *(("text", piece) for piece in pieces(document.text, spans))):
            if 4 * len(text) > TEXTS[name] and len(text.encode("utf-8", "surrogatepass")) > TEXTS[name]:
                remedy = "split it by --passages" if name == "text" else "shorten it"
                raise InputError(
                    f"document {document.id[:80]!r}: its {name} has more than {TEXTS[name]:,} bytes, which "
                    f"Milvus cannot hold in one piece; {remedy}"
                )
