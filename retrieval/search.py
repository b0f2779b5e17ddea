"""Retriever: a query in, hits out. Opens an index folder with the model inside it; imports no torch.

Three modes: dense (cosine of the towers' embeddings), lexical (BM25), hybrid (both, fused).
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray

from index.errors import InputError
from index.reader import Index, Ranking
from retrieval.fusion import fuse
from retrieval.saved import read_model

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
    ...     hits = retriever.search("list files by size", k=10)
    """

    def __init__(self, index: Index) -> None:
        model = read_model(index.model_folder)
        if model.config.dimension != index.dimension:
            raise InputError(
                "the model's dimension is not the index's; build the index again", path=index.model_folder
            )
        self.index = index
        self._encoder = model.encoder("query")
        self._dense_share = model.config.dense_share
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
        return isinstance(name, str) and self.index.row_of(name) is not None

    def close(self) -> None:
        """Release the index."""
        self.index.close()

    def encode(self, queries: Sequence[str]) -> NDArray[np.float32]:
        """Unit embeddings float32 (n, dimension)."""
        with self._lock:
            return self._encoder.encode(queries)

    def search(self, query: str, k: int = 10, mode: Mode = "hybrid") -> list[Hit]:
        """The k best documents for a query, best first; fewer if the corpus has fewer or, in lexical mode,
        fewer match.

        Raises InputError for a query of white space only, a k below 1 or an unknown mode.
        """
        return self.search_all([query], k, mode)[0]

    def search_all(self, queries: Sequence[str], k: int = 10, mode: Mode = "hybrid") -> list[list[Hit]]:
        """`search` for several queries at once."""
        for query in queries:
            if not query.strip():
                raise InputError("the query is empty; give at least one word")
        ranking = self.rank(queries, k, mode)
        return [self._hits(scores, rows) for scores, rows in zip(ranking.scores, ranking.rows, strict=True)]

    def rank(self, queries: Sequence[str], k: int, mode: Mode) -> Ranking:
        """Scores and rows of the k best documents, float32 and int64 (n, k), row -1 where there are fewer."""
        if k < 1:
            raise InputError(f"k must be at least 1, not {k}")
        if mode not in MODES:
            raise InputError(f"mode must be one of {', '.join(MODES)}, not {mode!r}")
        if mode == "lexical":
            return self.index.search_lexical(queries, k)
        if mode == "dense":
            return self.index.search_dense(self.encode(queries), k)
        depth = max(k, _FUSION_DEPTH)
        dense = self.index.search_dense(self.encode(queries), depth)
        return fuse(dense, self.index.search_lexical(queries, depth), k, self._dense_share)

    def _hits(self, scores: NDArray[np.float32], rows: NDArray[np.int64]) -> list[Hit]:
        found = rows[rows >= 0].tolist()
        documents = self.index.documents(found)
        return [
            Hit(rank, document.id, float(score), document.title, document.text)
            for rank, (score, document) in enumerate(zip(scores.tolist(), documents, strict=False), 1)
        ]
