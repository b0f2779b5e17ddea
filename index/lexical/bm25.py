"""BM25: the search over what inverted.py has written.

In: words. Out: rankings of rows. Knows nothing of vectors.

Lucene's variant (idf that is never negative, tf part without its constant factor):

    score = sum over terms of idf * tf / (tf + k1 (1 - b + b length / average)),
    idf = ln(1 + (N - df + 1/2) / (df + 1/2))

The tf parts are stored, one float per pair of term and document, so that a search only adds up. N and df are
those of the whole index, counted when a query comes: an index of several segments scores as one of a single
segment would, but for the average length, which is the one of the day a segment was written. bm25s, which
computes the same scores (the tests compare), stores idf in them and cannot do that; nor can it index a corpus
larger than memory.

The arrays are memory-mapped and added here. The vocabulary is sorted and searched by bisection in the map:
opening takes the same time for a hundred terms as for a million.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from index.disk.opening import map_file
from index.errors import CorruptError
from index.lexical.postings import ARRAYS
from index.lexical.sums import Sums
from index.lexical.tokens import lexical_tokens
from index.ranking import Ranking, best, empty_ranking

Allowed = NDArray[np.bool_] | None

# Sums of float32 may come out larger than their bound by this factor.
_ROUNDING = 1 + 1e-5


class Term(NamedTuple):
    """A word of a query as a segment has it: where its pairs lie, and what each of them counts."""

    pairs: slice
    weight: float


class Bm25:
    """The BM25 scores of a published segment; safe for use by several threads.

    Raises CorruptError, on opening or while searching, if the files are not what was written.
    """

    def __init__(self, folder: Path, count: int) -> None:
        self._folder = folder
        self.count = count
        self._sums = Sums(count)
        arrays = [_read(folder / name, kind) for name, kind in ARRAYS.items()]
        self._weights, self._rows, self._starts, self._terms, self._term_starts = arrays
        if not (
            len(self._starts) == len(self._term_starts) > 0
            and self._starts[-1] == len(self._weights) == len(self._rows)
            and self._term_starts[-1] == len(self._terms)
        ):
            raise CorruptError(
                f"{folder}: its files do not fit together; restore them or build the index again"
            )

    def search(self, queries: Sequence[Sequence[Term]], k: int, allowed: Allowed = None) -> Ranking:
        """The k best documents for each query; those without any of its terms are not found.

        queries: as `weigh` gives them for this segment. allowed: bool (count,), the only rows that count.
        """
        ranking = empty_ranking(len(queries), k)
        for query, terms in enumerate(queries):
            with self._reading():
                rows, scores = self._best(terms, k, allowed)
            ranking.scores[query, : len(rows)] = scores
            ranking.rows[query, : len(rows)] = rows
        return ranking

    def _best(
        self, terms: Sequence[Term], k: int, allowed: Allowed
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Rows and scores of the k best.

        Rare terms come first. A tf part is below 1, so the weights of the terms that are left bound what
        they can add: once that is less than the k-th best score so far, no new document can be among the
        best (MaxScore; Turtle and Flood 1995), and the common terms are looked up for the few candidates
        only.
        """
        ordered = sorted(terms, key=lambda term: -term.weight)
        bounds = [*np.cumsum([term.weight * _ROUNDING for term in reversed(ordered)])[::-1].tolist(), 0.0]
        sums = self._sums.take()  # and not given back if this search fails half way
        found = np.empty(0, np.int32)
        least, done = -math.inf, 0
        for pairs, weight in ordered:
            if len(found) >= k and pairs.stop - pairs.start > len(found):
                least = float(np.partition(sums[found], len(found) - k)[len(found) - k])
                if bounds[done] < least:
                    break
            rows, gains = self._rows[pairs], self._weights[pairs] * np.float32(weight)
            if allowed is not None:
                rows, gains = rows[allowed[rows]], gains[allowed[rows]]
            found = np.concatenate((found, rows[sums[rows] == 0]))
            sums[rows] += gains
            done += 1
        hopeful = found[sums[found] + bounds[done] >= least]
        hopeful.sort()
        scores = sums[hopeful]
        sums[found] = 0
        self._sums.give_back(sums)
        for pairs, weight in ordered[done:]:
            rows = self._rows[pairs]
            at = np.minimum(np.searchsorted(rows, hopeful), len(rows) - 1)
            hits = rows[at] == hopeful
            scores[hits] += self._weights[pairs][at[hits]] * np.float32(weight)
        chosen = best(scores, k)
        return hopeful[chosen], scores[chosen]

    def pairs(self, term: str) -> slice:
        """Where the pairs of a term lie; empty if no document has it."""
        with self._reading():
            number = self._number(term)
            if number is None:
                return slice(0, 0)
            start, stop = int(self._starts[number]), int(self._starts[number + 1])
            if not 0 <= start <= stop <= min(start + self.count, len(self._rows)):
                raise ValueError("a term with impossible pairs")
            return slice(start, stop)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except (IndexError, ValueError) as error:
            raise CorruptError(
                f"{self._folder}: damaged; restore its files or build the index again"
            ) from error

    def _number(self, term: str) -> int | None:
        """Bisection: UTF-8 sorts as its code points do."""
        wanted = term.encode("utf-8", "surrogatepass")
        low, high = 0, len(self._term_starts) - 1
        while low < high:
            middle = (low + high) // 2
            found = self._terms[self._term_starts[middle] : self._term_starts[middle + 1]].tobytes()
            if found == wanted:
                return middle
            low, high = (middle + 1, high) if found < wanted else (low, middle)
        return None


def weigh(segments: Sequence[Bm25], query: str) -> list[list[Term]]:
    """The query's terms as each segment has them, weighed by idf over all of the segments."""
    total = sum(segment.count for segment in segments)
    found: list[list[Term]] = [[] for _ in segments]
    for term, times in Counter(lexical_tokens(query)).items():
        places = [segment.pairs(term) for segment in segments]
        df = sum(place.stop - place.start for place in places)
        weight = times * math.log(1 + (total - df + 0.5) / (df + 0.5))
        for terms, place in zip(found, places, strict=True):
            if place.stop > place.start:
                terms.append(Term(place, weight))
    return found


def _read(path: Path, kind: str) -> NDArray[Any]:
    """All of a file, memory-mapped, as an array of one dimension."""
    try:
        return map_file(path, kind)
    except (OSError, ValueError) as error:
        raise CorruptError(
            f"{path}: cannot be read ({error}); restore it or build the index again"
        ) from error
