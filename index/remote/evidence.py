"""What a server knows of single documents, for re-scoring and probabilities: vectors, postings, words.

In: rows of documents; query vectors and texts. Out: cosines, BM25 scores, comparisons of words. Knows nothing
of rankings.

A search needs the same documents several times: to re-score them, then for the probabilities of the hits.
What was read first is kept in memory, so that later calls ask no server.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from index.documents.kept import Kept
from index.interaction.matches import Matches
from index.interaction.words import WordTable
from index.lexical.bm25 import WordMatch
from index.remote.client import Collection, Row, number_in
from index.remote.terms import Statistics
from index.values import Rows, Vectors

# Documents asked for at once: without their texts they are small.
_DOCUMENTS_AT_ONCE = 1000


class Evidence:
    """Evidence about the documents of an open generation; safe for use by several threads."""

    def __init__(
        self,
        collection: Collection,
        live: str,
        statistics: Statistics,
        words: WordTable | None,
        *,
        queries: bool,
        split: bool,
    ) -> None:
        """Nothing is read yet.

        collection: that holds the documents.
        live: the filter of the rows of the generation.
        statistics: of BM25.
        words: the vectors of all words; None if the collection has no words.
        queries: whether the collection has known queries.
        split: whether some documents have several passages, so that not all vectors are in first rows.
        """
        self._collection = collection
        self._live = live
        self._statistics = statistics
        self._words = words
        self._fields = ["number", "sparse", *(() if words is None else ("title_words", "words"))]
        self._fields += ["query_words"] if queries and words is not None else []
        self._fields += [] if split else ["dense"]
        self._split = split
        self._rows: Kept[Row] = Kept()
        self._vectors: Kept[Vectors] = Kept()

    def prepare(self, rows: Rows) -> None:
        """Read what the next calls need to know of these documents. Raises IndexError."""
        self.vectors(rows.tolist())
        self._first_rows(rows.tolist())

    def vectors(self, rows: Iterable[int]) -> dict[int, Vectors]:
        """The vectors of the passages of documents, float32 (p, dimension), by row. Raises IndexError."""
        wanted = list(rows)
        if not self._split:
            self._first_rows(wanted)
        found = self._vectors.find(wanted)
        missing = [row for row in wanted if row not in found]
        passages: dict[int, list[Row]] = defaultdict(list)
        for each in self._asked(missing, "row", ["row", "number", "dense"]):
            passages[int(each["row"])].append(each)
        fresh = {
            row: np.array([each["dense"] for each in sorted(parts, key=number_in)], np.float32)
            for row, parts in passages.items()
        }
        self._keep(fresh)
        return found | fresh

    def cosines(self, rows: Rows, query: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Index.cosines`."""
        vectors = self.vectors(rows.tolist())
        return np.array([(vectors[row] @ query).max() for row in rows.tolist()], np.float32)

    def match(self, query: str, rows: Rows) -> WordMatch:
        """See `Index.match_words`."""
        weighed = self._statistics.weigh(query)
        found = self._first_rows(rows.tolist())
        matches = np.empty((2, len(rows)), np.float32)
        for at, row in enumerate(rows.tolist()):
            parts = found[row]["sparse"]
            shared = weighed.terms.keys() & parts.keys()
            matches[0, at] = sum(weighed.terms[term] * parts[term] for term in shared)
            matches[1, at] = sum(weighed.terms[term] for term in shared)
        weight = weighed.weight or 1.0
        return WordMatch(matches[0], matches[1] / np.float32(weight), weight, weighed.words)

    def compile(self) -> None:
        """See `WordTable.compile`."""
        if self._words is not None:
            self._words.compile()

    def compare(self, rows: Rows, queries: Vectors) -> Iterator[tuple[slice, Matches]]:
        """See `Index.compare_words`. All documents are compared at once."""
        if self._words is None or not len(rows):
            return
        found = self._first_rows(rows.tolist())
        listed = [found[row]["words"] for row in rows.tolist()]
        titles = np.array([found[row]["title_words"] for row in rows.tolist()], np.int64)
        words = np.array([word for each in listed for word in each], np.int32)
        lengths = np.array(list(map(len, listed)))
        starts = np.cumsum(lengths) - lengths
        asked = np.array([found[row].get("query_words", 0) for row in rows.tolist()], np.int64)
        ends = starts + lengths
        bounds = np.stack((starts, starts + titles, ends - asked, ends), axis=1)
        yield slice(None), self._words.match(words, bounds, queries)

    def _first_rows(self, rows: Sequence[int]) -> dict[int, Row]:
        """The first rows of documents, by row. Raises IndexError."""
        found = self._rows.find(rows)
        missing = [row for row in rows if row not in found]
        fresh = {number_in(each): each for each in self._asked(missing, "number", self._fields)}
        if not self._split:
            self._keep({row: np.array([each.pop("dense")], np.float32) for row, each in fresh.items()})
        size = sum(2 * len(each["sparse"]) + len(each.get("words", ())) for each in fresh.values())
        self._rows.keep(fresh, size)
        return found | fresh

    def _keep(self, vectors: dict[int, Vectors]) -> None:
        self._vectors.keep(vectors, sum(each.size for each in vectors.values()))

    def _asked(self, rows: Iterable[int], key: str, fields: Sequence[str]) -> Iterator[Row]:
        """All passages of documents for the key "row", the first of each for "number". Raises IndexError."""
        missing = set(rows)
        listed = list(missing)
        for start in range(0, len(listed), _DOCUMENTS_AT_ONCE):
            part = listed[start : start + _DOCUMENTS_AT_ONCE]
            for each in self._collection.query(f"({self._live}) and {key} in {part}", fields):
                missing.discard(int(each[key]))
                yield each
        if missing:
            raise IndexError(f"row {min(missing)} is not in the index")
