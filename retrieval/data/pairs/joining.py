"""The rows of a file of pairs joined: documents, queries, judgements and splits.

In: `PairRow`s. Out: `JoinedPairs`. Equal texts are one document or one query. The same rows give the same
result, whatever kind of file they are in. Rows go to a database, so that memory does not grow with them.
Knows nothing of files and columns.
"""

from __future__ import annotations

import json
import sqlite3
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, TypeAlias

from index.documents.metadata import problem_of
from index.values import Json
from retrieval.data.hashed_ids import document_key, id_of, key_of
from retrieval.data.lines import MOST_LINES, Place
from retrieval.data.pairs.joined import JoinedPairs, new_database, storing_pairs
from retrieval.data.pairs.metadata import JoinedMetadata
from retrieval.data.pairs.rows import PairRow
from retrieval.data.records import RepeatedError, read_each
from retrieval.data.splits import MIN_QUERIES_TO_SPLIT, split_of_id

# A small packed file that unpacks to terabytes must not fill the disk.
_MOST_CHARACTERS = 1 << 35

_Stored: TypeAlias = tuple[int, int | None]  # a place: the number of its file, and the line


def split_of(query: str) -> str:
    """The split of a query by a hash of its words: a tenth of all queries is dev, a tenth is test.

    Case and white space do not count, so that two spellings of a query are in one split.
    """
    return _split_of_key(key_of(_normalised(query)))


def _split_of_key(normalised: bytes) -> str:
    return split_of_id(id_of(normalised))


