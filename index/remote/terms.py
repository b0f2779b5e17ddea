"""Statistics of BM25, and the names of metadata fields, of an index whose postings live in Milvus.

In: terms and field names of the documents that a build or addition writes. Out: the number of each term,
which is its dimension in Milvus' sparse vectors, and how many documents have the term. Knows nothing of the
server.

Milvus' own BM25 is not used: it has other tokens, counts documents by segment, and finds nothing in Chinese.
The tf part of a posting (index/lexical/bm25.py) is a weight of a document's sparse vector, idf times query tf
one of the query's, and their inner product is the score. N and df count all documents that were written since
the build, deleted ones included, as those of a local segment do; a new build counts anew.

A single Chinese character is a term only where it stands alone: a server adds up the weights of all terms of
a document, so those that have the character could not count as one word, as they do in a local index.
"""

from __future__ import annotations

import math
import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext
from itertools import count
from pathlib import Path
from typing import NamedTuple

import numpy as np

from index.disk.files import storing, sync_file
from index.disk.opening import open_to_read
from index.disk.sorted_texts import sorted_texts
from index.documents.untrusted import check_schema, query, query_each, restrict
from index.errors import CorruptError, StorageError
from index.lexical.bm25 import K1, B
from index.lexical.similar import SimilarTerms, similar_terms
from index.lexical.tokens import lexical_tokens
from index.locks import ProcessLock

_TERMS = """
CREATE TABLE terms (
    term TEXT PRIMARY KEY,
    number INTEGER NOT NULL,
    documents INTEGER NOT NULL
) WITHOUT ROWID
"""
_FIELDS = "CREATE TABLE fields (name TEXT PRIMARY KEY) WITHOUT ROWID"
_SCHEMA = (_TERMS, _FIELDS)

# A dimension that no term has. Milvus-lite takes no empty sparse vector, so each has something there.
UNUSED = 0
_ADD = """
INSERT INTO terms VALUES (?, ?, ?)
ON CONFLICT (term) DO UPDATE SET documents = documents + excluded.documents
"""

Sparse = dict[int, float]


class Weighed(NamedTuple):
    """The terms of a query in an index.

    terms: weights by number, of the terms that a document has.
    weight: sum of all weights, also of terms that no document has.
    words: how many different terms there are.
    unknown: the terms that no document has.
    """

    terms: Sparse
    weight: float
    words: int
    unknown: tuple[str, ...]


