"""A data set from a file of pairs: documents, queries by id, and the qrels of each split.

In: a table whose rows hold a query and a document that answers it, see `retrieval.data.columns`. Out: the
same parts as a BEIR folder has. Equal texts are one document or one query. The same rows give the same data
set, whatever kind of file they are in. Knows nothing of what the parts are used for.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TypeAlias

from index.documents.store import Document
from index.errors import InputError
from retrieval.data.columns import ColumnNames, Columns
from retrieval.data.documents import corpus_fingerprint
from retrieval.data.lines import MOST_CHARACTERS, MOST_LINES, Place
from retrieval.data.pair_rows import PairRow, pair_row
from retrieval.data.queries import Qrels
from retrieval.data.tables import table_records_of

# With fewer queries a tenth is too small to measure by, and training needs them all.
_MIN_QUERIES_TO_SPLIT = 50
_SPLITS = ("train", "dev", "test")

_DocumentKey: TypeAlias = tuple[str, str]  # title, text


@dataclass(frozen=True)
class PairsSummary:
    """What was understood of a file of pairs. The names of the fields are keys of `train --json`."""

    columns: dict[str, str]  # role to column
    unused: list[str]  # columns without a role
    rows: int
    pairs: int  # of a query and a relevant document
    negatives: int  # judged pairs of a query and a document that is not relevant
    documents: int
    queries: int
    splits: dict[str, int]  # split to its queries


@dataclass(frozen=True)
class PairsDataset:
    """A file of pairs, which is read once, when it is needed, and then held in memory."""

    path: Path
    columns: Columns
    given: ColumnNames  # what the user said about the columns

    def documents(self) -> Iterator[Document]:
        """The documents in the order of the file, given negatives last. Raises InputError."""
        return iter(self._pairs.documents)

    def count_documents(self) -> int:
        """The number of documents. Raises InputError."""
        return len(self._pairs.documents)

    @cached_property
    def queries(self) -> dict[str, str]:
        """Query id, a hash of the text, to text. Raises InputError."""
        return {query_id(text): text for text in self._pairs.judged}

    def splits(self) -> list[str]:
        """Names of the splits that have queries. Raises InputError."""
        return [split for split in _SPLITS if split in self._pairs.splits.values()]

    def qrels(self, split: str, document_ids: Container[str] | None = None) -> Qrels:
        """The qrels of a split; a judged document that is not relevant has the grade 0.

        split: train, dev or test.
        document_ids: the document ids that may occur; None allows all.

        Queries without a relevant document are left out. Raises InputError for a split without queries, and
        for a document that may not occur.
        """
        if split not in self.splits():
            known = ", ".join(self.splits()) or "none"
            few = "" if self.columns.split else f"; from {_MIN_QUERIES_TO_SPLIT} queries on some are held out"
            raise InputError(f"no query is in split {split!r}; choose one of: {known}{few}", path=self.path)
        pairs = self._pairs
        qrels = {query_id(text): pairs.judged[text] for text, name in pairs.splits.items() if name == split}
        for document in (document for grades in qrels.values() for document in grades):
            if document_ids is not None and document not in document_ids:
                raise pairs.places[document].error(
                    f"document {document!r} is not in the index; build or add this file first"
                )
        return qrels

    def fingerprint(self) -> str:
        """A digest of the file and of what the user said about its columns. Raises InputError."""
        said = json.dumps({role: list(names) for role, names in self.given.items()}, sort_keys=True)
        return hashlib.sha256(f"{corpus_fingerprint(self.path)}\0{said}".encode()).hexdigest()

    def summary(self) -> PairsSummary:
        """What was understood of the file. Raises InputError."""
        grades = [grade for judged in self._pairs.judged.values() for grade in judged.values()]
        splits = list(self._pairs.splits.values())
        return PairsSummary(
            columns=self.columns.named(),
            unused=list(self.columns.unused),
            rows=self._pairs.rows,
            pairs=sum(grade > 0 for grade in grades),
            negatives=sum(grade <= 0 for grade in grades),
            documents=len(self._pairs.documents),
            queries=len(self._pairs.judged),
            splits={split: splits.count(split) for split in self.splits()},
        )

    @cached_property
    def _pairs(self) -> _Pairs:
        rows = (pair_row(record, self.columns) for record in table_records_of(self.path))
        return _joined(rows, self.path)


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


@dataclass(frozen=True)
class _Pairs:
    """All rows of a file, joined."""

    rows: int
    documents: list[Document]
    places: dict[str, Place]  # document id to where it was first read
    judged: dict[str, dict[str, int]]  # query text to document id to grade
    splits: dict[str, str]  # query text to split, of the queries with a relevant document


@dataclass
class _Reading:
    """What the rows read so far say."""

    rows: int = 0
    characters: int = 0
    ids: dict[_DocumentKey, str | None] = field(default_factory=dict)  # every document; its id if it has one
    places: dict[_DocumentKey, Place] = field(default_factory=dict)
    with_id: dict[str, _DocumentKey] = field(default_factory=dict)
    grades: dict[str, dict[_DocumentKey, tuple[int, Place]]] = field(default_factory=dict)
    negatives: dict[str, dict[str, Place]] = field(default_factory=dict)  # query text to document texts
    splits: dict[str, tuple[str, Place]] = field(default_factory=dict)  # normalised query to its split


def _joined(rows: Iterable[PairRow], path: Path) -> _Pairs:
    """The documents, queries and judgements of all rows. Raises InputError."""
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
        raise row.place.error(
            f"the id {own!r} was already used on {first} for another document; give every document its own, "
            "or leave ids out with --column id="
        )
    if reading.ids.setdefault(key, own) is None:
        reading.ids[key] = own
    return key


def _judge(reading: _Reading, row: PairRow, key: _DocumentKey) -> None:
    """Note the grade of a pair. Raises InputError if an earlier row grades it differently."""
    grade = 1 if row.grade is None else row.grade
    first, place = reading.grades.setdefault(row.query, {}).setdefault(key, (grade, row.place))
    if first != grade:
        raise row.place.error(f"grades the pair {grade}, and {place} grades it {first}; keep one")


def _check_split(reading: _Reading, row: PairRow, split: str) -> None:
    first, place = reading.splits.setdefault(_normalised(row.query), (split, row.place))
    if first != split:
        raise row.place.error(
            f"the query is in split {split} here and in {first} on {place}; give it one split"
        )


def _resolved(reading: _Reading) -> _Pairs:
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
    documents = [Document(ids[key], *key) for key in ids]
    return _Pairs(reading.rows, documents, places, judged, _splits(reading, judged))


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
    few = len(set(normalised.values())) < _MIN_QUERIES_TO_SPLIT
    return {query: "train" if few else split_of(query) for query in queries}
