"""Search of an open index in three modes: dense (cosine of embeddings), lexical (BM25), hybrid (both, fused).

In: an index folder, which holds its model, and queries. Out: hits. Imports no torch. Knows nothing of how an
index is written.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Never, Self

import numpy as np

from index.disk.folder import read_current
from index.errors import InputError
from index.locks import ProcessLock
from index.opened import open_index
from index.phases import phase
from index.ranking import Ranking
from index.values import Vectors
from retrieval.model.calibration import EVIDENCE, Calibration
from retrieval.search.evidence import evidence_of, known_of
from retrieval.search.generation import OpenGeneration
from retrieval.search.hits import Hit, hits_of
from retrieval.search.modes import Mode, Where, check_mode
from retrieval.search.probabilities import probabilities_of
from retrieval.search.ranking import conditions_of, page, rank
from retrieval.search.rescoring import Rescoring

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from index.protocol import OpenIndex
    from retrieval.search.facets import FacetValue


class Retriever:
    """An open index and its query tower. Safe for use from several threads.

    >>> with Retriever.open("my.index") as retriever:                          # doctest: +SKIP
    ...     hits = retriever.search("list files by size", k=10, where="lang = en")
    """

    def __init__(self, index: OpenIndex, kept_bytes: int = 0) -> None:
        self._kept_bytes = kept_bytes
        self._opened = OpenGeneration(index, None, kept_bytes)
        self._lock = ProcessLock()
        self._refreshing = ProcessLock()
        self._closed = Event()
        self._is_view = False

    @classmethod
    def open(cls, folder: Path | str, *, checksums: bool = False, kept_bytes: int = 0) -> Self:
        """Open an index folder. Raises what `open_index` and `read_model` raise.

        checksums: read every byte first and compare it with its checksum.
        kept_bytes: memory for converted vectors, with which exact search is faster; see
            `OpenIndex.keep_vectors`.
        """
        return cls(open_index(Path(folder), checksums=checksums), kept_bytes)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __reduce__(self) -> Never:
        """Raises TypeError: an open index is neither pickled nor copied."""
        raise TypeError("an open index cannot be pickled or copied; pass its folder, and open it there")

    def __contains__(self, document_id: object) -> bool:
        """Whether the index holds a document of this id."""
        with self._using() as opened:
            return isinstance(document_id, str) and opened.index.row_of(document_id) is not None

    @property
    def index(self) -> OpenIndex:
        """The generation that is searched now."""
        return self._opened.index

    @property
    def dense_share(self) -> float:
        """The weight of the dense ranking in hybrid search before it re-scores."""
        return self._opened.tower.dense_share

    @property
    def rescoring(self) -> Rescoring | None:
        """How hybrid search re-scores its candidates; None if it does not."""
        return self._opened.rescoring

    def refresh(self) -> bool:
        """Open the generation that is live now, if it is not the open one, and return whether it is another.

        Searches under way finish in the generation that they started with. A closed retriever stays closed.
        Raises what `open` raises; the old generation then stays open.
        """
        with self._refreshing:  # of two at a time, the later could bring back the older generation
            old = self._opened
            folder = old.index.folder
            # Names are not enough: a folder that was built anew or swapped begins with the same ones.
            if self._closed.is_set() or read_current(folder) == old.index.pointer:
                return False
            fresh = OpenGeneration(open_index(folder), old.tower, self._kept_bytes)
            with self._lock:
                self._opened = fresh
            old.retire()
            if self._closed.is_set():  # meanwhile
                fresh.retire()
            return not self._closed.is_set()

    def close(self) -> None:
        """Close the index; closing twice is harmless. Searches under way finish, and none begins."""
        if self._closed.is_set():
            return
        self._closed.set()  # first, so that a refresh under way closes what it opens
        self._opened.retire()

    @contextmanager
    def pinned(self) -> Iterator[Self]:
        """The generation that is open now, as a retriever that a refresh does not change.

        It stays open until the end of the with block, also if this retriever is closed. Closing it does
        nothing.
        """
        with self._using() as opened:
            view = object.__new__(type(self))
            view.__dict__.update(self.__dict__)
            view._opened, view._lock, view._closed = opened, ProcessLock(), Event()
            view._closed.set()  # so that neither `refresh` nor `close` does anything
            view._is_view = True
            yield view

    def corrected(self, query: str) -> str:
        """The query as a search reads it, misspelt words corrected; see `retrieval.search.spelling`."""
        with self._using() as opened:
            return opened.corrected(query)

    def encode(self, queries: Sequence[str]) -> NDArray[np.float32]:
        """The embeddings of n queries, float32 (n, dimension), unit length."""
        _check_list(queries)
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
        min_probability: float | None = None,
        metadata: bool = False,
        as_typed: bool = False,
    ) -> list[Hit]:
        """The k best documents for a query, best first; fewer if the corpus has fewer.

        query: text, more than white space.
        k: the number of hits, from 1.
        mode: "dense", "lexical" (only documents that share a word with the query) or "hybrid".
        where: a filter on the metadata such as "lang = en and year >= 2020"
            (index/documents/filtering/parse.py), or several; a document must meet all of them.
        offset: how many of the best documents are left out; the first hit has the rank offset + 1. Pages of
            any size, put together, are what one search for all of them gives.
        per: a metadata field; no two hits share a value of it. Documents without the field are all found.
        min_probability: 0 to 1. Hits with a lower probability are left out of the k hits, and the others are
            numbered anew.
        metadata: whether the hits hold the metadata of their documents.
        as_typed: whether to search for the query as it is; else for the `corrected` one.
        Raises InputError for an empty query, a k below 1, an offset below 0, an unknown mode, a filter that
        cannot be parsed or names a field that no document has, and a least probability that is not from 0 to
        1 or asked of a model without calibration.
        """
        return self.search_all(
            *([query], k, mode, where),
            offset=offset,
            per=per,
            min_probability=min_probability,
            metadata=metadata,
            as_typed=as_typed,
        )[0]

    def search_all(
        self,
        queries: Sequence[str],
        k: int = 10,
        mode: Mode = "hybrid",
        where: Where = (),
        *,
        offset: int = 0,
        per: str | None = None,
        min_probability: float | None = None,
        metadata: bool = False,
        as_typed: bool = False,
    ) -> list[list[Hit]]:
        """`search` for several queries at once; returns the hits of each query, in order."""
        _check_list(queries)
        _check_queries(queries)
        with self._using() as opened:
            queries = _read(opened, queries, as_typed)
            if min_probability is not None:
                _check_probability(min_probability, opened)
            embeddings = _embeddings(opened, queries, mode)
            found = page(opened, queries, embeddings, k, mode, where, offset, per)
            none = [None] * len(queries)
            likely = probabilities_of(opened, queries, embeddings, found, mode, offset)
            each = zip(
                queries,
                none if embeddings is None else embeddings,
                found.ranking.scores[:, offset:],
                found.ranking.rows[:, offset:],
                none if likely is None else likely,
                strict=True,
            )
            with phase("documents"):
                hits = [hits_of(opened.index, *one, offset, metadata) for one in each]
        if min_probability is None:
            return hits
        return [_likely(one, min_probability, offset) for one in hits]

    def facets(
        self,
        query: str,
        fields: Sequence[str],
        mode: Mode = "hybrid",
        where: Where = (),
        *,
        most: int = 20,
        as_typed: bool = False,
    ) -> dict[str, list[FacetValue]]:
        """For some metadata fields, how many of the documents that a search can find have each value.

        These are the hits that the search would have without a limit k. In mode "lexical" they are the
        documents that meet the filter and share a word with the query, in the other modes all documents that
        meet the filter.

        query, mode, where, as_typed: as for `search`.
        fields: names of fields, as in a filter.
        most: values of a field, the most frequent first.
        Returns the values by field. Raises what `search` raises.
        """
        from retrieval.search.facets import count_values

        _check_queries([query])
        _check_list(fields)
        check_mode(mode)
        with self._using() as opened:
            (read,) = _read(opened, [query], as_typed)
            masks = opened.index.matching(conditions_of(where), read if mode == "lexical" else None)
            return {field: count_values(opened.index, field, masks, most) for field in fields}

    def rank(
        self,
        queries: Sequence[str],
        k: int,
        mode: Mode,
        where: Where = (),
        *,
        as_typed: bool = False,
    ) -> Ranking:
        """The k best documents as scores and rows of the index; parameters and errors as for `search`.

        Returns float32 and int64 (n, at most k), row -1 where there are fewer documents.
        """
        _check_list(queries)
        with self._using() as opened:
            queries = _read(opened, queries, as_typed)
            return rank(opened, queries, _embeddings(opened, queries, mode), k, mode, where).ranking

    def evidence(self, queries: Sequence[str], rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """The evidence for documents as answers, see `retrieval.search.evidence`. A calibration uses it.

        queries: n texts.
        rows: int64 (n, k), -1 for no document.
        Returns float32 (n, k, EVIDENCE), NaN for no document.
        """
        with self._using() as opened:
            evidence = np.full((*rows.shape, len(EVIDENCE)), np.nan, np.float32)
            for query, embedding, found, each in zip(
                queries, opened.tower.encode(queries), rows, evidence, strict=True
            ):
                rows_of_it = found[found >= 0]
                each[found >= 0] = evidence_of(known_of(opened.index, query, embedding, rows_of_it))
            return evidence

    @property
    def calibration(self) -> Calibration | None:
        """From evidence to probabilities, of the model that is searched with; None if it has none."""
        return self._opened.tower.calibration

    @contextmanager
    def _using(self) -> Iterator[OpenGeneration]:
        with self._lock:
            opened = self._opened
            # Searches of other threads keep the generation open; without this, new ones could do so for ever.
            if self._closed.is_set() and not self._is_view:
                raise InputError("the index is closed; open it again", path=opened.index.folder)
            opened.hold()
        try:
            yield opened
        finally:
            opened.release()


def _read(opened: OpenGeneration, queries: Sequence[str], as_typed: bool) -> Sequence[str]:
    return queries if as_typed else list(map(opened.corrected, queries))


def _embeddings(opened: OpenGeneration, queries: Sequence[str], mode: Mode) -> Vectors | None:
    """The embeddings of the queries; None if the mode needs none. Raises InputError for an unknown mode."""
    check_mode(mode)
    return None if mode == "lexical" else opened.tower.encode(queries)


def _likely(hits: Sequence[Hit], least: float, offset: int) -> list[Hit]:
    """The hits of at least this probability, numbered as they are shown."""
    kept = (hit for hit in hits if hit.probability is not None and hit.probability >= least)
    return [hit._replace(rank=rank) for rank, hit in enumerate(kept, offset + 1)]


def _check_probability(least: float, opened: OpenGeneration) -> None:
    if not 0 <= least <= 1:
        raise InputError(f"the least probability must be from 0 to 1, not {least}")
    if opened.tower.calibration is None:
        raise InputError(
            "the model has no calibration, so its hits have no probability; train it with dev "
            "queries and build the index again, or leave the least probability out",
            path=opened.index.model_folder,
        )


def _check_list(texts: Sequence[str]) -> None:
    # A text is a sequence of its letters too, so no type checker finds this.
    if isinstance(texts, str):
        raise TypeError(f"a list of texts is wanted, not one text; write [{texts[:20]!r}]")


def _check_queries(queries: Sequence[str]) -> None:
    for query in queries:
        if not isinstance(query, str):
            raise TypeError(f"a query is a text, not {type(query).__name__}")
        if not query.strip():
            raise InputError("the query is empty; give at least one word")
