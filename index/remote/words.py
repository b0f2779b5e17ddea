"""The distinct words of an index in Milvus as vectors, by which a model re-scores; each has a number.

In: words and a `WordEncoder` to write. Out: the files, and the number of each word. A row of the collection
holds only the numbers of its document's words. The vectors, a few bytes for each distinct word, are in the
folder beside the statistics of BM25. Knows nothing of the server.

    vectors.i8, scales.f32, weights.f32     as in index/interaction/words.py, by number
    numbers.sqlite                          words (word, number), which only writers read
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

from index.disk.files import copy_file, sync_file
from index.documents.untrusted import check_schema, query, query_each, restrict
from index.errors import StorageError
from index.interaction.words import TABLE_ARRAYS
from index.interaction.writing import WordEncoder, write_table
from index.values import Texts

_NUMBERS = "numbers.sqlite"
_SCHEMA = "CREATE TABLE words (word BLOB PRIMARY KEY, number INTEGER NOT NULL) WITHOUT ROWID"
FILES = (*TABLE_ARRAYS, _NUMBERS)
# Milvus' limit on the values of an array. 512 words of a text are compared, and as many of the known queries
# (retrieval/model/rescoring.py), so only a title of thousands of words loses some.
MOST_WORDS = 4096


def write_words(
    folder: Path, base: Path | None, words: Sequence[str], encoder: WordEncoder
) -> dict[str, int]:
    """Write the words of an index and some new ones. The files are durable, the folder's own entry is not.

    folder: the new folder.
    base: the folder of the words before these; None if there are no others.
    words: distinct words of new documents, in the order in which they occur.
    encoder: gives their vectors.
    Returns the number of each of these words. Raises StorageError.
    """
    path = folder / _NUMBERS
    try:
        folder.mkdir()
        if base is not None:
            copy_file(base / _NUMBERS, path)
        with closing(sqlite3.connect(path)) as database, database:
            restrict(database, path.stat().st_size)
            if base is None:
                database.execute(_SCHEMA)
            check_schema(database, (_SCHEMA,))
            numbers = _known(database, words)
            ((first,),) = query(database, "SELECT count(*) FROM words")
            fresh = [word for word in words if word not in numbers]
            numbers |= {word: first + at for at, word in enumerate(fresh)}
            rows = ((_stored(word), numbers[word]) for word in fresh)
            database.executemany("INSERT INTO words VALUES (?, ?)", rows)
        sync_file(path)
        write_table(folder, base, fresh, encoder)
    except (sqlite3.Error, OSError) as error:
        raise StorageError(f"{folder}: cannot be written ({error}); check the disk's free space") from error
    return numbers


def _known(database: sqlite3.Connection, words: Sequence[str]) -> dict[str, int]:
    """The numbers of those of these words that have one."""
    asked = {_stored(word): word for word in words}
    rows = query_each(database, "SELECT word, number FROM words WHERE word IN ({})", list(asked))
    return {asked[word]: number for word, number in rows}


def _stored(word: str) -> bytes:
    return word.encode("utf-8", "surrogatepass")


def numbers_of(texts: Texts, numbers: Mapping[str, int], encoder: WordEncoder) -> tuple[list[int], int, int]:
    """The numbers of a document's words, field by field, and how many are of its title and its queries."""
    title, text, queries = ([numbers[word] for word in words] for words in encoder.distinct_words(texts))
    title = title[: max(0, MOST_WORDS - len(text) - len(queries))]
    return [*title, *text, *queries], len(title), len(queries)
