"""Queries to tune an index by: real ones, or pieces of documents that are as long as queries.

In: a model, and texts of documents. Out: the vectors of queries. Knows nothing of how an index is tuned.

Whole documents are harder questions than queries, for many have near copies: among 669,357 documents recall
.99 took 1,000 candidates for documents as queries, 300 for real queries and 450 for pieces.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from functools import cache

from index.dense.tuning import FEWEST_QUERIES
from index.lexical.cjk import CJK
from index.values import QueriesOf, Texts, Vectors, lines_of
from retrieval.model.folder import TrainedModel
from retrieval.text.words import document_text

# Enough to measure recall and latency by, and encoded in less than a second.
MAX_TUNING_QUERIES = 2000
# Words of a piece, at least and at most; a Chinese, Japanese or Korean character counts as half a word.
_WORDS = (2, 6)
# Characters of a document in which a piece is looked for.
_LOOKED_AT = 1000


def tuning_queries(model: TrainedModel, real: Sequence[str] = ()) -> QueriesOf:
    """What gives an index queries to tune by, encoded by the query tower.

    model: whose towers encode the index.
    real: real queries. With fewer than 50, each document of a sample gives one: a query that it is known to
        answer, or a piece of its text.
    """

    def encode(texts: Sequence[Texts]) -> Vectors:
        enough = len(real) >= FEWEST_QUERIES
        queries = real[:MAX_TUNING_QUERIES] if enough else queries_of(texts)
        return model.encoder("query").encode(queries)

    return encode


def queries_of(texts: Sequence[Texts]) -> list[str]:
    """A query for each document, the same each time: one that it is known to answer, or a piece of it."""
    generator = random.Random(0)  # noqa: S311 (no secret)
    return [
        generator.choice(lines_of(each.queries) or (_piece(document_text(each.title, each.text), generator),))
        for each in texts
    ]


def _piece(text: str, generator: random.Random) -> str:
    """Some successive words of a text; all of a shorter one."""
    start = generator.randrange(max(1, len(text) - _LOOKED_AT))
    words = list(_word().finditer(text, start, start + _LOOKED_AT))
    if len(text) > _LOOKED_AT:
        words = words[1:-1]  # the first and the last may be cut
    if not words:
        return text[:_LOOKED_AT]
    count, first = generator.randint(*_WORDS), generator.randrange(len(words))
    if words[first]["cjk"]:
        count *= 2
    piece = words[max(0, min(first, len(words) - count)) :][:count]
    return text[piece[0].start() : piece[-1].end()]


@cache
def _word() -> re.Pattern[str]:
    return re.compile(rf"(?P<cjk>[{CJK}])|[^\s{CJK}]+")
