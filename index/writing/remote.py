"""Writing of an index whose vectors live in Milvus: builds, additions, deletions, adoption of a candidate.

In: the documents of a finished staging folder; rows to delete. Out: the manifest of the published generation.

A build fills a new collection. An addition appends rows with numbers that no published generation of the
collection has. Both become live when CURRENT is renamed, as in a local index. Only after that, rows and
collections that no generation of the folder names are removed, and the alias COLLECTION, which is for people
who look at the server, is moved. A writer that is killed at any moment leaves the published generation whole.
The next writer removes what it left.

Going back to a kept generation is an addition to that generation: its collection gets the documents that it
lacks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from index.dense.tuning import TUNING_QUERIES, Goal
from index.disk.files import create_durably, share, storing
from index.disk.folder import Pointer
from index.disk.manifest import Manifest, SegmentEntry
from index.documents.attributes import leaves
from index.errors import InputError, PeepholeError, RemoteError
from index.interaction.writing import WordEncoder
from index.lexical.bm25 import BM25_SETTINGS
from index.lexical.tokens import lexical_tokens
from index.remote.address import Address
from index.remote.client import Collection, Row, Server
from index.remote.collections import is_needed, new_collection, owner_of, settle
from index.remote.reader import GONE, KIND, STATISTICS, WORDS, RemoteIndex
from index.remote.rows import Numbering, rows_of_document, texts_of
from index.remote.terms import write_statistics
from index.remote.tuning import kinds_for, tune
from index.remote.words import FILES, MOST_WORDS, write_words
from index.values import Progress, QueriesOf, Rows, Scalar, no_progress
from index.writing.publish import Origin, publish
from index.writing.staging import Staging

# Rows that are sent at once, and bytes of their texts: the server takes 64 MB.
_ROWS_AT_ONCE = 1000
_BYTES_AT_ONCE = 8 << 20
_NO_ROWS = np.empty(0, np.int64)


class _Counted(NamedTuple):
    """What a first pass over new documents counts."""

    documents: int
    tokens: int
    df: Counter[str]  # documents by term
    fields: set[str]
    words: dict[str, None]  # distinct ones that a model re-scores by, in the order in which they occur


def claim(folder: Path, address: Address) -> None:
    """Raise InputError unless an index in this folder may have the name; RemoteError without a server."""
    with closing(Server(address)) as server:
        owner_of(folder, address, server)


def build_remote(
    folder: Path,
    origin: Origin,
    live: RemoteIndex | None,
    address: Address,
    staging: Staging,
    queries: QueriesOf | None,
    words: WordEncoder | None,
    progress: Progress,
) -> Manifest:
    """Fill a new collection with the staged documents and publish it as the next generation.

    folder: of the index; the caller holds its writer lock.
    origin: what the generation is made from.
    live: the generation that is written anew, closed at the end; None if there is none.
    address: the server and the name of the collection.
    staging: the documents, at least one.
    queries: gives queries to tune by; None to tune by the documents themselves.
    words: gives the words of the documents as vectors; None to store none.
    progress: called during every stage.
    Raises RemoteError, StorageError, InputError for a name that another index has and a goal that is not met.
    """
    with closing(Server(address)) as server:
        owner = owner_of(folder, address, server)
        name = new_collection(folder, address, server, owner)
        collection = server.collection(name)

        def write(segment: Path) -> SegmentEntry:
            counted, staged = _counted(staging, words, True, progress), _vectors(staging)
            goal = Goal.of(origin.goal)
            kinds = kinds_for(len(staged), origin.dimension, goal)
            average = counted.tokens / counted.documents
            numbering = _write_segment(segment, None, counted, _NO_ROWS, average, words, True)
            server.create(name, origin.dimension, MOST_WORDS if words else 0)
            vectors = _upload(collection, staging, 0, numbering, progress)
            collection.flush()
            asked = None if queries is None else queries(staging.documents.sample(TUNING_QUERIES))
            chosen, tried = tune(collection, kinds, staged, asked, goal, progress)
            _check(collection, 0, vectors)
            owner_of(folder, address, server)  # nobody has taken the name meanwhile
            return SegmentEntry(
                name=segment.name,
                documents=counted.documents,
                vectors=vectors,
                deleted=0,
                faiss=f"{KIND}{chosen.name}",
                parameters=chosen.parameters(),
                bm25=BM25_SETTINGS,
                words=counted.tokens,
                word_width=words.width if words else 0,
                tried=tuple(each.as_mapping(KIND) for each in tried),
            )

        store: dict[str, Scalar] = {"address": str(address), "collection": name, "known_queries": True}
        try:
            manifest = publish(folder, origin, live, (), write, progress, store)
        except BaseException:
            with suppress(PeepholeError):
                if not is_needed(folder, name):
                    server.drop(name)
            raise
        _settle(folder, address, server, owner, name)
        return manifest


def add_remote(
    folder: Path,
    base: RemoteIndex,
    origin: Origin,
    staging: Staging,
    gone: Rows,
    words: WordEncoder | None,
    progress: Progress,
) -> Manifest:
    """Append the staged documents, which replace those with the same ids, and publish; closes the open index.

    folder: of the index; the caller holds its writer lock.
    base: the live generation, or a kept one to go back to.
    origin: what the new generation is made from.
    staging: the documents, none or more.
    gone: rows of documents to delete in the same step.
    words: gives the words of the documents as vectors; not used if the base has none.
    progress: called during every stage.
    Raises RemoteError, StorageError. The live generation then stays as it is.
    """
    replaced = [row for ids in staging.documents.ids() for row in base.rows_of(ids).values()]
    rows = np.union1d(np.array(replaced, np.int64), gone)
    return _change(folder, base, origin, rows, staging, words, progress)


def delete_remote(folder: Path, live: RemoteIndex, rows: Rows) -> Manifest:
    """Delete the documents of these rows and publish; closes the open index. Raises as `add_remote` does."""
    return _change(folder, live, Origin.of(live), rows, None, None, no_progress)


def adopt_remote(
    folder: Path, prepared: RemoteIndex, previous: tuple[Pointer, ...], progress: Progress
) -> Manifest:
    """`index.writing.adopt.adopt` of a candidate in Milvus: its collection becomes that of the index."""
    address, name = _place(prepared)

    def write(segment: Path) -> SegmentEntry:
        _share_segment(prepared, segment, prepared.gone)
        return prepared.entry._replace(name=segment.name)

    with closing(Server(address)) as server:
        owner = owner_of(folder, address, server)
        origin = Origin.of(prepared, previous)
        manifest = publish(folder, origin, prepared, (), write, progress, prepared.manifest.store)
        _settle(folder, address, server, owner, name)
        return manifest


def tidy(folder: Path) -> None:
    """Remove from the server what killed writes have left, and let the alias stand for the live collection.

    folder: of the index; the caller holds its writer lock.
    Raises RemoteError, StorageError, CorruptError.
    """
    with RemoteIndex.open(folder) as live:
        address, name = _place(live)
        with closing(Server(address)) as server:
            _remove_leftovers(server.collection(name), live)
            settle(folder, address, server, owner_of(folder, address, server), name)


def _change(
    folder: Path,
    base: RemoteIndex,
    origin: Origin,
    gone: Rows,
    staging: Staging | None,
    words: WordEncoder | None,
    progress: Progress,
) -> Manifest:
    address, name = _place(base)
    encoder = words if base.entry.word_width else None
    if base.entry.word_width and staging is not None and staging.count and encoder is None:
        raise InputError("the index has the words of its documents; give those of new ones too", path=folder)
    with closing(Server(address)) as server:
        collection, old = server.collection(name), base.entry
        owner = owner_of(folder, address, server)
        _remove_leftovers(collection, base)

        def write(segment: Path) -> SegmentEntry:
            entry = old._replace(name=segment.name, deleted=old.deleted + len(gone))
            if staging is None or not staging.count:
                _share_segment(base, segment, gone)
                return entry
            counted = _counted(staging, encoder, base.has_queries, progress)
            documents, tokens = old.documents + counted.documents, old.words + counted.tokens
            average = tokens / documents
            numbering = _write_segment(segment, base, counted, gone, average, encoder, base.has_queries)
            added = _upload(collection, staging, old.vectors, numbering, progress)
            _check(collection, old.vectors, added)
            return entry._replace(documents=documents, vectors=old.vectors + added, words=tokens)

        manifest = publish(folder, origin, base, (), write, progress, base.manifest.store)
        with suppress(RemoteError):  # it is published, and the next writer removes them
            _remove(collection, gone)
        _settle(folder, address, server, owner, name)
        return manifest


def _place(index: RemoteIndex) -> tuple[Address, str]:
    """The address of an index, and the name of its collection."""
    store = index.manifest.store
    return Address.parse(str(store["address"])), str(store["collection"])


def _settle(folder: Path, address: Address, server: Server, owner: str, name: str) -> None:
    """Call `settle`. What fails here, after publication, is left to the next writer."""
    with suppress(RemoteError):
        settle(folder, address, server, owner, name)


def _remove_leftovers(collection: Collection, base: RemoteIndex) -> None:
    """Remove the rows of an addition that was not published, and those that this generation deleted."""
    collection.delete(f"number >= {base.entry.vectors}")
    _remove(collection, base.gone)


def _remove(collection: Collection, rows: Rows) -> None:
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        collection.delete(f"row in {rows[start : start + _ROWS_AT_ONCE].tolist()}")


def _counted(staging: Staging, words: WordEncoder | None, queries: bool, progress: Progress) -> _Counted:
    df: Counter[str] = Counter()
    fields: set[str] = set()
    distinct: dict[str, None] = {}
    documents = tokens = 0
    for documents, document in enumerate(staging.documents, 1):
        texts = texts_of(document, words, queries)
        terms = lexical_tokens(texts.joined())
        tokens += len(terms)
        df.update(set(terms))
        fields.update(name for name, _ in leaves(document.metadata))
        for part in words.distinct_words(texts) if words else ():
            distinct.update(dict.fromkeys(part))
        if documents % _ROWS_AT_ONCE == 0:
            progress("words", documents, staging.count)
    return _Counted(documents, tokens, df, fields, distinct)


def _write_segment(
    segment: Path,
    base: RemoteIndex | None,
    counted: _Counted,
    gone: Rows,
    average: float,
    words: WordEncoder | None,
    queries: bool,
) -> Numbering:
    """The folder's part of the segment; returns what the new documents are stored by."""
    with storing(segment):
        segment.mkdir()
    _write_gone(segment, gone)
    statistics = None if base is None else base.segment / STATISTICS
    terms = write_statistics(segment / STATISTICS, statistics, counted.df, counted.fields)
    if words is None:
        return Numbering(terms, average, {}, None, queries)
    before = None if base is None else base.segment / WORDS
    numbers = write_words(segment / WORDS, before, list(counted.words), words)
    return Numbering(terms, average, numbers, words, queries)


