"""Search of an open index in three modes: dense (cosine of embeddings), lexical (BM25), hybrid (both, fused).

In: an index folder, which holds its model, and queries. Out: hits. Imports no torch. Knows nothing of how an
index is written.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from index.disk.folder import read_current
from index.documents.filters import Filter
from index.documents.parse import parse_field, parse_filters
from index.documents.store import Document
from index.errors import InputError
from index.locks import ProcessLock
from index.phases import phase
from index.ranking import Ranking
from index.reader import Index
from index.values import Vectors
from retrieval.model.folder import read_model_of
from retrieval.search.facets import MOST_VALUES, FacetValue, count_values
from retrieval.search.fusion import fuse
from retrieval.search.grouping import best_of_each
from retrieval.search.paging import deepen
from retrieval.search.passages import Passage, lexical_span, passage_of

Mode = Literal["dense", "lexical", "hybrid"]
MODES: tuple[Mode, ...] = get_args(Mode)

# A filter as a text or a tree, or several that must all hold.
Where: TypeAlias = str | Filter | Sequence[str | Filter]

# The first depth of the two rankings that hybrid search fuses, and of a search of compressed vectors; see
# retrieval/search/paging.py for the next ones.
_FUSION_DEPTH = 100
_SCAN_DEPTH = 10


@dataclass(frozen=True, slots=True)
class Hit:
    """A document that a search found."""

    rank: int  # from 1
    id: str  # of the document
    score: float  # higher is better; comparable within one search only
    title: str
    text: str
    # The part of a long document that answers best; None if the document was not split.
    passage: Passage | None = None


class Retriever:
    """An open index and its query tower. Safe for use from several threads.

    >>> with Retriever.open("my.index") as retriever:                          # doctest: +SKIP
    ...     hits = retriever.search("list files by size", k=10, where="lang = en")
    """

    def __init__(self, index: Index, kept_bytes: int = 0) -> None:
        self._kept_bytes = kept_bytes
        self._opened = _Opened(index, None, kept_bytes)
        self._lock = ProcessLock()

    @classmethod
    def open(cls, folder: Path | str, *, checksums: bool = False, kept_bytes: int = 0) -> Self:
        """Open an index folder. Raises what `Index.open` and `read_model` raise.

        checksums: read every byte first and compare it with its checksum.
        kept_bytes: memory for converted vectors, with which exact search is faster; see `Index.keep_vectors`.
        """
        return cls(Index.open(Path(folder), checksums=checksums), kept_bytes)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __contains__(self, document_id: object) -> bool:
        """Whether the index holds a document of this id."""
        with self._using() as opened:
            return isinstance(document_id, str) and opened.index.row_of(document_id) is not None

    @property
    def index(self) -> Index:
        """The generation that is searched now."""
        return self._opened.index

    def refresh(self) -> bool:
        """Open the generation that is live now, if it is not the open one, and return whether it is another.

        Searches under way finish in the generation that they started with. Raises what `open` raises; the old
        generation then stays open.
        """
        old = self._opened
        folder = old.index.folder
        # Names are not enough: a folder that was built anew or swapped begins with the same ones.
        if read_current(folder) == old.index.pointer:
            return False
        fresh = _Opened(Index.open(folder), old.tower, self._kept_bytes)
        with self._lock:
            old, self._opened = self._opened, fresh
        old.retire()
        return True

    def close(self) -> None:
        """Close the index; closing twice is harmless."""
        self._opened.retire()

    @contextmanager
    def pinned(self) -> Iterator[Self]:
        """The generation that is open now, as a retriever that a refresh does not change. Do not close it."""
        with self._using() as opened:
            view = type(self).__new__(type(self))
            view._opened, view._lock = opened, ProcessLock()
            yield view

    def encode(self, queries: Sequence[str]) -> NDArray[np.float32]:
        """The embeddings of n queries, float32 (n, dimension), unit length."""
        with self._using() as opened:
            return opened.tower.encode(queries)

    def search(
        self,
        query: str,
        k: int = 10,
        mode: Mode = "hybrid",
        where: Where = (),
        *,
        offset: int = 0,
        per: str | None = None,
    ) -> list[Hit]:
        """The k best documents for a query, best first; fewer if the corpus has fewer.

        query: text, more than white space.
        k: the number of hits, from 1.
        mode: "dense", "lexical" (only documents that share a word with the query) or "hybrid".
        where: a filter on the metadata such as "lang = en and year >= 2020" (index/documents/parse.py), or
            several; a document must meet all of them.
        offset: best documents that are left out; the first hit has the rank offset + 1. Pages of any size
            together are what one search for all of them gives.
        per: a metadata field; no two hits share a value of it. Documents without the field are all found.
        Raises InputError for an empty query, a k below 1, an offset below 0, an unknown mode, and a filter
        that cannot be parsed or names a field that no document has.
        """
        return self.search_all([query], k, mode, where, offset=offset, per=per)[0]

    def search_all(
        self,
        queries: Sequence[str],
        k: int = 10,
        mode: Mode = "hybrid",
        where: Where = (),
        *,
        offset: int = 0,
        per: str | None = None,
    ) -> list[list[Hit]]:
        """`search` for several queries at once; returns the hits of each query, in order."""
        _check_queries(queries)
        with self._using() as opened:
            embeddings = opened.embeddings(queries, mode)
            ranking = opened.page(queries, embeddings, k, mode, where, offset, per)
            with phase("documents"):
                return [
                    opened.hits(
                        query, None if embeddings is None else embeddings[number], scores, rows, offset
                    )
                    for number, (query, scores, rows) in enumerate(zip(queries, *ranking, strict=True))
                ]

    def facets(
        self,
        query: str,
        fields: Sequence[str],
        mode: Mode = "hybrid",
        where: Where = (),
        *,
        most: int = MOST_VALUES,
    ) -> dict[str, list[FacetValue]]:
        """How many of all documents that a search can find have each value of some metadata fields.

        That is how many hits the search has with a k without limit: in mode "lexical" documents that meet the
        filter and share a word with the query, in the others all documents that meet the filter.

        query, mode, where: as for `search`.
        fields: names of fields, as in a filter.
        most: values of a field, the most frequent first.
        Returns the values by field. Raises what `search` raises.
        """
        _check_queries([query])
        _check_mode(mode)
        with self._using() as opened:
            masks = opened.index.matching(parse_filters(where), query if mode == "lexical" else None)
            return {field: count_values(opened.index, field, masks, most) for field in fields}

    def rank(self, queries: Sequence[str], k: int, mode: Mode, where: Where = ()) -> Ranking:
        """The k best documents as scores and rows of the index; parameters and errors as for `search`.

        Returns float32 and int64 (n, at most k), row -1 where there are fewer documents.
        """
        with self._using() as opened:
            return opened.rank(queries, opened.embeddings(queries, mode), k, mode, where)

    @contextmanager
    def _using(self) -> Iterator[_Opened]:
        with self._lock:
            opened = self._opened
            opened.hold()
        try:
            yield opened
        finally:
            opened.release()


class _Tower:
    """A query tower that threads can share: it encodes for one thread at a time."""

    def __init__(self, index: Index) -> None:
        model = read_model_of(index)
        if model.config.dimension != index.dimension:
            raise InputError(
                "the model's dimension is not the index's; build the index again", path=index.model_folder
            )
        self.fingerprint = index.manifest.model_fingerprint
        self.dense_share = model.config.dense_share
        self._encoder = model.encoder("query")
        self._lock = ProcessLock()

    def encode(self, queries: Sequence[str]) -> NDArray[np.float32]:
        with self._lock:
            return self._encoder.encode(queries)


class _Opened:
    """A generation and its query tower; the generation is closed once it is retired and no search uses it."""

    def __init__(self, index: Index, old_tower: _Tower | None, kept_bytes: int) -> None:
        """old_tower: used again if it is of the same model, because it has many words in its cache."""
        self.index = index
        try:
            index.keep_vectors(kept_bytes)
            same = old_tower is not None and old_tower.fingerprint == index.manifest.model_fingerprint
            self.tower = old_tower if old_tower is not None and same else _Tower(index)
        except BaseException:
            index.close()
            raise
        self._lock = ProcessLock()
        self._searches = 0
        self._retired = False

    def hold(self) -> None:
        with self._lock:
            self._searches += 1

    def release(self) -> None:
        with self._lock:
            self._searches -= 1
            self._close_if_done()

    def retire(self) -> None:
        if not self._lock.is_own():
            return  # a forked process ends with what it inherited
        with self._lock:
            self._retired = True
            self._close_if_done()

    def _close_if_done(self) -> None:
        if self._retired and not self._searches:
            self.index.close()

    def embeddings(self, queries: Sequence[str], mode: Mode) -> Vectors | None:
        """The embeddings of the queries; None if the mode needs none."""
        _check_mode(mode)
        return None if mode == "lexical" else self.tower.encode(queries)

    def page(
        self,
        queries: Sequence[str],
        embeddings: Vectors | None,
        k: int,
        mode: Mode,
        where: Where,
        offset: int,
        per: str | None,
    ) -> Ranking:
        """The documents of the ranks from offset + 1; parameters as for `Retriever.search`."""
        if k < 1:
            raise InputError(f"k must be at least 1, not {k}")
        if offset < 0:
            raise InputError(f"offset must be at least 0, not {offset}")
        last = min(offset + k, max(1, self.index.count))
        if per is None:
            ranking = self.rank(queries, embeddings, last, mode, where)
        else:
            field = parse_field(per)
            ranking = best_of_each(
                lambda depth: self.rank(queries, embeddings, depth, mode, where),
                lambda rows: self.index.values_of(field, rows),
                last,
                max(1, self.index.count),
            )
        return Ranking(ranking.scores[:, offset:last], ranking.rows[:, offset:last])

    def rank(
        self, queries: Sequence[str], embeddings: Vectors | None, k: int, mode: Mode, where: Where
    ) -> Ranking:
        if k < 1:
            raise InputError(f"k must be at least 1, not {k}")
        count = max(1, self.index.count)
        k = min(k, count)  # memory must not grow with a k that no index can fill
        conditions = parse_filters(where)
        if embeddings is None:
            return self._lexical(queries, k, conditions)
        if mode == "dense":
            if self.index.is_exact(conditions):
                return self._dense(embeddings, k, conditions)
            return deepen(lambda depth, _: self._dense(embeddings, depth, conditions), k, _SCAN_DEPTH, count)

        def fused(depth: int, level: int) -> Ranking:
            """All documents of both rankings; scores 0 to 1, and 1 lower in each next level."""
            dense = self._dense(embeddings, depth, conditions)
            lexical = self._lexical(queries, depth, conditions)
            with phase("fuse"):
                ranking = fuse(dense, lexical, min(2 * depth, count), self.tower.dense_share)
            return Ranking(ranking.scores - np.float32(level), ranking.rows)

        return deepen(fused, k, _FUSION_DEPTH, count)

    def _dense(self, embeddings: Vectors, k: int, where: Sequence[Filter]) -> Ranking:
        with phase("dense"):
            return self.index.search_dense(embeddings, k, where)

    def _lexical(self, queries: Sequence[str], k: int, where: Sequence[Filter]) -> Ranking:
        with phase("lexical"):
            return self.index.search_lexical(queries, k, where)

    def hits(
        self,
        query: str,
        embedding: NDArray[np.float32] | None,
        scores: NDArray[np.float32],
        rows: NDArray[np.int64],
        offset: int,
    ) -> list[Hit]:
        """The documents of a ranking of one query, each with its best passage.

        query: its text.
        embedding: float32 (dimension,), of the query; None to choose passages by their words.
        scores: float32 (k,).
        rows: int64 (k,), -1 where there are no more documents.
        offset: how many better documents there are.
        """
        ranked = rows[rows >= 0].tolist()
        documents = self.index.texts(ranked)
        return [
            Hit(
                rank,
                document.id,
                score,
                document.title,
                document.text,
                self._passage(query, embedding, row, document),
            )
            for rank, (score, row, document) in enumerate(
                zip(scores.tolist(), ranked, documents, strict=False), offset + 1
            )
        ]

    def _passage(
        self, query: str, embedding: NDArray[np.float32] | None, row: int, document: Document
    ) -> Passage | None:
        if embedding is not None:
            span = self.index.nearest_span(row, embedding)
        else:
            spans = self.index.spans(row)
            span = lexical_span(spans, document.text, query) if spans else None
        return None if span is None else passage_of(document, span)


def _check_mode(mode: str) -> None:
    if mode not in MODES:
        raise InputError(f"mode must be one of {', '.join(MODES)}, not {mode!r}")


def _check_queries(queries: Sequence[str]) -> None:
    for query in queries:
        if not query.strip():
            raise InputError("the query is empty; give at least one word")
