"""The rows of a file of pairs joined: documents, queries, judgements and splits.

In: `PairRow`s. Out: `JoinedPairs`. Equal texts are one document or one query. The same rows give the same
result, whatever kind of file they are in. Knows nothing of files and columns.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from index.documents.metadata import problem_of
from index.documents.store import Document
from index.values import Json
from retrieval.data.lines import MOST_CHARACTERS, MOST_LINES, Place
from retrieval.data.pairs.metadata import JoinedMetadata
from retrieval.data.pairs.rows import PairRow

# With fewer queries a tenth is too small to measure by, and training needs them all.
MIN_QUERIES_TO_SPLIT = 50
SPLITS = ("train", "dev", "test")

_DocumentKey: TypeAlias = tuple[str, str]  # title, text


@dataclass(frozen=True)
class JoinedPairs:
    """All rows of a file, joined."""

    rows: int
    documents: list[Document]
    places: dict[str, Place]  # document id to where it was first read
    judged: dict[str, dict[str, int]]  # query text to document id to grade
    splits: dict[str, str]  # query text to split, of the queries with a relevant document


def query_id(text: str) -> str:
    """The id of a query: a hash of its text."""
    return _digest(text)


def document_id(title: str, text: str) -> str:
    """The id of a document that has none: a hash of its title and text."""
    return _digest(f"{title}\0{text}")


def split_of(query: str) -> str:
    """The split of a query by a hash of its words: a tenth of all queries is dev, a tenth is test.

    Case and white space do not count, so that two spellings of a query are in one split.
    """
    tenth = int(_digest(_normalised(query)), 16) % 10
    return {0: "test", 1: "dev"}.get(tenth, "train")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _normalised(query: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", query).casefold().split())


@dataclass
class _Reading:
    """What the rows read so far say."""

    rows: int = 0
    characters: int = 0
    ids: dict[_DocumentKey, str | None] = field(default_factory=dict)  # every document; its id if it has one
    places: dict[_DocumentKey, Place] = field(default_factory=dict)
    with_id: dict[str, _DocumentKey] = field(default_factory=dict)
    metadata: dict[_DocumentKey, JoinedMetadata] = field(default_factory=dict)  # of documents that have some
    grades: dict[str, dict[_DocumentKey, tuple[int, Place]]] = field(default_factory=dict)
    negatives: dict[str, dict[str, Place]] = field(default_factory=dict)  # query text to document texts
    splits: dict[str, tuple[str, Place]] = field(default_factory=dict)  # normalised query to its split


def join_pairs(rows: Iterable[PairRow], path: Path | str) -> JoinedPairs:
    """The documents, queries and judgements of all rows.

    Raises InputError, with the place of the row, for an id of two documents, a pair that is graded twice, a
    query in two splits, and a file that is too large to be held in memory; and if there is no row. path: for
    this error.
    """
    reading = _Reading()
    for row in rows:
        _check_size(reading, row)
        for text in row.documents:
            _judge(reading, row, _document(reading, row, text))
        given = reading.negatives.setdefault(row.query, {})
        for text in row.negatives:
            given.setdefault(text, row.place)
        if row.split is not None:
            _check_split(reading, row, row.split)
    if not reading.rows:
        raise Place(path).error("holds no rows; give at least one pair of a query and a document")
    return _resolved(reading)


def _check_size(reading: _Reading, row: PairRow) -> None:
    """Count a row. Raises InputError if the file is too large to be held in memory."""
    reading.rows += 1
    reading.characters += len(row.query) + sum(map(len, (*row.documents, *row.negatives)))
    if reading.rows > MOST_LINES or reading.characters > MOST_CHARACTERS:
        raise row.place.error(f"more than {MOST_LINES} rows or {MOST_CHARACTERS} characters; split the file")


def _document(reading: _Reading, row: PairRow, text: str) -> _DocumentKey:
    """The document of a row, noted with its id. Raises InputError for an id that another text has."""
    key = (row.title, text)
    reading.places.setdefault(key, row.place)
    # A list of documents has one id for all, which then is the row's.
    own = row.id if len(row.documents) == 1 else None
    if own is not None and reading.with_id.setdefault(own, key) != key:
        first = reading.places[reading.with_id[own]]
        there = first.seen_from(row.place)
        raise row.place.error(
            f"the id {own!r} was already used on {there} for another document; give every document its own, "
            "or leave ids out with --column id="
        )
    if reading.ids.setdefault(key, own) is None:
        reading.ids[key] = own
    if row.metadata:
        reading.characters += reading.metadata.setdefault(key, JoinedMetadata()).add(row.metadata)
    return key


def _judge(reading: _Reading, row: PairRow, key: _DocumentKey) -> None:
    """Note the grade of a pair. Raises InputError if an earlier row grades it differently."""
    grade = 1 if row.grade is None else row.grade
    first, place = reading.grades.setdefault(row.query, {}).setdefault(key, (grade, row.place))
    if first != grade:
        there = place.seen_from(row.place)
        raise row.place.error(f"grades the pair {grade}, and {there} grades it {first}; keep one")


def _check_split(reading: _Reading, row: PairRow, split: str) -> None:
    first, place = reading.splits.setdefault(_normalised(row.query), (split, row.place))
    if first != split:
        there = place.seen_from(row.place)
        raise row.place.error(
            f"the query is in split {split} here and in {first} on {there}; give it one split"
        )


def _resolved(reading: _Reading) -> JoinedPairs:
    """The data set: every document has an id, and a given negative is the document of that text."""
    by_text: dict[str, _DocumentKey] = {}
    for key in reading.ids:
        by_text.setdefault(key[1], key)
    for given in reading.negatives.values():
        for text, place in given.items():
            key = by_text.setdefault(text, ("", text))
            reading.ids.setdefault(key, None)
            reading.places.setdefault(key, place)
    ids = _ids(reading)
    judged = {
        # A document that answers the query is no negative of it, whatever another row says.
        query: {ids[by_text[text]]: 0 for text in reading.negatives[query]}
        | {ids[key]: grade for key, (grade, _) in grades.items()}
        for query, grades in reading.grades.items()
    }
    places = {ids[key]: place for key, place in reading.places.items()}
    documents = [Document(ids[key], *key, _metadata(reading, key)) for key in ids]
    return JoinedPairs(reading.rows, documents, places, judged, _splits(reading, judged))


def _metadata(reading: _Reading, key: _DocumentKey) -> dict[str, Json]:
    """The metadata of a document. Raises InputError if all rows together give it too much."""
    metadata = reading.metadata[key].joined() if key in reading.metadata else {}
    problem = problem_of(metadata)
    if problem:
        raise reading.places[key].error(f"the metadata of all rows with this document {problem}")
    return metadata


def _ids(reading: _Reading) -> dict[_DocumentKey, str]:
    """The id of every document. Raises InputError if a given id is the hash of another document."""
    ids = {key: own or document_id(*key) for key, own in reading.ids.items()}
    for key, own in ids.items():
        if reading.with_id.get(own, key) != key:
            raise reading.places[key].error(f"needs the id {own!r}, which another document has; change that")
    return ids


def _splits(reading: _Reading, judged: dict[str, dict[str, int]]) -> dict[str, str]:
    """The split of each query that has a relevant document; without the column by hash, or train if few."""
    queries = [query for query, grades in judged.items() if max(grades.values()) > 0]
    normalised = {query: _normalised(query) for query in queries}
    if reading.splits:
        return {query: reading.splits[normalised[query]][0] for query in queries}
    few = len(set(normalised.values())) < MIN_QUERIES_TO_SPLIT
    return {query: "train" if few else split_of(query) for query in queries}