def _share_segment(base: RemoteIndex, segment: Path, gone: Rows) -> None:
    """The folder's part of a segment without new documents."""
    words = [f"{WORDS}/{name}" for name in FILES] if base.entry.word_width else []
    share(base.segment, segment, [STATISTICS, *words])
    _write_gone(segment, gone)


def _write_gone(segment: Path, gone: Rows) -> None:
    with storing(segment), create_durably(segment / GONE) as file:
        file.write(gone.astype("<i8").tobytes())


def _upload(
    collection: Collection,
    staging: Staging,
    first: int,
    numbering: Numbering,
    progress: Progress,
) -> int:
    """Send all staged documents; returns the number of their rows. first: the number of the first row."""
    sent = 0
    for rows in _batches(_rows(staging, first, numbering)):
        collection.insert(rows)
        sent += len(rows)
        progress("uploading", sent, staging.passage_count)
    return sent


def _rows(staging: Staging, first: int, numbering: Numbering) -> Iterator[Row]:
    documents, vectors = iter(staging.documents), _vectors(staging)
    start = 0
    for table in staging.passages():
        ends = np.flatnonzero(np.diff(table[:, 0], append=-1)) + 1  # of each document
        # The parts first: `zip` takes from a later iterator only when the one before has more.
        for spans, document in zip(np.split(table[:, 1:], ends[:-1]), documents, strict=False):
            end = start + len(spans)
            yield from rows_of_document(document, spans, vectors[start:end], first + start, numbering)
            start = end


def _batches(rows: Iterator[Row]) -> Iterator[list[Row]]:
    batch: list[Row] = []
    size = 0
    for row in rows:
        batch.append(row)
        size += 4 * len(row["text"]) + 4 * len(row["metadata"]) + row["dense"].nbytes
        if len(batch) >= _ROWS_AT_ONCE or size >= _BYTES_AT_ONCE:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _vectors(staging: Staging) -> NDArray[np.float16]:
    """The staged vectors, mapped, float16 (n, dimension)."""
    shape = (staging.passage_count, staging.plan.dimension)
    return np.memmap(staging.vectors, "<f2", "r", shape=shape)


def _check(collection: Collection, first: int, expected: int) -> None:
    """Raise RemoteError unless the server shows all rows from a number on, as many as were sent."""
    found = collection.count(f"number >= {first}")
    if found != expected:
        raise RemoteError(f"{collection.name}: holds {found:,} of {expected:,} new passages; write again")
