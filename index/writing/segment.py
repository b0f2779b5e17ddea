"""Writing of a segment: the files that `index.segment` reads, and its share in a later generation.

In: staged documents and their vectors. Out: files and the segment's entry for the manifest. Knows nothing of
generations.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path

from index.dense.beside import tuning_beside
from index.dense.passages import write_passages
from index.dense.tuning import SMALL, TUNING_QUERIES, Goal
from index.dense.vectors import write_vectors
from index.disk.files import create_durably, share, storing
from index.disk.manifest import SegmentEntry
from index.documents.writer import DocumentWriter
from index.interaction.writing import WordEncoder, write_words
from index.lexical.bm25 import BM25_SETTINGS
from index.lexical.postings import Lengths
from index.segment import COMPRESSED, DELETED, DOCUMENTS, LEXICAL, PASSAGES, VECTORS, WORDS, segment_files
from index.values import Progress, QueriesOf, Rows, Texts
from index.writing.postings import postings_beside, texts_read
from index.writing.staging import Staging

# Documents between two reports of progress.
_REPORT_EVERY = 1000


def write_segment(
    folder: Path,
    staging: Staging,
    others: Lengths,
    goal: Goal,
    queries: QueriesOf | None,
    words: WordEncoder | None,
    progress: Progress,
) -> SegmentEntry:
    """Write a segment's files into a new folder; the files are durable, the folder's entries are not.

    folder: the new folder; its name is the segment's.
    staging: the documents, with their passages and the vectors of these.
    others: the lengths of the documents in the index's other segments.
    goal: what the dense index must reach.
    queries: gives queries to tune by; None for the vectors themselves.
    words: gives the words of the documents as vectors; None to store none. If it does not read the queries
        that documents are known to answer, BM25 does not either.
    progress: called during every stage.
    Raises StorageError, InputError for a goal that no dense index meets.
    """
    documents, count, dimension = staging.documents, staging.passage_count, staging.plan.dimension
    with storing(folder):
        folder.mkdir()
    progress("vectors", 0, count)
    write_vectors(folder / VECTORS, staging.vectors, count, dimension)
    progress("vectors", count, count)
    if count > documents.count:
        write_passages(folder / PASSAGES, staging.passages())
    compressed = folder / COMPRESSED
    asked = None if queries is None or count < SMALL else queries(documents.sample(TUNING_QUERIES))
    with tuning_beside(folder / VECTORS, count, dimension, asked, goal, compressed, progress) as tuned:
        documents.copy_to(folder / DOCUMENTS)
        read = words is None or words.reads_queries
        texts = partial(_texts, documents, progress, read)
        with postings_beside(
            folder / LEXICAL,
            folder / DOCUMENTS,
            documents.count,
            partial(texts, "words"),
            read,
            others,
            progress,
        ) as written:
            if words is not None:
                write_words(folder / WORDS, texts("word vectors"), words)
                progress("word vectors", documents.count, documents.count)
            own = written()
        tuning = tuned()
    chosen = tuning.chosen
    return SegmentEntry(
        name=folder.name,
        documents=documents.count,
        vectors=count,
        deleted=0,
        faiss=chosen.name,
        parameters=chosen.parameters(),
        bm25=BM25_SETTINGS,
        words=own.tokens,
        word_width=0 if words is None else words.width,
        tried=tuple(map(asdict, tuning.tried)),
    )


def _texts(documents: DocumentWriter, progress: Progress, queries: bool, stage: str) -> Iterator[Texts]:
    """The texts of all documents. queries: with those that they are known to answer."""
    for row, texts in enumerate(documents.texts()):
        if row % _REPORT_EVERY == 0:
            progress(stage, row, documents.count)
        yield texts_read(texts, queries)


def share_segment(source: Path, target: Path, entry: SegmentEntry, deleted: Rows) -> SegmentEntry:
    """Make a segment part of another generation, with other tombstones.

    source: folder of the segment.
    target: the new folder. Its files are hard links, or copies if the file system has no hard links.
    entry: the segment in the manifest of its own generation.
    deleted: all deleted rows, ascending.
    Returns its entry for the new manifest. Raises StorageError.
    """
    share(source, target, [name for name in segment_files(entry) if name != DELETED])
    if len(deleted):
        path = target / DELETED
        with storing(path), create_durably(path) as file:
            file.write(deleted.astype("<i4").tobytes())
    return entry._replace(deleted=len(deleted))
