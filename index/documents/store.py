"""The documents of a segment in a SQLite file, to read.

In: the file that `DocumentWriter` wrote. Out: documents by row, rows by id, rows by metadata.
Knows nothing of vectors. Rows count from 0 in the order of insertion.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from index.disk.opening import open_to_read
from index.documents.kept import Kept
from index.documents.metadata import metadata_of
from index.documents.numbers import Attribute, is_valid
from index.documents.untrusted import check_schema, query, query_each, restrict
from index.errors import CorruptError
from index.locks import ProcessLock
from index.values import Json, Mask, Texts, lines_of

if TYPE_CHECKING:
    from index.documents.columns import Column
    from index.documents.filtering.expression import Expression, Field

_DOCUMENTS = """
CREATE TABLE documents (
    row INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    title TEXT NOT NULL,
    text TEXT NOT NULL,
    metadata TEXT NOT NULL
)
"""
# A second copy of the metadata, sorted for filters.
_ATTRIBUTES = """
CREATE TABLE attributes (
    name TEXT NOT NULL,
    value NOT NULL,
    row INTEGER NOT NULL,
    PRIMARY KEY (name, value, row)
) WITHOUT ROWID
"""
# The queries that a document is known to answer, one a line. Documents without any have no row.
_QUERIES = """
CREATE TABLE queries (
    row INTEGER PRIMARY KEY,
    texts TEXT NOT NULL
)
"""
SCHEMA = (_DOCUMENTS, _ATTRIBUTES, _QUERIES)
# The tables of files until format 4.
_WITHOUT_QUERIES = (_DOCUMENTS, _ATTRIBUTES)
# All names, each by a jump to the next one: SQLite's DISTINCT would read the whole table.
_NAMES = """
WITH RECURSIVE names(name) AS (
    SELECT min(name) FROM attributes
    UNION ALL
    SELECT (SELECT min(name) FROM attributes WHERE name > names.name) FROM names WHERE names.name IS NOT NULL
)
SELECT name FROM names WHERE name IS NOT NULL
"""
DOCUMENTS = "documents LEFT JOIN queries ON queries.row = documents.row"
KNOWN_QUERIES = "coalesce(queries.texts, '')"
COLUMNS = f"id, title, text, metadata, {KNOWN_QUERIES}"
TEXTS = f"title, text, {KNOWN_QUERIES}"
# Tables and columns of files until format 4.
_STORED_BEFORE = ("documents", "id, title, text, metadata")
_TEXTS_ALONE = "id, title, text"

# Most bytes of a document: SQLite's own limit.
LONGEST_ROW = 10**9

# Least bytes of an attribute in the file: pointer, lengths and types of a cell without content.
_SHORTEST_ATTRIBUTE = 7
# Fields whose values are kept in memory, 16 bytes a document and the different values each.
_KEPT_COLUMNS = 8


class Document(NamedTuple):
    """A document as the user gave it."""

    id: str  # unique in its index, not empty
    title: str = ""
    text: str = ""
    metadata: Mapping[str, Json] = MappingProxyType({})  # what JSON can say, by name
    queries: tuple[str, ...] = ()  # that it is known to answer, each one line

    def texts(self) -> Texts:
        """Its texts, by which BM25 and re-scoring find it."""
        return Texts(self.title, self.text, "\n".join(self.queries))


class DocumentReader:
    """The documents of a published segment; safe for use by several threads.

    Raises CorruptError, on opening or later, if the file is not what was written; StorageError for a lack of
    memory or open files.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = ProcessLock()
        self._columns: dict[tuple[str, ...], Column] = {}
        self._kept: Kept[Document] = Kept()  # without metadata
        # Immutable: a published file never changes, so SQLite needs no lock and no journal.
        uri = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
        self._check_readable()
        with self._reading():
            self._database = sqlite3.connect(uri, uri=True, check_same_thread=False)
            try:
                restrict(self._database, path.stat().st_size)
                schema = check_schema(self._database, SCHEMA, _WITHOUT_QUERIES)
                self._stored = (DOCUMENTS, COLUMNS) if schema is SCHEMA else _STORED_BEFORE
                self.count = count_rows(self._database)
                self._most = path.stat().st_size // _SHORTEST_ATTRIBUTE
            except BaseException:
                self._database.close()
                raise

    def _check_readable(self) -> None:
        """Raise CorruptError with the reason: SQLite calls any file that it cannot open damaged."""
        try:
            open_to_read(self._path).close()
        except OSError as error:
            raise CorruptError(
                f"{self._path}: cannot be read ({error.strerror}); restore the file or build the index again"
            ) from error

    def documents(self, rows: Sequence[int]) -> list[Document]:
        """The documents of these rows, in this order. Raises IndexError for a row that does not exist."""
        documents = self._read(rows, *self._stored)
        return [documents[row] for row in rows]

    def all_texts(self) -> Iterator[Texts]:
        """The texts of all documents of a file that `DocumentWriter` has just written, by row."""
        statement = f"SELECT {TEXTS} FROM {DOCUMENTS} ORDER BY documents.row"  # noqa: S608 (our own columns)
        with self._lock, self._reading():
            for record in self._database.execute(statement):
                yield Texts(*record)

    def texts(self, rows: Sequence[int]) -> list[Document]:
        """`documents` without metadata and queries; those of the last calls are in memory."""
        found = self._kept.find(rows)
        if len(found) < len(rows):
            fresh = self._read([row for row in rows if row not in found], "documents", _TEXTS_ALONE)
            self._kept.keep(fresh, sum(len(each.title) + len(each.text) for each in fresh.values()))
            found |= fresh
        return [found[row] for row in rows]

    def _read(self, rows: Sequence[int], tables: str, columns: str) -> dict[int, Document]:
        """The documents of these rows by row, of these columns."""
        with self._lock, self._reading():
            statement = f"SELECT documents.row, {columns} FROM {tables} WHERE documents.row IN ({{}})"  # noqa: S608 (ours only)
            wanted = [int(row) for row in rows if 0 <= row < self.count]
            found = query_each(self._database, statement, wanted)
            documents = {row: document_of(record) for row, *record in found}
            missing = next((row for row in rows if row not in documents), None)
            if missing is not None and 0 <= missing < self.count:
                raise ValueError(f"no row {missing}")
        if missing is not None:
            raise IndexError(f"row {missing} is not in the index")
        return documents

    def rows_of(self, ids: Sequence[str]) -> dict[str, int]:
        """Rows by document id; ids that do not exist are left out."""
        valid = list(filter(is_valid, ids))
        with self._lock, self._reading():
            return dict(query_each(self._database, "SELECT id, row FROM documents WHERE id IN ({})", valid))

    def matching(self, where: Expression) -> Mask:
        """The rows that meet a filter, bool (count,)."""
        from index.documents.filtering.selection import Selection

        with self._lock, self._reading():
            return Selection(self._database, self.count, self._most).rows(where)

    def column(self, field: Field) -> Column:
        """The values of a field; those of the last fields are kept."""
        from index.documents.columns import read_column

        with self._lock, self._reading():
            column = self._columns.pop(field.names, None)
            column = column or read_column(self._database, field, self.count, self._most)
            self._columns[field.names] = column
            while len(self._columns) > _KEPT_COLUMNS:
                del self._columns[next(iter(self._columns))]
        return column

    def fields(self) -> set[str]:
        """The stored names of all metadata fields of the documents (index/documents/attributes.py)."""
        with self._lock, self._reading():
            names = {name for (name,) in query(self._database, _NAMES)}
            if not all(isinstance(name, str) for name in names):
                raise ValueError("a name that is no text")
        return names

    def few_values(self, name: str, most: int) -> set[Attribute] | None:
        """The distinct values under a stored name; None if there are more than `most`."""
        from index.documents.columns import few_values

        with self._lock, self._reading():
            return few_values(self._database, name, most)

    def close(self) -> None:
        """Close the file, once no thread reads it. Calling it again does nothing."""
        # Python crashes if a connection is closed while it runs a statement of another thread. A forked
        # process has no other threads, and cannot take the lock.
        with self._lock if self._lock.is_own() else nullcontext():
            self._database.close()
        self._kept = Kept()

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.ProgrammingError:
            raise  # used after close(): an error of the caller, not of the file
        except (sqlite3.DatabaseError, ValueError, TypeError, ArithmeticError) as error:
            raise CorruptError(
                f"{self._path}: damaged ({error}); restore the file or build the index again"
            ) from error


def count_rows(database: sqlite3.Connection) -> int:
    """Number of documents, from the highest row: rows have no gaps, and counting reads the whole file."""
    ((highest,),) = query(database, "SELECT max(row) FROM documents")
    return 0 if highest is None else max(0, highest + 1)


def document_of(record: Sequence[str]) -> Document:
    """A record of `COLUMNS`, or of the first few of them, as a document.

    Raises sqlite3.DatabaseError for a record that no writer made.
    """
    if set(map(type, record)) != {str}:
        raise sqlite3.DatabaseError("a document that is not made of texts")
    document_id, title, text, *more = record
    document = Document(document_id, title, text)
    if more:
        document = document._replace(metadata=metadata_of(more[0]))
    return document._replace(queries=lines_of(more[1])) if any(more[1:]) else document
