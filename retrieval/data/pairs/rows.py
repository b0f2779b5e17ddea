"""One row of a file of pairs: a query, the document or documents that answer it, and what else it says.

In: a `Record`, and which columns mean what. Out: a `PairRow`. A value of the wrong form is an InputError that
names its place. Knows nothing of other rows.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from index.values import Json
from retrieval.data.columns.pairs import Columns
from retrieval.data.documents import metadata_field
from retrieval.data.lines import Place
from retrieval.data.records import IncompleteError, Record, id_text, text_field

_SPLITS = {
    "train": "train",
    "training": "train",
    "": "train",
    "dev": "dev",
    "valid": "dev",
    "validation": "dev",
    "val": "dev",
    "test": "test",
}
_HIGHEST_GRADE = 999_999_999


class PairRow(NamedTuple):
    """What a row says. Texts have no white space around them, and LF as line ends."""

    place: Place
    query: str
    title: str
    documents: list[str]  # at least one
    negatives: list[str]
    id: str | None  # of the document
    grade: int | None  # None without a score; 0 means judged and not relevant
    split: str | None  # train, dev or test; None without such a column
    metadata: dict[str, Json]  # of the document


def pair_row(record: Record, columns: Columns) -> PairRow:
    """Read a row.

    Raises IncompleteError for an empty query or document, and InputError for values of the wrong form.
    """
    place = record.place
    query = _text(record, columns.query)
    if not query:
        raise place.error(f'the query ("{columns.query}") is empty; fill it or drop the row', IncompleteError)
    documents = _texts(record, columns.document)
    title = _text(record, columns.title) if columns.title else ""
    if not documents or not all(text or title for text in documents):
        raise place.error(
            f'the document ("{columns.document}") is empty; fill it or drop the row', IncompleteError
        )
    negatives = [text for column in columns.negatives for text in _texts(record, column) if text]
    return PairRow(
        place,
        query,
        title,
        documents,
        negatives,
        _id(record, columns.id) if columns.id else None,
        _grade(record, columns.score) if columns.score else None,
        _split(record, columns.split) if columns.split else None,
        metadata_field(record, columns.metadata),
    )


def _clean(text: str) -> str:
    """The same text from every kind of file: CSV readers change the line ends within a cell."""
    return text.replace("\r\n", "\n").strip()


def _text(record: Record, column: str) -> str:
    return _clean(text_field(record, column))


def _texts(record: Record, column: str) -> list[str]:
    """The texts of a field that holds one text or a list of them; [] if it is absent or null."""
    value = record.fields.get(column)
    if value is None:
        return []
    if isinstance(value, str):
        return [_clean(value)]
    given = value if isinstance(value, list) else [value]
    texts = [_clean(text) for text in given if isinstance(text, str)]
    if len(texts) < len(given):
        wrong = next(_kind(text) for text in given if not isinstance(text, str))
        inside = "a list with " if isinstance(value, list) else ""
        raise record.place.error(
            f'"{column}" is neither a text nor a list of texts but {inside}{wrong}; write strings'
        )
    return texts


def _kind(value: object) -> str:
    return "null" if value is None else type(value).__name__


def _id(record: Record, column: str) -> str | None:
    """The id as text, None if it is empty. Raises InputError for what is no id."""
    return (id_text(record, column) or "").strip() or None


def _grade(record: Record, column: str) -> int:
    """The score as a grade: 0 for 0 and less, the nearest whole number, but at least 1, for more."""
    value = record.fields.get(column)
    value = "" if value is None else value
    if isinstance(value, str) and value.strip().lower() in ("true", "false"):
        value = value.strip().lower() == "true"
    try:
        score = float(value) if isinstance(value, str | int | float) else math.nan
    except (ValueError, OverflowError):
        score = math.nan
    if not abs(score) <= _HIGHEST_GRADE:
        raise record.place.error(
            f'the score ("{column}") is not a number: {str(value)[:40]!r}; write one, or leave the column '
            "out with --column score="
        )
    return max(1, round(score)) if score > 0 else 0


def _split(record: Record, column: str) -> str:
    name = _text(record, column)
    if name.lower() not in _SPLITS:
        raise record.place.error(
            f'"{column}" names the split {name[:40]!r}; write train, dev or test, or leave the column out '
            "with --column split="
        )
    return _SPLITS[name.lower()]
