"""RemoteIndex: an open generation whose vectors, documents and postings live in Milvus, read-only.

In: query vectors or texts; rows. Out: rankings of rows; documents: `index.protocol.OpenIndex`. The folder
holds the manifest, the model, the statistics of BM25 and the vectors of distinct words. Knows nothing of
models or text encoding.

A row of the collection is a passage. Passages are numbered in the order in which they are written; a
document's row is the number of its first passage, which also holds its title, its metadata and its postings.
The text is cut at the beginnings of the passages, a piece in each.

A generation consists of the passages with numbers below the manifest's count, without those of the documents
whose rows are in `gone.i64`. So what a writer adds is not seen before it is published, all of it or nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from index.dense.passages import Span
from index.disk.folder import Pointer, open_live
from index.disk.manifest import Manifest, SegmentEntry
from index.disk.opening import read_file
from index.disk.previous import read_previous
from index.documents.store import Document
from index.errors import CorruptError, FormatVersionError, InputError
from index.held import HeldGeneration, holding
from index.interaction.matches import Matches
from index.interaction.words import WordTable
from index.lexical.bm25 import BM25_SETTINGS, WordMatch
from index.lexical.similar import SimilarTerms
from index.locks import ProcessLock
from index.ranking import Ranking, empty_ranking
from index.remote.address import Address
from index.remote.client import MOST_RESULTS, Row, Server
from index.remote.documents import FIRST, Documents, in_parts, key_of
from index.remote.evidence import Evidence
from index.remote.nearest import nearest
from index.remote.rankings import TIES, Found, add_passages, best_documents, best_rows
from index.remote.terms import UNUSED, Statistics
from index.values import Mask, Rows, Vectors

if TYPE_CHECKING:
    from index.documents.columns import Column
    from index.documents.filtering.expression import Expression, Field
    from index.documents.numbers import Attribute

STATISTICS = "statistics.sqlite"
WORDS = "words"
GONE = "gone.i64"
# The prefix of the kind of the server's index in a manifest.
KIND = "Milvus "
FLAT_KIND = f"{KIND}FLAT"
# The names of search parameters, one for each kind of the server's index that has any.
_PARAMETERS = ("ef", "nprobe", "search_list")

# Fields whose values are kept in memory.
_KEPT_COLUMNS = 8


class RemoteIndex(HeldGeneration):
    """An open generation in Milvus. `index.reader.Index` says what each method does.

    entry: the one segment of the manifest, which stands for all rows of the collection.
    segment: its folder.
    gone: int64, ascending; rows of documents that are deleted though the server may still have them.
    has_queries: whether the collection has known queries, which those of earlier versions have not.
    """

    waits = True

    def __init__(
        self,
        folder: Path,
        pointer: Pointer,
        manifest: Manifest,
        server: Server,
        opened: ExitStack,
    ) -> None:
        """Use `open` instead. opened: what `close` closes; it stays the caller's if this fails."""
        super().__init__(folder, pointer, manifest, opened)
        self.entry = entry_of(manifest)
        self.segment = folder / pointer.generation / self.entry.name
        self.gone = read_gone(self.segment / GONE)
        self.collection = server.collection(str(manifest.store["collection"]))
        self._statistics = Statistics(self.segment / STATISTICS, self.entry.documents)
        opened.callback(self._statistics.close)
        self._parameters = {
            name: int(value or 0) for name, value in self.entry.parameters.items() if name in _PARAMETERS
        }
        self._columns: dict[tuple[str, ...], Column] = {}
        self._columns_lock = ProcessLock()
        self._own_process = ProcessLock()
        self._live = self._visible()
        width, split = self.entry.word_width, self.entry.vectors > self.entry.documents
        words = WordTable(self.segment / WORDS, width) if width else None
        self.has_queries = bool(manifest.store.get("known_queries"))
        address = str(manifest.store["address"])
        self._documents = Documents(
            self.collection, self._live, self.entry.vectors, address, queries=self.has_queries
        )
        self._evidence = Evidence(
            self.collection, self._live, self._statistics, words, queries=self.has_queries, split=split
        )
        self._opened = opened.pop_all()

    @classmethod
    def open(cls, folder: Path, *, checksums: bool = False) -> RemoteIndex:
        """Open the live generation. checksums: compare every byte of the folder first.

        Raises what `Index.open` raises, RemoteError, MissingExtraError.
        """
        return open_live(folder, lambda pointer: _open(folder, pointer, checksums))

    @classmethod
    def open_kept(cls, folder: Path, pointer: Pointer) -> RemoteIndex:
        """See `Index.open_kept`."""
        return _open(folder, pointer, checksums=False)

    def keep_vectors(self, most_bytes: int) -> None:
        """The server keeps them. Compiled loops match words, as in an `Index`."""
        if most_bytes:
            self._evidence.compile()

    def search_dense(
        self, queries: Vectors, k: int, where: Sequence[Expression] = (), *, model: str | None = None
    ) -> Ranking:
        """See `Index.search_dense`. With a filter, too, the server's index is searched."""
        queries, k = self._checked(queries, model), self._depth(k)
        within = self._within(where)
        if not k:
            return empty_ranking(len(queries), k)
        if self.entry.vectors == self.entry.documents:
            return best_rows(self._search_dense(queries, min(k + TIES, MOST_RESULTS), within), k)
        return best_documents(
            lambda some, depth: self._search_dense(some, depth, within), queries, k, self.entry.vectors
        )

    def search_exact(self, queries: Vectors, k: int, where: Sequence[Expression] = ()) -> Ranking:
        """See `Index.search_exact`. Unless the server's index is exact, all vectors are read from it."""
        if self.is_exact(()):
            return self.search_dense(queries, k, where)
        queries, k = self._checked(queries), self._depth(k)
        ranking = empty_ranking(len(queries), k)
        for rows in self.collection.scan(self._within(where), ["row", "dense"], self.entry.vectors):
            if rows:
                vectors = np.array([row["dense"] for row in rows], np.float32)
                add_passages(ranking, queries @ vectors.T, np.array([row["row"] for row in rows], np.int64))
        return ranking

    def search_lexical(self, queries: Sequence[str], k: int, where: Sequence[Expression] = ()) -> Ranking:
        """See `Index.search_lexical`. N and df count all documents that were written since the build."""
        k = self._depth(k)
        within = self._within(where)
        if not k:
            return empty_ranking(len(queries), k)
        weights = [self._statistics.weigh(query).terms for query in queries]
        asked = [number for number, weight in enumerate(weights) if weight]
        depth = min(k + TIES, MOST_RESULTS)
        found = self.collection.search("sparse", [weights[number] for number in asked], depth, within, {})
        ranked: Found = [[] for _ in queries]
        for number, hits in zip(asked, found, strict=True):
            ranked[number] = [(row, score) for _, row, score in hits if score > 0]
        return best_rows(ranked, k)

    def unknown_terms(self, query: str) -> tuple[str, ...]:
        """See `Index.unknown_terms`."""
        return self._statistics.weigh(query).unknown

    def documents_with(self, term: str) -> int:
        """See `Index.documents_with`."""
        return self._statistics.documents_with(term)

    def similar_terms(self, term: str) -> SimilarTerms:
        """See `Index.similar_terms`."""
        return self._statistics.similar_terms(term)

    def first_term_from(self, text: str) -> str | None:
        """See `Index.first_term_from`."""
        return self._statistics.first_term_from(text)

    def is_exact(self, where: Sequence[Expression]) -> bool:
        """Whether the server compares every vector."""
        return self.entry.faiss == FLAT_KIND

    def matching(self, where: Sequence[Expression], query: str | None = None) -> list[Mask]:
        """See `Index.matching`. There is one part, with a place for each passage."""
        mask = np.zeros(self.entry.vectors, bool)
        within = f"({self._within(where)}) and {FIRST}"
        if query is None:
            for rows in self.collection.scan(within, ["row"], self.entry.vectors):
                mask[[int(row["row"]) for row in rows]] = True
            return [mask]
        wanted = self._statistics.weigh(query).terms.keys() - {UNUSED}
        for rows in self.collection.scan(within, ["row", "sparse"], self.entry.vectors if wanted else 0):
            mask[[int(row["row"]) for row in rows if not wanted.isdisjoint(row["sparse"])]] = True
        return [mask]

    def columns(self, field: Field) -> list[Column]:
        """See `Index.columns`. All metadata is read from the server; the last fields are kept."""
        from index.documents.filtering.fields import check_field
        from index.remote.columns import column_of

        check_field(field, self._statistics.fields())
        with self._columns_lock:
            column = self._columns.pop(field.names, None)
        if column is None:
            column = column_of(self._documents.all_metadata(), field)
        with self._columns_lock:
            self._columns[field.names] = column
            while len(self._columns) > _KEPT_COLUMNS:
                del self._columns[next(iter(self._columns))]
        return [column]

    def fields_of_few_values(self, most: int) -> list[str]:
        """See `Index.fields_of_few_values`. The metadata of all documents is read from the server."""
        from index.documents.attributes import shown_name
        from index.remote.columns import few_values

        return sorted(map(shown_name, few_values(self._documents.all_metadata(), most)))

    def values_of(self, field: Field, rows: Sequence[int]) -> list[list[Attribute]]:
        """See `Index.values_of`. Only the documents of these rows are read."""
        from index.documents.filtering.fields import check_field
        from index.remote.columns import values_in

        check_field(field, self._statistics.fields())
        return [values_in(document.metadata, field) for document in self.documents(rows)]

    def documents(self, rows: Sequence[int]) -> list[Document]:
        """See `Index.documents`."""
        found = self._documents.read(rows)
        return [found[row][0] for row in rows]

    def texts(self, rows: Sequence[int]) -> list[Document]:
        """See `Index.texts`. Here the documents have their metadata too."""
        return self.documents(rows)

    def live_documents(self) -> Iterator[Document]:
        """See `Index.live_documents`."""
        return (document for document, _, _ in self.stored([]))

    def stored(self, fields: Sequence[str]) -> Iterator[tuple[Document, list[Span], list[Row]]]:
        """All documents that a search can find, by row, with their passages and other fields of these."""
        return self._documents.all(fields)

    def row_of(self, id: str) -> int | None:  # noqa: A002
        """See `Index.row_of`."""
        return self.rows_of([id]).get(id)

    def rows_of(self, ids: Sequence[str]) -> dict[str, int]:
        """See `Index.rows_of`."""
        keys = {key_of(each): each for each in ids}
        rows: dict[str, int] = {}
        for part in in_parts(list(keys)):
            listed = ", ".join(f'"{key}"' for key in part)
            for row in self.collection.query(f"({self._live}) and key in [{listed}]", ["row", "key"]):
                rows[keys[row["key"]]] = int(row["row"])
        return {each: rows[each] for each in ids if each in rows}

    def rows(self, where: Sequence[Expression] = ()) -> Rows:
        """See `Index.rows`."""
        return np.flatnonzero(self.matching(where)[0])

    def spans(self, row: int) -> list[Span]:
        """See `Index.spans`."""
        spans = self._documents.read([row])[row][1]
        return spans if len(spans) > 1 else []

    def nearest_spans(self, rows: Rows, query: NDArray[np.float32]) -> list[Span | None]:
        """See `Index.nearest_spans`."""
        split = {row: spans for row in rows.tolist() if (spans := self.spans(row))}
        vectors = self._evidence.vectors(split)
        nearest = {row: spans[int(np.argmax(vectors[row] @ query))] for row, spans in split.items()}
        return [nearest.get(row) for row in rows.tolist()]

    def prepare(self, rows: Rows) -> None:
        """Read what the next calls need to know of these documents, if it is not in memory yet."""
        self._evidence.prepare(rows)

    def cosines(self, rows: Rows, query: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Index.cosines`; the vectors are read from the server."""
        return self._evidence.cosines(rows, query)

    def match_words(self, query: str, rows: Rows) -> WordMatch:
        """See `Index.match_words`; the postings of the documents are read from the server."""
        return self._evidence.match(query, rows)

    def word_width(self) -> int:
        """See `Index.word_width`."""
        return self.entry.word_width

    def compare_words(self, rows: Rows, queries: Vectors) -> Iterator[tuple[Mask | slice, Matches]]:
        """See `Index.compare_words`; which words documents have is read from the server."""
        return self._evidence.compare(rows, queries)

    def parts(self) -> list[RemotePart]:
        """One part, of all documents."""
        return [RemotePart(self)]

    def problems(self) -> list[str]:
        """One line for each generation, live or kept, whose documents the server does not have."""
        kept = read_previous(self.folder, self.manifest)
        return [*self._lost(), *(problem for pointer in kept for problem in _kept_lost(self.folder, pointer))]

    def _lost(self) -> Iterator[str]:
        found = self.collection.count(f"({self._live}) and {FIRST}")
        if found != self.count:
            address = self.manifest.store["address"]
            yield (
                f"{address}: holds {found:,} documents of {self.generation}, {self.count:,} were published; "
                "restore them or build again"
            )

    def _visible(self) -> str:
        """The filter of this generation's rows. Rows that the server has removed meanwhile are not named."""
        visible = f"number < {self.entry.vectors}"
        still = [
            int(row["row"])
            for part in in_parts(self.gone.tolist())
            for row in self.collection.query(f"number in {part}", ["row"])
        ]
        return f"{visible} and row not in {still}" if still else visible

    def _within(self, where: Sequence[Expression]) -> str:
        """The filter of what a search may find. Raises InputError for a field that no document has."""
        with self._own_process:  # the connection does not survive a fork
            if not where:
                return self._live
        from index.documents.filtering.expression import all_of
        from index.documents.filtering.fields import check_fields
        from index.remote.conditions import filter_of

        expression, known = all_of(where), self._statistics.fields()
        check_fields(expression, known)
        return f"({self._live}) and ({filter_of(expression, known)})"

    def _depth(self, k: int) -> int:
        if k < 1:
            raise InputError(f"k must be at least 1, not {k}")
        if min(k, self.count) > MOST_RESULTS:
            raise InputError(f"Milvus gives at most {MOST_RESULTS:,} results; ask for fewer than {k:,}")
        return min(k, self.count)

    def _search_dense(self, queries: Vectors, depth: int, within: str) -> Found:
        """Rows and scores of the nearest passages; a row comes once for each of its passages."""
        kind = self.entry.faiss.removeprefix(KIND)
        found = nearest(self.collection, queries, depth, within, kind, self._parameters)
        return [[(row, score) for _, row, score in hits] for hits in found]


@dataclass(frozen=True, slots=True, eq=False)
class RemotePart:
    """All documents of an open index, as `index.protocol.Part` says."""

    index: RemoteIndex

    @property
    def count(self) -> int:
        """A place for each passage."""
        return self.index.entry.vectors

    @property
    def live(self) -> Mask:
        """The rows of documents that are not deleted, read from the server."""
        return self.index.matching(())[0]

    def rows_of(self, ids: list[str]) -> dict[str, int]:
        """The rows of live documents by document id; other ids are left out."""
        return self.index.rows_of(ids)

    def read(self, rows: list[int]) -> list[Document]:
        """The documents of these rows, in this order."""
        return self.index.documents(rows)


def entry_of(manifest: Manifest) -> SegmentEntry:
    """The one segment of an index in Milvus. Raises CorruptError, FormatVersionError."""
    store = manifest.store
    if len(manifest.segments) != 1 or not all(
        isinstance(store.get(key), str) for key in ("address", "collection")
    ):
        raise CorruptError("the manifest does not say where the index is; build it again")
    entry = manifest.segments[0]
    if entry.bm25.get("tokens") != BM25_SETTINGS["tokens"]:
        raise FormatVersionError("the index was written by a version this program does not read; build again")
    return entry


def read_gone(path: Path) -> Rows:
    """The rows of deleted documents. Raises CorruptError."""
    try:
        return np.frombuffer(read_file(path), "<i8").astype(np.int64)
    except (OSError, ValueError) as error:
        raise CorruptError(f"{path}: cannot be read ({error}); restore it or build again") from error


def _kept_lost(folder: Path, pointer: Pointer) -> Iterator[str]:
    with RemoteIndex.open_kept(folder, pointer) as kept:
        yield from kept._lost()


def _open(folder: Path, pointer: Pointer, checksums: bool) -> RemoteIndex:
    with holding(folder, pointer, checksums=checksums, elsewhere=True) as (manifest, opened):
        entry_of(manifest)
        server = Server(Address.parse(str(manifest.store["address"])))
        opened.callback(server.close)
        return RemoteIndex(folder, pointer, manifest, server, opened)
