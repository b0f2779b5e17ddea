"""The documents of a segment in a SQLite file.

In: documents. Out: documents by row, rows by id, rows by metadata. Knows nothing of vectors.
Rows count from 0 in the order of insertion.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from index.disk.files import sync_file
from index.disk.opening import is_own, open_to_read
from index.documents.attributes import attributes
from index.documents.kept import Kept
from index.documents.metadata import metadata_json, metadata_of, problem_of
from index.documents.numbers import Attribute, is_valid
from index.documents.untrusted import check_schema, query, restrict
from index.errors import CorruptError, InputError, StorageError
from index.locks import ProcessLock
from index.values import Json, Mask

if TYPE_CHECKING:
    from index.documents.columns import Column
    from index.documents.expression import Field
    from index.documents.filters import Filter

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
_SCHEMA = (_DOCUMENTS, _ATTRIBUTES)
# All names, each by a jump to the next one: SQLite's DISTINCT would read the whole table.
_NAMES = """
WITH RECURSIVE names(name) AS (
    SELECT min(name) FROM attributes
    UNION ALL
    SELECT (SELECT min(name) FROM attributes WHERE name > names.name) FROM names WHERE names.name IS NOT NULL
)
SELECT name FROM names WHERE name IS NOT NULL
"""
_COLUMNS = "id, title, text, metadata"
_COLUMNS_WITHOUT_METADATA = "id, title, text, '{}'"

# Most bytes of a document: SQLite's own limit.
_LONGEST_ROW = 10**9
# The last bytes of a journal that names another journal (SQLite's file format, "The Rollback Journal").
_JOURNAL_MAGIC = bytes.fromhex("d9d505f920a163d7")

# Least bytes of an attribute in the file: pointer, lengths and types of a cell without content.
_SHORTEST_ATTRIBUTE = 7
# Fields whose values are kept in memory, 16 bytes a document and the different values each.
_KEPT_COLUMNS = 8

# Parameters of a statement. SQLite's default limit is 32766; fewer keep statements small.
_ROWS_A_STATEMENT = 1000


@dataclass(frozen=True, slots=True)
class Document:
    """A document as the user gave it."""

    id: str  # unique in its index, not empty
    title: str = ""
    text: str = ""
    metadata: Mapping[str, Json] = field(default_factory=dict)  # what JSON can say, by name


class DocumentWriter:
    """The documents of a build. Every `append` is one transaction, durable when it returns.

    path: the file, made if it does not exist.
    Raises CorruptError if it is not a file that this class made, StorageError.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        _check_files(path)
        try:
            self._database = sqlite3.connect(path, isolation_level=None)
        except sqlite3.Error as error:
            raise _refused(path, error) from error
        try:
            with _writing(path):
                restrict(self._database, _LONGEST_ROW)
                self._database.execute("PRAGMA synchronous = EXTRA")
                if query(self._database, "SELECT 1 FROM sqlite_master LIMIT 1"):
                    self._check()
                else:
                    with _transaction(self._database):
                        self._database.execute(_DOCUMENTS)
                        self._database.execute(_ATTRIBUTES)
                self.count = _count(self._database)
        except BaseException:
            self._database.close()
            raise

    def append(self, documents: Sequence[Document]) -> None:
        """Add documents at the end: all or none.

        Raises InputError for an id that is empty or already used, and for metadata or text that cannot be
        stored; StorageError.
        """
        rows = [
            (row, document.id, document.title, document.text, _metadata_json(document))
            for row, document in enumerate(documents, self.count)
        ]
        with _writing(self._path), _transaction(self._database):
            self._check_ids([document.id for document in documents])
            try:
                self._database.executemany(
                    "INSERT INTO documents (row, id, title, text, metadata) VALUES (?, ?, ?, ?, ?)", rows
                )
                self._database.executemany(
                    "INSERT OR IGNORE INTO attributes (name, value, row) VALUES (?, ?, ?)",
                    (
                        (*attribute, row)
                        for row, document in enumerate(documents, self.count)
                        for attribute in attributes(document.metadata)
                    ),
                )
            except UnicodeEncodeError as error:
                document_id = next(document.id for document in documents if not _is_encodable(document))
                raise InputError(
                    f"document {document_id!a} holds a lone surrogate; write it as valid UTF-8"
                ) from error
        self.count += len(rows)

    def __iter__(self) -> Iterator[Document]:
        """All documents by row."""
        with _writing(self._path):
            for _, *record in self._ordered(_COLUMNS):
                yield _document(tuple(record))

    def ids(self) -> Iterator[list[str]]:
        """All ids by row, a thousand at a time."""
        records = self._ordered("id")
        while batch := list(islice(records, _ROWS_A_STATEMENT)):
            yield [document_id for _, document_id in batch]

    def copy_to(self, path: Path) -> None:
        """Write a compact copy to a new file, durable on return. Raises StorageError."""
        with _writing(path):
            # The path as bytes: it may not be UTF-8.
            self._database.execute("VACUUM INTO CAST(? AS TEXT)", (os.fsencode(path),))
            sync_file(path)

    def close(self) -> None:
        """Close the file. Calling it again does nothing."""
        self._database.close()

    def _check(self) -> None:
        """Raise sqlite3.DatabaseError unless an existing file has our tables and undamaged pages."""
        check_schema(self._database, _SCHEMA)
        (verdict,) = self._database.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise sqlite3.DatabaseError(verdict)

    def _ordered(self, columns: str) -> Iterator[tuple[Any, ...]]:
        """The row and the given columns of all documents, by row."""
        statement = f"SELECT row, {columns} FROM documents ORDER BY row"  # noqa: S608 (our own columns)
        with _writing(self._path), closing(self._database.execute(statement)) as cursor:
            for position, record in enumerate(cursor):
                if record[0] != position:
                    raise sqlite3.DatabaseError(f"row {record[0]} where row {position} should be")
                yield record

    def _check_ids(self, ids: Sequence[str]) -> None:
        seen: set[str] = set()
        for document_id in ids:
            if not isinstance(document_id, str) or not document_id:
                raise InputError(
                    f"{document_id!r} is no document id; give every document one of at least a character"
                )
            if document_id in seen:
                raise InputError(f"two documents have the id {document_id!r}; ids must be unique")
            seen.add(document_id)
        for start in range(0, len(ids), _ROWS_A_STATEMENT):
            part = list(filter(is_valid, ids[start : start + _ROWS_A_STATEMENT]))
            marks = ",".join("?" * len(part))
            statement = f"SELECT id FROM documents WHERE id IN ({marks})"  # noqa: S608 (marks only)
            stored = query(self._database, statement, part)
            if stored:
                raise InputError(f"two documents have the id {stored[0][0]!r}; ids must be unique")


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
                check_schema(self._database, _SCHEMA)
                self.count = _count(self._database)
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
        documents = self._read(rows, _COLUMNS)
        return [documents[row] for row in rows]

    def texts(self, rows: Sequence[int]) -> list[Document]:
        """`documents` without metadata, which is empty; those of the last calls are in memory."""
        found = self._kept.find(rows)
        if len(found) < len(rows):
            fresh = self._read([row for row in rows if row not in found], _COLUMNS_WITHOUT_METADATA)
            self._kept.keep(fresh, sum(len(each.title) + len(each.text) for each in fresh.values()))
            found |= fresh
        return [found[row] for row in rows]

    def _read(self, rows: Sequence[int], columns: str) -> dict[int, Document]:
        """The documents of these rows by row."""
        documents: dict[int, Document] = {}
        with self._lock, self._reading():
            for start in range(0, len(rows), _ROWS_A_STATEMENT):
                part = [int(row) for row in rows[start : start + _ROWS_A_STATEMENT] if 0 <= row < self.count]
                marks = ",".join("?" * len(part))
                statement = f"SELECT row, {columns} FROM documents WHERE row IN ({marks})"  # noqa: S608 (ours only)
                for row, *record in query(self._database, statement, part, most=len(part)):
                    documents[row] = _document(tuple(record))
            missing = next((row for row in rows if row not in documents), None)
            if missing is not None and 0 <= missing < self.count:
                raise ValueError(f"no row {missing}")
        if missing is not None:
            raise IndexError(f"row {missing} is not in the index")
        return documents

    def rows_of(self, ids: Sequence[str]) -> dict[str, int]:
        """Rows by document id; ids that do not exist are left out."""
        valid = list(filter(is_valid, ids))
        rows: dict[str, int] = {}
        with self._lock, self._reading():
            for start in range(0, len(valid), _ROWS_A_STATEMENT):
                part = valid[start : start + _ROWS_A_STATEMENT]
                marks = ",".join("?" * len(part))
                statement = f"SELECT id, row FROM documents WHERE id IN ({marks})"  # noqa: S608 (marks only)
                rows.update(query(self._database, statement, part, most=len(part)))
        return rows

    def matching(self, where: Filter) -> Mask:
        """The rows that meet a filter, bool (count,)."""
        from index.documents.filters import as_expression
        from index.documents.selection import Selection

        with self._lock, self._reading():
            return Selection(self._database, self.count, self._most).rows(as_expression(where))

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
        """The different values under a stored name; None if there are more than so many."""
        from index.documents.columns import few_values

        with self._lock, self._reading():
            return few_values(self._database, name, most)

    def close(self) -> None:
        """Close the file. Calling it again does nothing."""
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


