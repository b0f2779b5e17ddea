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
from typing import Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray

from index.disk.folder import read_current
from index.documents.filters import Condition, parse_condition
from index.documents.store import Document
from index.errors import InputError
from index.locks import ProcessLock
from index.ranking import Ranking
from index.reader import Index
from index.values import Vectors
from retrieval.model.folder import read_model_of
from retrieval.search.fusion import fuse
from retrieval.search.passages import Passage, lexical_span, passage_of

Mode = Literal["dense", "lexical", "hybrid"]
MODES: tuple[Mode, ...] = get_args(Mode)

# The least depth of the two rankings that hybrid search fuses.
_FUSION_DEPTH = 100


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
    ...     hits = retriever.search("list files by size", k=10, where=["lang=en"])
    """

    def __init__(self, index: Index) -> None:
        self._opened = _Opened(index)
        self._lock = ProcessLock()

    @classmethod
    def open(cls, folder: Path | str, *, checksums: bool = False) -> Self:
        """Open an index folder. Raises what `Index.open` and `read_model` raise.

        checksums: read every byte first and compare it with its checksum.
        """
        return cls(Index.open(Path(folder), checksums=checksums))

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
        fresh = _Opened(Index.open(folder), old.tower)
        with self._lock:
            old, self._opened = self._opened, fresh
        old.retire()
        return True

    def close(self) -> None:
        """Close the index; closing twice is harmless."""
        self._opened.retire()

    def encode(self, queries: Sequence[str]) -> NDArray[np.float32]:
        """The embeddings of n queries, float32 (n, dimension), unit length."""
        with self._using() as opened:
            return opened.tower.encode(queries)

    def search(
        self, query: str, k: int = 10, mode: Mode = "hybrid", where: Sequence[str | Condition] = ()
    ) -> list[Hit]:
        """The k best documents for a query, best first; fewer if the corpus has fewer.

        query: text, more than white space.
        k: the number of hits, from 1.
        mode: "dense", "lexical" (only documents that share a word with the query) or "hybrid".
        where: conditions on the metadata such as "year>=2020"; a document must meet all of them.
        Raises InputError for an empty query, a k below 1, an unknown mode, and a condition that cannot be
        parsed or names a field that no document has.
        """
        return self.search_all([query], k, mode, where)[0]

    def search_all(
        self,
        queries: Sequence[str],
        k: int = 10,
        mode: Mode = "hybrid",
        where: Sequence[str | Condition] = (),
    ) -> list[list[Hit]]:
        """`search` for several queries at once; returns the hits of each query, in order."""
        for query in queries:
            if not query.strip():
                raise InputError("the query is empty; give at least one word")
        with self._using() as opened:
            embeddings = opened.embeddings(queries, mode)
            ranking = opened.rank(queries, embeddings, k, mode, where)
            return [
                opened.hits(query, None if embeddings is None else embeddings[number], scores, rows)
                for number, (query, scores, rows) in enumerate(zip(queries, *ranking, strict=True))
            ]

    def rank(
        self, queries: Sequence[str], k: int, mode: Mode, where: Sequence[str | Condition] = ()
    ) -> Ranking:
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

    def __init__(self, index: Index, old_tower: _Tower | None = None) -> None:
        """old_tower: used again if it is of the same model, because it has many words in its cache."""
        self.index = index
        try:
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
        if mode not in MODES:
            raise InputError(f"mode must be one of {', '.join(MODES)}, not {mode!r}")
        return None if mode == "lexical" else self.tower.encode(queries)

    def rank(
        self,
        queries: Sequence[str],
        embeddings: Vectors | None,
        k: int,
        mode: Mode,
        where: Sequence[str | Condition],
    ) -> Ranking:
        if k < 1:
            raise InputError(f"k must be at least 1, not {k}")
        k = min(k, max(1, self.index.count))  # memory must not grow with a k that no index can fill
        conditions = [parse_condition(part) if isinstance(part, str) else part for part in where]
        if embeddings is None:
            return self.index.search_lexical(queries, k, conditions)
        if mode == "dense":
            return self.index.search_dense(embeddings, k, conditions)
        depth = max(k, _FUSION_DEPTH)
        dense = self.index.search_dense(embeddings, depth, conditions)
        lexical = self.index.search_lexical(queries, depth, conditions)
        return fuse(dense, lexical, k, self.tower.dense_share)

    def hits(
        self,
        query: str,
        embedding: NDArray[np.float32] | None,
        scores: NDArray[np.float32],
        rows: NDArray[np.int64],
    ) -> list[Hit]:
        """The documents of a ranking of one query, each with its best passage."""
        ranked = rows[rows >= 0].tolist()
        documents = self.index.documents(ranked)
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
                zip(scores.tolist(), ranked, documents, strict=False), 1
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
