"""Writing of the postings of a segment in a process of its own, while the caller writes the words.

In: the file of the documents. Out: their postings, as `index.lexical.postings` writes them. Knows nothing of
vectors.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from index.beside import do_work, work_beside
from index.cores import cores
from index.dense.tuning import SMALL
from index.disk.files import remove, storing
from index.documents.store import DocumentReader
from index.lexical.postings import Lengths, write_bm25
from index.values import Progress, Texts


@contextmanager
def postings_beside(
    folder: Path,
    documents: Path,
    count: int,
    texts: Callable[[], Iterable[Texts]],
    read_queries: bool,
    others: Lengths,
    progress: Progress,
) -> Iterator[Callable[[], Lengths]]:
    """Write postings during the block. Yields a function that waits until they are, and gives their lengths.

    folder: the new folder of the postings.
    documents: the file of the documents.
    count: how many they are.
    texts: gives the texts of the documents by row, and tells its progress.
    read_queries: whether the queries that documents are known to answer are read.
    others: the lengths of the documents in the index's other segments.
    progress: called when the caller waits for the other process.
    With one core or few documents this process writes, before the block; if the other one fails, when the
    caller waits. The function raises StorageError.
    """

    def written() -> Lengths:
        own = write_bm25(folder, (each.joined() for each in texts()), others)
        progress("words", count, count)
        return own

    if cores() == 1 or count < SMALL:
        own = written()
        yield lambda: own
        return
    asked = {
        "folder": os.fspath(folder),
        "documents": os.fspath(documents),
        "read_queries": read_queries,
        "others": others,
    }
    with work_beside("index.writing.postings", asked, b"", 1) as answer:

        def wait() -> Lengths:
            progress("words", 0, 1)
            found = answer()
            if found is None:
                with storing(folder):
                    remove(folder)
                return written()
            progress("words", 1, 1)
            return Lengths(*found)

        yield wait


def texts_read(texts: Texts, queries: bool) -> Texts:
    """What BM25 and re-scoring read of a document. queries: whether they read those that it answers."""
    return texts if queries else texts._replace(queries="")


def _write(asked: Mapping[str, Any], data: bytes) -> Lengths:
    texts = DocumentReader(Path(asked["documents"])).all_texts()
    read = (texts_read(each, asked["read_queries"]).joined() for each in texts)
    return write_bm25(Path(asked["folder"]), read, Lengths(*asked["others"]))


if __name__ == "__main__":
    do_work(_write)