def _check_files(path: Path) -> None:
    """Raise CorruptError for files that would make SQLite change or delete a file outside the folder.

    These are links and second hard links, of the file or its journals, and a journal that names another.
    """
    journal = path.with_name(f"{path.name}-journal")
    with _writing(path):
        for file in (path, journal, *(path.with_name(f"{path.name}-{end}") for end in ("wal", "shm"))):
            if not is_own(file):
                raise CorruptError(f"{file}: not a file of its own; build again without --resume")
        if journal.exists() and _names_another(journal):
            raise CorruptError(f"{journal}: belongs to another database; build again without --resume")


def _names_another(journal: Path) -> bool:
    """Whether a journal names another one, which SQLite would delete after a rollback."""
    with open_to_read(journal) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - len(_JOURNAL_MAGIC)))
        return file.read() == _JOURNAL_MAGIC


@contextmanager
def _transaction(database: sqlite3.Connection) -> Iterator[None]:
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:
            database.execute("ROLLBACK")
        raise


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise _refused(path, error) from error


def _refused(path: Path, error: Exception) -> CorruptError | StorageError:
    if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError):
        return CorruptError(f"{path}: damaged ({error}); build again without --resume")
    return StorageError(f"{path}: cannot be written ({error}); check the disk's free space and permissions")


def _count(database: sqlite3.Connection) -> int:
    """Number of documents, from the highest row: rows have no gaps, and counting reads the whole file."""
    ((highest,),) = query(database, "SELECT max(row) FROM documents")
    return 0 if highest is None else max(0, highest + 1)


def _metadata_json(document: Document) -> str:
    """Metadata as JSON. Raises InputError for values that JSON cannot restore."""
    problem = problem_of(document.metadata)
    if problem:
        raise InputError(f"document {document.id!r}: metadata {problem}")
    return metadata_json(document.metadata)


def _document(record: tuple[str, str, str, str]) -> Document:
    if set(map(type, record)) != {str}:
        raise sqlite3.DatabaseError("a document that is not made of texts")
    document_id, title, text, metadata = record
    return Document(document_id, title, text, metadata_of(metadata))


def _is_encodable(document: Document) -> bool:
    return all(
        is_valid(part) for part in (document.id, document.title, document.text, _metadata_json(document))
    )
