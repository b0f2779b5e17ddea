"""Writing the documents of a segment into a SQLite file.

In: documents. Out: the file that `DocumentReader` reads. Knows nothing of vectors. The file lies in a folder
that a stranger may have made, so nothing outside it is changed.

While documents are added, the file has no index of ids. With one, each of some thousand ids that are added at
once would change a page of its own, and SQLite writes a changed page twice: 8 KB a document where there are
millions of ids in no order. Instead, ids that come again are found by their hashes in memory, and the index
is made from sorted ids when the file is copied. That index then has to become the one that `UNIQUE` in the
published table stands for. SQLite has no statement for that, so the schema is changed directly
(https://sqlite.org/pragma.html#pragma_writable_schema).
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import Any

from index.disk.files import sync_file
from index.disk.opening import is_own, open_to_read
from index.documents.attributes import attributes
from index.documents.first_uses import FirstUses
from index.documents.metadata import metadata_json, problem_of
from index.documents.numbers import is_valid
from index.documents.store import (
    COLUMNS,
    DOCUMENTS,
    LONGEST_ROW,
    SCHEMA,
    TEXTS,
    Document,
    count_rows,
    document_of,
)
from index.documents.untrusted import check_schema, query, restrict
from index.errors import CorruptError, InputError, StorageError
from index.values import Texts

_DOCUMENTS = SCHEMA[0]
_DOCUMENTS_WITHOUT_INDEX = _DOCUMENTS.replace("id TEXT NOT NULL UNIQUE", "id TEXT NOT NULL")
_WITHOUT_INDEX = (_DOCUMENTS_WITHOUT_INDEX, *SCHEMA[1:])
_IDS_AT_ONCE = 1000
# What `UNIQUE` makes.
_INDEX_OF_IDS = "sqlite_autoindex_documents_1"

# The last bytes of a journal that names another journal (SQLite's file format, "The Rollback Journal").
_JOURNAL_MAGIC = bytes.fromhex("d9d505f920a163d7")


class DocumentWriter:
    """The documents of a build. Every `append` is one transaction, durable when it returns.

    path: the file, made if it does not exist.
    Raises CorruptError if it is not a file that this class made, StorageError.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._uses: FirstUses | None = None  # of the ids; None until they are read
        _check_files(path)
        try:
            self._database = sqlite3.connect(path, isolation_level=None)
        except sqlite3.Error as error:
            raise _refused(path, error) from error
        try:
            with _writing(path):
                restrict(self._database, LONGEST_ROW)
                self._database.execute("PRAGMA synchronous = EXTRA")
                if query(self._database, "SELECT 1 FROM sqlite_master LIMIT 1"):
                    self._check()
                else:
                    with _transaction(self._database):
                        for table in _WITHOUT_INDEX:
                            self._database.execute(table)
                self.count = count_rows(self._database)
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
        try:
            self._insert(documents, rows)
        except BaseException:
            self._forget_ids()  # those of these documents are among them
            raise
        self.count += len(rows)

    def _insert(self, documents: Sequence[Document], rows: Sequence[tuple[int, str, str, str, str]]) -> None:
        self._check_ids([document.id for document in documents])
        with _writing(self._path), _transaction(self._database):
            try:
                self._database.executemany(
                    "INSERT INTO documents (row, id, title, text, metadata) VALUES (?, ?, ?, ?, ?)", rows
                )
                self._database.executemany(
                    "INSERT INTO queries (row, texts) VALUES (?, ?)",
                    (
                        (row, document.texts().queries)
                        for row, document in enumerate(documents, self.count)
                        if document.queries
                    ),
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

    def __iter__(self) -> Iterator[Document]:
        """All documents by row."""
        with _writing(self._path):
            for _, *record in self._ordered(COLUMNS):
                yield document_of(tuple(record))

    def texts(self) -> Iterator[Texts]:
        """The texts of all documents by row, in a third of the time of whole documents."""
        for _, *texts in self._ordered(TEXTS):
            yield self._texts_of(texts)

    def sample(self, most: int) -> list[Texts]:
        """The texts of so many documents, or of all if there are fewer, from everywhere, by row.

        most: at most 32766, parameters of a statement.
        """
        taken = min(most, self.count)
        rows = [place * self.count // taken for place in range(taken)]
        marks = ",".join("?" * len(rows))
        statement = (
            f"SELECT {TEXTS} FROM {DOCUMENTS} "  # noqa: S608 (our own columns)
            f"WHERE documents.row IN ({marks}) ORDER BY documents.row"
        )
        with _writing(self._path):
            return [self._texts_of(texts) for texts in self._database.execute(statement, rows)]

    def _texts_of(self, record: Sequence[Any]) -> Texts:
        if not all(isinstance(value, str) for value in record):
            raise _refused(self._path, sqlite3.DatabaseError("a document that is not made of texts"))
        return Texts(*record)

    def ids(self) -> Iterator[list[str]]:
        """All ids by row, a thousand at a time."""
        records = self._ordered("id")
        while batch := list(islice(records, _IDS_AT_ONCE)):
            yield [document_id for _, document_id in batch]

    def copy_to(self, path: Path) -> None:
        """Write a compact copy to a new file, durable on return. Raises StorageError."""
        self._forget_ids()  # more documents seldom follow, and what does needs memory
        with _writing(path):
            self._index_ids()
            # The path as bytes: it may not be UTF-8.
            self._database.execute("VACUUM INTO CAST(? AS TEXT)", (os.fsencode(path),))
            sync_file(path)

    def close(self) -> None:
        """Close the file. Calling it again does nothing."""
        self._forget_ids()
        self._database.close()

    def _has_index(self) -> bool:
        return bool(query(self._database, "SELECT 1 FROM sqlite_master WHERE name = ?", [_INDEX_OF_IDS]))

    def _index_ids(self) -> None:
        """Make the file one of `SCHEMA`."""
        if self._has_index():
            return
        try:
            with _transaction(self._database):
                self._database.execute("CREATE UNIQUE INDEX ids ON documents (id)")
                self._database.execute("PRAGMA writable_schema = ON")
                self._database.execute(
                    "UPDATE sqlite_master SET sql = ? WHERE type = 'table' AND name = 'documents'",
                    [_DOCUMENTS.strip()],
                )
                self._database.execute(
                    "UPDATE sqlite_master SET name = ?, sql = NULL WHERE name = 'ids'", [_INDEX_OF_IDS]
                )
        finally:
            self._database.execute("PRAGMA writable_schema = RESET")  # the schema is read again

    def _check(self) -> None:
        """Raise sqlite3.DatabaseError unless an existing file has our tables and undamaged pages."""
        check_schema(self._database, SCHEMA if self._has_index() else _WITHOUT_INDEX)
        (verdict,) = self._database.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise sqlite3.DatabaseError(verdict)

    def _ordered(self, columns: str) -> Iterator[tuple[Any, ...]]:
        """The row and the given columns of all documents, by row."""
        statement = (
            f"SELECT documents.row, {columns} FROM {DOCUMENTS} "  # noqa: S608 (our own columns)
            "ORDER BY documents.row"
        )
        with _writing(self._path), closing(self._database.execute(statement)) as cursor:
            for position, record in enumerate(cursor):
                if record[0] != position:
                    raise sqlite3.DatabaseError(f"row {record[0]} where row {position} should be")
                yield record

    def _check_ids(self, ids: Sequence[str]) -> None:
        """Raise InputError for an id that is empty or comes again. Note all others."""
        uses = self._used_ids()
        for row, document_id in enumerate(ids, self.count):
            if not isinstance(document_id, str) or not document_id:
                raise InputError(
                    f"{document_id!r} is no document id; give every document one of at least a character"
                )
            if uses.add(document_id, row) is not None:
                raise InputError(f"two documents have the id {document_id!r}; ids must be unique")

    def _used_ids(self) -> FirstUses:
        if self._uses is None:
            self._uses = FirstUses()
            for row, document_id in enumerate(chain.from_iterable(self.ids())):
                self._uses.add(document_id, row)
        return self._uses

    def _forget_ids(self) -> None:
        if self._uses is not None:
            self._uses.close()
            self._uses = None


def _check_files(path: Path) -> None:
    """Raise CorruptError for files that would make SQLite change or delete a file outside the folder.

    These are links and second hard links in place of the file or its journals, and a journal that names
    another journal.
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


def _metadata_json(document: Document) -> str:
    """Metadata as JSON. Raises InputError for values that JSON cannot restore."""
    problem = problem_of(document.metadata)
    if problem:
        raise InputError(f"document {document.id!r}: metadata {problem}")
    return metadata_json(document.metadata)


def _is_encodable(document: Document) -> bool:
    return all(map(is_valid, (document.id, _metadata_json(document), *document.texts())))
