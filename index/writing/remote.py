"""Writing of an index whose vectors live in Milvus: builds, additions and deletions.

In: the documents of a finished staging folder; rows to delete. Out: the manifest of the published generation.

A build fills a new collection, COLLECTION_OWNER_NUMBER; an addition appends rows with numbers that no
published generation has. Both become live when CURRENT is renamed, as in a local index. Only then rows and
collections that no generation of the folder names are removed, and the alias COLLECTION, for people who look
at the server, is moved. Killed anywhere, the published generation is whole, and the next writer removes what
was left.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from index.dense.tuning import Goal
from index.disk.files import storing
from index.disk.folder import is_index, next_generation, read_current
from index.disk.manifest import MANIFEST, Manifest, SegmentEntry
from index.disk.opening import create, read_file
from index.documents.attributes import leaves
from index.errors import CorruptError, FormatVersionError, InputError, PeepholeError, RemoteError
from index.lexical.postings import BM25_SETTINGS
from index.lexical.tokens import lexical_tokens
from index.remote.address import Address
from index.remote.client import Collection, Row, Server
from index.remote.reader import GONE, KIND, STATISTICS, RemoteIndex
from index.remote.rows import rows_of_document, words_of
from index.remote.terms import write_statistics
from index.remote.tuning import tune
from index.values import Progress, Rows, Scalar, Vectors, no_progress
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


def claim(folder: Path, address: Address) -> None:
    """Raise InputError unless an index in this folder may have the name; RemoteError without a server."""
    with closing(Server(address)) as server:
        _owner(folder, address, server)


def build_remote(
    folder: Path,
    origin: Origin,
    address: Address,
    staging: Staging,
    queries: Vectors | None,
    progress: Progress,
) -> Manifest:
    """Fill a new collection with the staged documents and publish it as the next generation.

    folder: of the index; the caller holds its writer lock.
    origin: what the generation is made from.
    address: the server and the name of the collection.
    staging: the documents, at least one.
    queries: unit vectors to tune by; None if there are none.
    progress: called during every stage.
    Raises RemoteError, StorageError, InputError for a name that another index has and a goal that is not met.
    """
    with closing(Server(address)) as server:
        owner = _owner(folder, address, server)
        _sweep(folder, address, server, owner)
        name = f"{address.name}_{owner}_{next_generation(folder).removeprefix('generation-')}"
        collection = server.collection(name)

        def write(segment: Path) -> SegmentEntry:
            counted = _counted(staging, progress)
            average = counted.tokens / counted.documents
            numbers = _write_segment(segment, None, counted, _NO_ROWS)
            server.create(name, origin.dimension)
            vectors = _upload(collection, staging, 0, numbers, average, progress)
            collection.flush()
            chosen, tried = tune(collection, _vectors(staging), queries, Goal.of(origin.goal), progress)
            _check(collection, 0, vectors)
            return SegmentEntry(
                name=segment.name,
                documents=counted.documents,
                vectors=vectors,
                deleted=0,
                faiss=f"{KIND}{chosen.name}",
                parameters=chosen.parameters(),
                bm25=BM25_SETTINGS,
                words=counted.tokens,
                tried=tuple(
                    {"name": f"{KIND}{each.name}", **each.parameters(), "p50_ms": each.p50_ms}
                    for each in tried
                ),
            )

        store: dict[str, Scalar] = {"address": str(address), "collection": name}
        try:
            manifest = publish(folder, origin, None, (), write, progress, store)
        except BaseException:
            with suppress(PeepholeError):
                if name not in _named(folder):
                    server.drop(name)
            raise
        _settle(folder, address, server, name, owner)
        return manifest


def add_remote(folder: Path, live: RemoteIndex, staging: Staging, gone: Rows, progress: Progress) -> Manifest:
    """Append the staged documents, which replace those with the same ids, and publish; closes the open index.

    folder: of the index; the caller holds its writer lock.
    live: the live generation.
    staging: the documents, none or more.
    gone: rows of documents to delete in the same step.
    progress: called during every stage.
    Raises RemoteError, StorageError. The live generation then stays as it is.
    """
    replaced = [row for ids in staging.documents.ids() for row in live.rows_of(ids).values()]
    return _change(folder, live, np.union1d(np.array(replaced, np.int64), gone), staging, progress)


def delete_remote(folder: Path, live: RemoteIndex, rows: Rows) -> Manifest:
    """Delete the documents of these rows and publish; closes the open index. Raises as `add_remote` does."""
    return _change(folder, live, rows, None, no_progress)


def _change(
    folder: Path, live: RemoteIndex, gone: Rows, staging: Staging | None, progress: Progress
) -> Manifest:
    store = live.manifest.store
    address, name = Address.parse(str(store["address"])), str(store["collection"])
    with closing(Server(address)) as server:
        collection, old = server.collection(name), live.entry
        owner = _owner(folder, address, server)
        collection.delete(f"number >= {old.vectors}")  # of an addition that was not published
        _remove(collection, live.gone)

        def write(segment: Path) -> SegmentEntry:
            counted = _NOTHING if staging is None else _counted(staging, progress)
            documents, words = old.documents + counted.documents, old.words + counted.tokens
            numbers = _write_segment(segment, live.statistics_path, counted, gone)
            added = 0
            if staging is not None and counted.documents:
                average = words / documents
                added = _upload(collection, staging, old.vectors, numbers, average, progress)
                _check(collection, old.vectors, added)
            return old._replace(
                name=segment.name,
                documents=documents,
                vectors=old.vectors + added,
                deleted=old.deleted + len(gone),
                words=words,
            )

        manifest = publish(folder, Origin.of(live), live, (), write, progress, store)
        with suppress(RemoteError):  # it is published, and the next writer removes them
            _remove(collection, gone)
        _settle(folder, address, server, name, owner)
        return manifest


_NOTHING = _Counted(0, 0, Counter(), set())


def _settle(folder: Path, address: Address, server: Server, name: str, owner: str) -> None:
    """Move the alias and remove what no generation needs; what fails is left to the next writer."""
    with suppress(RemoteError):
        if server.target_of(address.name) != name:
            server.point(address.name, name)
        _sweep(folder, address, server, owner)


def _remove(collection: Collection, rows: Rows) -> None:
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        collection.delete(f"row in {rows[start : start + _ROWS_AT_ONCE].tolist()}")


def _counted(staging: Staging, progress: Progress) -> _Counted:
    df: Counter[str] = Counter()
    fields: set[str] = set()
    documents = tokens = 0
    for documents, document in enumerate(staging.documents, 1):
        terms = lexical_tokens(words_of(document))
        tokens += len(terms)
        df.update(set(terms))
        fields.update(name for name, _ in leaves(document.metadata))
        if documents % _ROWS_AT_ONCE == 0:
            progress("words", documents, staging.count)
    return _Counted(documents, tokens, df, fields)


def _write_segment(segment: Path, base: Path | None, counted: _Counted, gone: Rows) -> dict[str, int]:
    """The folder's part of the segment; returns the numbers of the new documents' terms."""
    with storing(segment):
        segment.mkdir()
        with create(segment / GONE) as file:
            file.write(gone.astype("<i8").tobytes())
            file.flush()
            os.fsync(file.fileno())
    return write_statistics(segment / STATISTICS, base, counted.df, counted.fields)


def _upload(
    collection: Collection,
    staging: Staging,
    first: int,
    numbers: dict[str, int],
    average: float,
    progress: Progress,
) -> int:
    """Send all staged documents; returns the number of their rows. first: the number of the first row."""
    sent = 0
    for rows in _batches(_rows(staging, first, numbers, average)):
        collection.insert(rows)
        sent += len(rows)
        progress("uploading", sent, len(staging.passages()) if sent == len(rows) else None)
    return sent


def _rows(staging: Staging, first: int, numbers: dict[str, int], average: float) -> Iterator[Row]:
    table, vectors = staging.passages(), _vectors(staging)
    starts = np.searchsorted(table[:, 0], np.arange(staging.count + 1)).tolist()
    for document, start, end in zip(staging.documents, starts, starts[1:], strict=False):
        spans = table[start:end, 1:]
        yield from rows_of_document(document, spans, vectors[start:end], first + start, numbers, average)


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
    shape = (len(staging.passages()), staging.plan.dimension)
    return np.memmap(staging.vectors, "<f2", "r", shape=shape)


def _check(collection: Collection, first: int, expected: int) -> None:
    """Raise RemoteError unless the server shows all rows from a number on, as many as were sent."""
    found = collection.count(f"number >= {first}")
    if found != expected:
        raise RemoteError(f"{collection.name}: holds {found:,} of {expected:,} new passages; write again")


def _owner(folder: Path, address: Address, server: Server) -> str:
    """The mark of an index's collections; a new one for a new index.

    Raises InputError if the name belongs to another index, or to a collection that is not ours.
    """
    own = {match[1] for name in _named(folder) if (match := _pattern(address).fullmatch(name))}
    if address.name in server.collections():
        raise InputError(f"{address}: a collection that peephole did not make; choose another name")
    target = server.target_of(address.name)
    match = None if target is None else _pattern(address).fullmatch(target)
    if target is not None and (match is None or match[1] not in own):
        raise InputError(
            f"{address}: belongs to another index, or to one whose folder was removed; choose another name, "
            f"or remove the alias {address.name} and the collection {target} from the server"
        )
    return min(own) if own else os.urandom(4).hex()


def _sweep(folder: Path, address: Address, server: Server, owner: str) -> None:
    """Remove the collections of this index, and of killed first builds, that no generation names."""
    named = _named(folder)
    target = server.target_of(address.name)
    for name in server.collections():
        match = _pattern(address).fullmatch(name)
        if match and name not in named and name != target and (match[1] == owner or target is None):
            server.drop(name)


def _pattern(address: Address) -> re.Pattern[str]:
    return re.compile(rf"{re.escape(address.name)}_([0-9a-f]{{8}})_[0-9]{{6,}}")


def _named(folder: Path) -> set[str]:
    """The collections that the generations in a folder name, live or held by a reader."""
    if not is_index(folder):
        return set()
    names = set()
    live = read_current(folder).generation
    for path in folder.glob(f"generation-*/{MANIFEST}"):
        try:
            store = Manifest.from_json(read_file(path)).store
        except (OSError, CorruptError, FormatVersionError):
            if path.parent.name == live:
                raise
            continue
        names.add(str(store.get("collection", "")))
    return names
