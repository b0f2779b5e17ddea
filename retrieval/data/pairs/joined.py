"""The joined rows of a file of pairs in a temporary database: documents, queries and their judgements.

In: what `retrieval.data.pairs.joining` writes. Out: each part in its order, one row of it in memory at a
time. The file of the database is where temporary files are (TMPDIR) and has no name, so that nothing is left
of it, however the process ends. Knows nothing of the file of pairs and its columns.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

from index.documents.store import Document
from index.errors import StorageError
from retrieval.data.hashed_ids import ID_BYTES, id_of
from retrieval.data.known_queries import chosen
from retrieval.data.lines import Place
from retrieval.data.streamed import Streamed

# KiB of the database that are held in memory, however many the pairs are.
_CACHE_KIB = 32 * 1024
# Rows count in the order in which texts first occur. A key is the first 16 bytes of a text's SHA-256, so that
# no two texts share one; half of it, in hexadecimal digits, is the id of a text that has none.
_SCHEMA = """
CREATE TABLE documents (
    row INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, id TEXT, file INTEGER NOT NULL, line INTEGER,
    metadata TEXT, title TEXT NOT NULL, text TEXT NOT NULL
);
CREATE TABLE ids (id TEXT PRIMARY KEY, document INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE metadata (
    document INTEGER, said TEXT, row INTEGER NOT NULL, PRIMARY KEY (document, said)
) WITHOUT ROWID;
CREATE TABLE queries (
    row INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, normalised BLOB NOT NULL, split TEXT,
    text TEXT NOT NULL
);
CREATE TABLE splits (
    normalised BLOB PRIMARY KEY, split TEXT NOT NULL, file INTEGER NOT NULL, line INTEGER
) WITHOUT ROWID;
CREATE TABLE judgements (
    query INTEGER, document INTEGER, grade INTEGER NOT NULL, number INTEGER NOT NULL,
    file INTEGER NOT NULL, line INTEGER, PRIMARY KEY (query, document)
) WITHOUT ROWID;
CREATE TABLE given (row INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, document INTEGER, text TEXT NOT NULL);
CREATE TABLE negatives (
    row INTEGER PRIMARY KEY, query INTEGER NOT NULL, given INTEGER NOT NULL, file INTEGER NOT NULL,
    line INTEGER, UNIQUE (query, given)
);
"""


def new_database() -> sqlite3.Connection:
    """An empty database, whose file has no name. Raises StorageError."""
    with storing_pairs():
        # Not bound to one thread: the one that feeds worker processes reads documents.
        database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        for pragma in ("journal_mode = OFF", "synchronous = OFF", f"cache_size = -{_CACHE_KIB}"):
            database.execute(f"PRAGMA {pragma}")
        database.executescript(_SCHEMA)
        return database


@contextmanager
def storing_pairs() -> Iterator[None]:
    """Turn an error of the database, whose file is for this process alone, into a StorageError."""
    try:
        yield
    except sqlite3.Error as error:
        raise StorageError(
            f"the pairs cannot be written to a temporary file ({error}); free some space, or set TMPDIR to a "
            "folder on another disk"
        ) from error


@dataclass(frozen=True, eq=False)
class JoinedPairs:
    """All rows of a file, joined. All methods raise StorageError."""

    database: sqlite3.Connection
    rows: int
    files: Sequence[tuple[Path | str, str]]  # by number: path, and the unit of its places

    def documents(self) -> Iterator[Document]:
        """The documents in their order, given negatives last."""
        for key, own, metadata, title, text in self.select(
            "SELECT key, id, metadata, title, text FROM documents ORDER BY row"
        ):
            yield Document(own or id_of(key), title, text, json.loads(metadata) if metadata else {})

    def documents_with_queries(self) -> Iterator[Document]:
        """The documents, each with the training queries that it is known to answer."""
        graded = self.select(
            "SELECT document, grade, queries.text FROM judgements JOIN queries ON query = queries.row "
            "WHERE split = 'train' AND grade > 0 ORDER BY document, queries.row"
        )
        known = groupby(graded, itemgetter(0))
        row, queries = next(known, (None, ()))
        for (number,), document in zip(
            self.select("SELECT row FROM documents ORDER BY row"), self.documents(), strict=True
        ):
            if number == row:
                document = document._replace(queries=chosen((grade, text) for _, grade, text in queries))
                row, queries = next(known, (None, ()))
            yield document

    def splits(self) -> dict[str, int]:
        """The splits, and how many queries with a relevant document each has."""
        return dict(self.select("SELECT split, count(*) FROM queries WHERE split IS NOT NULL GROUP BY split"))

    def place_of(self, document_id: str) -> Place:
        """Where a document was first read. Raises KeyError if there is none of this id."""
        for key, own, file, line in self.select("SELECT key, id, file, line FROM documents"):
            if document_id == (own or id_of(key)):
                path, unit = self.files[file]
                return Place(path, line, unit)
        raise KeyError(document_id)

    def count(self, table: str, where: str = "true") -> int:
        """The number of rows of a table that meet a condition."""
        return int(next(self.select(f"SELECT count(*) FROM {table} WHERE {where}"))[0])  # noqa: S608 (ours)

    def select(self, statement: str, *values: object) -> Iterator[Any]:
        """The rows that a statement selects, one in memory at a time."""
        with storing_pairs():
            yield from self.database.execute(statement, values)


@dataclass(frozen=True, eq=False)
class JoinedQueries(Streamed[str]):
    """Query id to text, of all queries."""

    pairs: JoinedPairs

    def __len__(self) -> int:
        return self.pairs.count("queries")

    def __getitem__(self, query_id: str) -> str:
        for (text,) in self.pairs.select(
            "SELECT text FROM queries WHERE key BETWEEN ? AND ?", *_keys(query_id)
        ):
            return str(text)
        raise KeyError(query_id)

    def stream(self) -> Iterator[tuple[str, str]]:
        """Ids and texts in the order of the queries."""
        for key, text in self.pairs.select("SELECT key, text FROM queries ORDER BY row"):
            yield id_of(key), text


@dataclass(frozen=True, eq=False)
class JoinedQrels(Streamed[dict[str, int]]):
    """Query id to document id to grade, of one split."""

    pairs: JoinedPairs
    split: str

    def __len__(self) -> int:
        return self.pairs.splits().get(self.split, 0)

    def __iter__(self) -> Iterator[str]:
        for (key,) in self.pairs.select("SELECT key FROM queries WHERE split = ? ORDER BY row", self.split):
            yield id_of(key)

    def __getitem__(self, query_id: str) -> dict[str, int]:
        for _, grades in self._select("queries.key BETWEEN ? AND ?", *_keys(query_id)):
            return grades
        raise KeyError(query_id)

    def stream(self) -> Iterator[tuple[str, dict[str, int]]]:
        """Ids of queries, and their judgements, in the order of the queries."""
        return self._select("true")

    def _select(self, where: str, *values: object) -> Iterator[tuple[str, dict[str, int]]]:
        judged = self.pairs.select(
            # CROSS JOIN keeps this order, in which no table is read twice.
            "SELECT queries.key, documents.key, documents.id, grade FROM queries "  # noqa: S608 (ours)
            "CROSS JOIN judgements ON query = queries.row CROSS JOIN documents ON document = documents.row "
            f"WHERE split = ? AND {where} ORDER BY queries.row, number",
            *(self.split, *values),
        )
        for key, rows in groupby(judged, itemgetter(0)):
            yield id_of(key), {own or id_of(document): grade for _, document, own, grade in rows}


def _keys(query_id: str) -> tuple[bytes, bytes]:
    """The first and the last key that an id stands for. Raises KeyError for what is no id of a key."""
    try:
        half = bytes.fromhex(query_id)
    except ValueError:
        raise KeyError(query_id) from None
    if half.hex() != query_id or len(half) != ID_BYTES:
        raise KeyError(query_id)
    return half + bytes(ID_BYTES), half + b"\xff" * ID_BYTES
