"""Retriever: a query in, hits out. Opens an index folder with the model inside it; imports no torch.

Three modes: dense (cosine of the towers' embeddings), lexical (BM25), hybrid (both, fused).
"""

from __future__ import annotations

import threading
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
from index.errors import InputError
from index.ranking import Ranking
from index.reader import Index
from retrieval.model.folder import read_model_of
from retrieval.search.fusion import fuse

Mode = Literal["dense", "lexical", "hybrid"]
MODES: tuple[Mode, ...] = get_args(Mode)

# How deep each side of a hybrid search looks, at least: a document ranked below it by both is not found by
# fusion either.
_FUSION_DEPTH = 100


@dataclass(frozen=True, slots=True)
class Hit:
    """A document found. rank counts from 1; score: higher is better, comparable within one search only."""

    rank: int
    id: str
    score: float
    title: str
    text: str


class Retriever:
    """An open index and its query tower. Safe for use by several threads.

    >>> with Retriever.open("my.index") as retriever:                          # doctest: +SKIP
    ...     hits = retriever.search("list files by size", k=10, where=["lang=en"])
    """

    def __init__(self, index: Index) -> None:
        self._opened = _Opened(index)
        self._lock = threading.Lock()

    @classmethod
    def open(cls, folder: Path | str, *, checksums: bool = False) -> Self:
        """Open an index folder; checksums=True reads every byte first. Raises what `Index.open` and
        `read_model` raise.
        """
        return cls(Index.open(Path(folder), checksums=checksums))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __contains__(self, name: object) -> bool:
        """Whether the index holds a document of this id."""
        with self._using() as opened:
            return isinstance(name, str) and opened.index.row_of(name) is not None

    @property
    def index(self) -> Index:
        """The generation that is searched now."""
        return self._opened.index

    def refresh(self) -> bool:
        """Move on to the generation that is live now, if it is another; tells whether it was.

        Searches under way end in the generation they began with. Raises what `open` raises, and then goes on
        with the old one.
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
        """Release the index; again is harmless."""
        self._opened.retire()

    def encode(self, queries: Sequence[str]) -> NDArray[np.float32]:
        """Unit embeddings float32 (n, dimension)."""
        with self._using() as opened:
            return opened.tower.encode(queries)

    def search(
        self, query: str, k: int = 10, mode: Mode = "hybrid", where: Sequence[str | Condition] = ()
    ) -> list[Hit]:
        """The k best documents for a query, best first; fewer if the corpus has fewer or, in lexical mode,
        fewer match.

        where: conditions such as "year>=2020" that a document's metadata must meet, all of them.
        Raises InputError for a query of white space only, a k below 1, an unknown mode, a condition that is
        none or names a field that no document has.
        """
        return self.search_all([query], k, mode, where)[0]

    def search_all(
        self,
        queries: Sequence[str],
        k: int = 10,
        mode: Mode = "hybrid",
        where: Sequence[str | Condition] = (),
    ) -> list[list[Hit]]:
        """`search` for several queries at once."""
        for query in queries:
            if not query.strip():
                raise InputError("the query is empty; give at least one word")
        with self._using() as opened:
            found = opened.rank(queries, k, mode, where)
            return [_hits(opened.index, scores, rows) for scores, rows in zip(*found, strict=True)]

    def rank(
        self, queries: Sequence[str], k: int, mode: Mode, where: Sequence[str | Condition] = ()
    ) -> Ranking:
        """Scores and rows of the k best documents, float32 and int64 (n, k), row -1 where there are fewer."""
        with self._using() as opened:
            return opened.rank(queries, k, mode, where)

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
    """A query tower that threads may share: it encodes for one at a time."""

    def __init__(self, index: Index) -> None:
        model = read_model_of(index)
        if model.config.dimension != index.dimension:
            raise InputError(
                "the model's dimension is not the index's; build the index again", path=index.model_folder
            )
        self.fingerprint = index.manifest.model_fingerprint
        self.dense_share = model.config.dense_share
        self._encoder = model.encoder("query")
        self._lock = threading.Lock()

    def encode(self, queries: Sequence[str]) -> NDArray[np.float32]:
        with self._lock:
            return self._encoder.encode(queries)


class _Opened:
    """A generation and its query tower; the generation is closed once it is retired and no search uses it."""

    def __init__(self, index: Index, before: _Tower | None = None) -> None:
        """before: a tower to take over if it is of the same model, for it knows many words by now."""
        self.index = index
        try:
            same = before is not None and before.fingerprint == index.manifest.model_fingerprint
            self.tower = before if before is not None and same else _Tower(index)
        except BaseException:
            index.close()
            raise
        self._lock = threading.Lock()
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
        with self._lock:
            self._retired = True
            self._close_if_done()

    def _close_if_done(self) -> None:
        if self._retired and not self._searches:
            self.index.close()

    def rank(self, queries: Sequence[str], k: int, mode: Mode, where: Sequence[str | Condition]) -> Ranking:
        if k < 1:
            raise InputError(f"k must be at least 1, not {k}")
        if mode not in MODES:
            raise InputError(f"mode must be one of {', '.join(MODES)}, not {mode!r}")
        k = min(k, max(1, self.index.count))  # memory must not grow with a k that no index can fill
        met = [parse_condition(one) if isinstance(one, str) else one for one in where]
        if mode == "lexical":
            return self.index.search_lexical(queries, k, met)
        if mode == "dense":
            return self.index.search_dense(self.tower.encode(queries), k, met)
        depth = max(k, _FUSION_DEPTH)
        dense = self.index.search_dense(self.tower.encode(queries), depth, met)
        lexical = self.index.search_lexical(queries, depth, met)
        return fuse(dense, lexical, k, self.tower.dense_share)


def _hits(index: Index, scores: NDArray[np.float32], rows: NDArray[np.int64]) -> list[Hit]:
    documents = index.documents(rows[rows >= 0].tolist())
    return [
        Hit(rank, document.id, float(score), document.title, document.text)
        for rank, (score, document) in enumerate(zip(scores.tolist(), documents, strict=False), 1)
    ]