def _normalised(query: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", query).casefold().split())


def join_pairs(rows: Iterable[PairRow], path: Path | str) -> JoinedPairs:
    """The documents, queries and judgements of all rows.

    Raises InputError, with the place of the row, for an id of two documents, a pair that is graded twice, a
    query in two splits, and a file that is too large; and if there is no row. path: for this error. Raises
    StorageError.
    """
    database = new_database()
    joining = _Joining(database, database.cursor())
    with storing_pairs():
        joining.execute("BEGIN")
        for _ in read_each(rows, joining.add):
            pass
        if not joining.rows:
            raise Place(path).error("holds no rows; give at least one pair of a query and a document")
        joining.resolve()
        joining.execute("COMMIT")
    return JoinedPairs(database, joining.rows, list(joining.files))


@dataclass
class _Joining:
    """The database while rows are added."""

    database: sqlite3.Connection
    cursor: sqlite3.Cursor  # for statements that are done at once; a new one each time takes longer
    rows: int = 0
    judgements: int = 0
    characters: int = 0
    files: dict[tuple[Path | str, str], int] = field(default_factory=dict)  # file and unit of its places

    def add(self, row: PairRow) -> None:
        """Add a row. Raises InputError for one that contradicts another, or is one too many."""
        self.rows += 1
        self.characters += len(row.query) + sum(map(len, (*row.documents, *row.negatives)))
        if self.rows > MOST_LINES or self.characters > _MOST_CHARACTERS:
            raise row.place.error(
                f"more than {MOST_LINES} rows or {_MOST_CHARACTERS} characters; split the file"
            )
        place = self._stored(row.place)
        query, normalised = self._query(row)
        for text in row.documents:
            self._judge(row, query, self._document(row, text, place), place)
        for text in row.negatives:
            self._give(query, text, place)
        if row.split is not None:
            self._check_split(row, row.split, normalised, place)

    def resolve(self) -> None:
        """Once all rows are there: ids, metadata, negatives and splits. Raises InputError."""
        self._resolve_negatives()
        self._check_ids()
        self._join_metadata()
        self._choose_splits()

    def _query(self, row: PairRow) -> tuple[int, bytes]:
        """The number of a row's query, and the key of its words."""
        key, normalised = key_of(row.query), key_of(_normalised(row.query))
        number = self._inserted(
            "INSERT OR IGNORE INTO queries (key, normalised, text) VALUES (?, ?, ?)",
            *(key, normalised, row.query),
        )
        return number or self._one("SELECT row FROM queries WHERE key = ?", key)[0], normalised

    def _document(self, row: PairRow, text: str, place: _Stored) -> int:
        """The number of a row's document, noted with its id. Raises InputError for an id of another text."""
        # A list of documents has one id for all, which then is the row's.
        own = row.id if len(row.documents) == 1 else None
        key = document_key(row.title, text)
        number = (
            self._inserted(
                "INSERT OR IGNORE INTO documents (key, id, file, line, title, text) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                *(key, own, *place, row.title, text),
            )
            or self._one("SELECT row FROM documents WHERE key = ?", key)[0]
        )
        if own is not None:
            self._note_id(row, own, number)
        if row.metadata:
            self._say(number, row.metadata)
        return number

    def _note_id(self, row: PairRow, own: str, document: int) -> None:
        """Note the id of a document, which keeps its first one. Raises RepeatedError if another has it."""
        if self._inserted("INSERT OR IGNORE INTO ids (id, document) VALUES (?, ?)", own, document):
            self.execute("UPDATE documents SET id = ? WHERE row = ? AND id IS NULL", own, document)
            return
        (first,) = self._one("SELECT document FROM ids WHERE id = ?", own)
        if first != document:
            there = self._place_of(first).seen_from(row.place)
            raise row.place.error(
                f"the id {own!r} was already used on {there} for another document; give every document its "
                "own, or leave ids out with --column id=",
                RepeatedError,
            )

    def _say(self, document: int, metadata: dict[str, Json]) -> None:
        """Note what a row says of a document."""
        said = json.dumps(metadata)
        if self._inserted("INSERT OR IGNORE INTO metadata VALUES (?, ?, ?)", document, said, self.rows):
            self.characters += len(said)

    def _judge(self, row: PairRow, query: int, document: int, place: _Stored) -> None:
        """Note the grade of a pair. Raises InputError if an earlier row grades it differently."""
        grade = 1 if row.grade is None else row.grade
        self.judgements += 1
        values = (query, document, grade, self.judgements, *place)
        if not self._inserted("INSERT OR IGNORE INTO judgements VALUES (?, ?, ?, ?, ?, ?)", *values):
            first, *where = self._one(
                "SELECT grade, file, line FROM judgements WHERE query = ? AND document = ?", query, document
            )
            if first != grade:
                there = self._place(*where).seen_from(row.place)
                raise row.place.error(f"grades the pair {grade}, and {there} grades it {first}; keep one")

    def _give(self, query: int, text: str, place: _Stored) -> None:
        """Note a given negative of a query. Which document it is depends on all rows."""
        key = document_key("", text)
        given = (
            self._inserted("INSERT OR IGNORE INTO given (key, text) VALUES (?, ?)", key, text)
            or self._one("SELECT row FROM given WHERE key = ?", key)[0]
        )
        self._inserted(
            "INSERT OR IGNORE INTO negatives (query, given, file, line) VALUES (?, ?, ?, ?)",
            *(query, given, *place),
        )

    def _check_split(self, row: PairRow, split: str, normalised: bytes, place: _Stored) -> None:
        """Note the split of a query. Raises InputError if another row has it in another split."""
        if not self._inserted("INSERT OR IGNORE INTO splits VALUES (?, ?, ?, ?)", normalised, split, *place):
            first, *where = self._one("SELECT split, file, line FROM splits WHERE normalised = ?", normalised)
            if first != split:
                there = self._place(*where).seen_from(row.place)
                raise row.place.error(
                    f"the query is in split {split} here and in {first} on {there}; give it one split"
                )

    def _resolve_negatives(self) -> None:
        """Judge each given negative: it is the first document of its text, or one more document.

        A document that answers the query is no negative of it, whatever another row says.
        """
        if not self._any("given"):
            return
        for document, text in self.execute("SELECT row, text FROM documents ORDER BY row"):
            self.execute(
                "UPDATE given SET document = ? WHERE key = ? AND document IS NULL",
                *(document, document_key("", text)),
            )
        self.execute(
            "INSERT OR IGNORE INTO documents (key, file, line, title, text) "
            "SELECT given.key, file, line, '', given.text FROM negatives JOIN given ON given.row = given "
            "WHERE document IS NULL ORDER BY query, negatives.row"
        )
        self.execute(
            "UPDATE given SET document = (SELECT row FROM documents WHERE documents.key = given.key) "
            "WHERE document IS NULL"
        )
        self.execute(
            "INSERT INTO judgements SELECT query, document, 0, negatives.row - ?, file, line "
            "FROM negatives JOIN given ON given.row = given WHERE true "
            "ON CONFLICT (query, document) DO UPDATE SET number = excluded.number",
            1 << 60,  # before what the rows judge
        )

    def _check_ids(self) -> None:
        """Raise InputError if a given id is the hash of another document."""
        if not self._any("ids"):
            return
        for row, key in self.execute("SELECT row, key FROM documents WHERE id IS NULL ORDER BY row"):
            own = id_of(key)
            for (document,) in self.execute("SELECT document FROM ids WHERE id = ?", own):
                if document != row:
                    raise self._place_of(row).error(
                        f"needs the id {own!r}, which another document has; change that"
                    )

    def _join_metadata(self) -> None:
        """Raise InputError if all rows together give a document too much metadata."""
        said = self.execute("SELECT document, said FROM metadata ORDER BY document, row")
        for document, rows in groupby(said, itemgetter(0)):
            metadata = JoinedMetadata()
            for _, text in rows:
                metadata.add(json.loads(text))
            joined = metadata.joined()
            problem = problem_of(joined)
            if problem:
                raise self._place_of(document).error(f"the metadata of all rows with this document {problem}")
            self.execute("UPDATE documents SET metadata = ? WHERE row = ?", json.dumps(joined), document)

    def _choose_splits(self) -> None:
        """The split of each query that has a relevant document; by hash without the column, train if few."""
        relevant = "EXISTS (SELECT 1 FROM judgements WHERE query = queries.row AND grade > 0)"
        split = "(SELECT split FROM splits WHERE splits.normalised = queries.normalised)"
        if not self._any("splits"):
            self.database.create_function("split_of_key", 1, _split_of_key, deterministic=True)
            (words,) = self._one(f"SELECT count(DISTINCT normalised) FROM queries WHERE {relevant}")  # noqa: S608
            split = "'train'" if words < MIN_QUERIES_TO_SPLIT else "split_of_key(normalised)"
        self.execute(f"UPDATE queries SET split = {split} WHERE {relevant}")  # noqa: S608 (ours only)

    def _stored(self, place: Place) -> _Stored:
        return self.files.setdefault((place.path, place.unit), len(self.files)), place.line

    def _place(self, file: int, line: int | None) -> Place:
        path, unit = list(self.files)[file]
        return Place(path, line, unit)

    def _place_of(self, document: int) -> Place:
        return self._place(*self._one("SELECT file, line FROM documents WHERE row = ?", document))

    def execute(self, statement: str, *values: object) -> sqlite3.Cursor:
        """Run a statement."""
        return self.database.execute(statement, values)

    def _inserted(self, statement: str, *values: object) -> int:
        """Whether a row was inserted, by its number; 0 if there is a row with its key."""
        self.cursor.execute(statement, values)
        return (self.cursor.lastrowid or 0) if self.cursor.rowcount else 0

    def _one(self, statement: str, *values: object) -> Any:
        return self.cursor.execute(statement, values).fetchone()

    def _any(self, table: str) -> bool:
        return self._one(f"SELECT 1 FROM {table} LIMIT 1") is not None  # noqa: S608 (ours only)