class Statistics:
    """The statistics of a published index; safe for use by several threads.

    path: what `write_statistics` wrote.
    documents: N of BM25.
    Raises CorruptError, on opening or later, if the file is not what was written.
    """

    def __init__(self, path: Path, documents: int) -> None:
        self._path = path
        self._documents = documents
        self._lock = ProcessLock()
        with self._reading():
            open_to_read(path).close()
            uri = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
            self._database = sqlite3.connect(uri, uri=True, check_same_thread=False)
            try:
                restrict(self._database, path.stat().st_size)
                check_schema(self._database, _SCHEMA)
            except BaseException:
                self._database.close()
                raise

    def weigh(self, text: str) -> Weighed:
        """The terms of a query, weighted by idf and query tf."""
        counts = Counter(lexical_tokens(text))
        with self._lock, self._reading():
            known = dict(_known(self._database, counts))
        weights: Sparse = {}
        for term, (number, df) in known.items():
            if not (
                isinstance(number, int) and isinstance(df, int) and number > 0 and 0 < df <= self._documents
            ):
                raise CorruptError(f"{self._path}: damaged; restore the file or build the index again")
            weights[number] = counts[term] * self._idf(df)
        total = sum(tf * self._idf(known[term][1] if term in known else 0) for term, tf in counts.items())
        unknown = tuple(term for term in counts if term not in known)
        return Weighed(weights, total, len(counts), unknown)

    def documents_with(self, term: str) -> int:
        """How many documents have a term."""
        with self._lock, self._reading():
            return sum(documents for _, (_, documents) in _known(self._database, [term]))

    def similar_terms(self, term: str) -> SimilarTerms:
        """The terms that are similar to one that no document has."""
        statement = "SELECT term, documents FROM terms WHERE term >= ? AND term < ? ORDER BY term"
        with self._lock, self._reading():
            rows = query(self._database, statement, (term[0], chr(ord(term[0]) + 1)))
            ends = np.cumsum([0, *(documents for _, documents in rows)])
            return similar_terms(term, sorted_texts(each for each, _ in rows), ends)

    def first_term_from(self, text: str) -> str | None:
        """The first term, by code points, that is not smaller than a text; None if all are."""
        statement = "SELECT term FROM terms WHERE term >= ? ORDER BY term LIMIT 1"
        with self._lock, self._reading():
            return next((str(term) for (term,) in query(self._database, statement, (text,))), None)

    def _idf(self, df: int) -> float:
        return math.log(1 + (self._documents - df + 0.5) / (df + 0.5))

    def fields(self) -> set[str]:
        """The stored names of all metadata fields (index/documents/attributes.py)."""
        with self._lock, self._reading():
            return {str(name) for (name,) in query(self._database, "SELECT name FROM fields")}

    def close(self) -> None:
        """Close the file, once no thread reads it. Calling it again does nothing."""
        # Python crashes if a connection is closed while it runs a statement of another thread. A forked
        # process has no other threads, and cannot take the lock.
        with self._lock if self._lock.is_own() else nullcontext():
            self._database.close()

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.ProgrammingError:
            raise  # used after close()
        except (sqlite3.Error, OSError) as error:
            raise CorruptError(
                f"{self._path}: cannot be read ({error}); restore the file or build the index again"
            ) from error


def write_statistics(
    path: Path, base: Path | None, df: Mapping[str, int], fields: Iterable[str]
) -> dict[str, int]:
    """Write the statistics of an index with some documents more; durable on return.

    path: the new file.
    base: the statistics before these documents; None if there are no others.
    df: how many of the new documents have each of their terms.
    fields: the stored names of their metadata fields.
    Returns the number of each of these terms. Raises StorageError.
    """
    with storing(path):
        if base is not None:
            shutil.copyfile(base, path)
    try:
        with closing(sqlite3.connect(path)) as database:
            with database:
                if base is None:
                    for statement in _SCHEMA:
                        database.execute(statement)
                numbers = _count(database, df)
                database.executemany("INSERT OR IGNORE INTO fields VALUES (?)", ((name,) for name in fields))
            database.execute("VACUUM")
        sync_file(path)
    except (sqlite3.Error, OSError) as error:
        raise StorageError(f"{path}: cannot be written ({error}); check the disk's free space") from error
    return numbers


def _count(database: sqlite3.Connection, df: Mapping[str, int]) -> dict[str, int]:
    """Add documents to terms; returns the number of each term."""
    numbers = {term: number for term, (number, _) in _known(database, df)}
    ((highest,),) = database.execute("SELECT max(number) FROM terms")
    new = [term for term in df if term not in numbers]
    numbers |= dict(zip(new, count((highest or UNUSED) + 1), strict=False))
    database.executemany(
        _ADD,
        ((term, numbers[term], documents) for term, documents in df.items()),
    )
    return numbers


def _known(database: sqlite3.Connection, terms: Iterable[str]) -> Iterator[tuple[str, tuple[int, int]]]:
    """Number and document frequency of those of these terms that a document has."""
    statement = "SELECT term, number, documents FROM terms WHERE term IN ({})"
    for term, number, documents in query_each(database, statement, list(terms)):
        yield term, (number, documents)


def sparse_of(terms: list[str], numbers: Mapping[str, int], average: float) -> Sparse:
    """The tf parts of a document as a sparse vector.

    terms: its tokens.
    numbers: of all terms.
    average: the average number of tokens of a document.
    """
    penalty = K1 * (1 - B + B * len(terms) / max(average, 1e-9))
    parts = {numbers[term]: tf / (tf + penalty) for term, tf in Counter(terms).items()}
    return parts or {UNUSED: 1.0}
