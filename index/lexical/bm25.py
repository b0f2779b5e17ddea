"""BM25 search over the postings that index/lexical/postings.py writes.

In: the text of queries. Out: rankings of rows. Knows nothing of vectors.

Lucene's variant: its idf is never negative, and the tf part has no constant factor k1 + 1.

    score = sum over terms of idf * tf / (tf + k1 * (1 - b + b * length / average))
    idf   = ln(1 + (N - df + 1/2) / (df + 1/2))

Every posting stores its tf part as a float, so a search only multiplies and adds. N and df are counted over
the whole index at query time. Several segments therefore score like one segment, except for the average
length, which is that of the time when a segment was written. bm25s computes the same scores (the tests
compare), but stores them with the idf, so it cannot add segments, and it cannot index a corpus larger than
memory.

A single Chinese, Japanese or Korean character in a query is one term too: it has the documents of all tokens
with this character (`index.lexical.characters`).

The arrays are memory-mapped, the terms too (`index.disk.sorted_texts`), so opening takes the same time for a
hundred terms as for a million.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from itertools import accumulate, pairwise, starmap
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np

from index.disk.arrays import map_array, reading_arrays
from index.disk.sorted_texts import SortedTexts
from index.errors import NO_COMPILED_LOOPS, CorruptError
from index.lexical.characters import Postings, joined, postings_of_character
from index.lexical.sums import Sums
from index.lexical.tokens import TOKENS_VERSION, is_character, lexical_tokens
from index.ranking import Ranking, best, empty_ranking
from index.values import Mask, Scalar

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from index.lexical.similar import SimilarTerms

# Saturation of term frequency, and length normalisation: the best of six settings on the dev splits of tldr,
# tldr-zh and medquad (nDCG@10 .547, .501, .567; k1 1.2 and b .75 give .537, .487, .559).
K1 = 0.9
B = 0.4

# Recorded in the manifest of a segment.
BM25_SETTINGS: Mapping[str, Scalar] = {"k1": K1, "b": B, "tokens": TOKENS_VERSION}

# The files and their dtypes.
ARRAYS = {
    "weights.f32": "<f4",
    "rows.i32": "<i4",
    "starts.i64": "<i8",
    "terms.utf8": "|u1",
    "term_starts.i64": "<i8",
}

# Rounding can make a sum of float32 larger than its bound, at most by this factor.
_ROUNDING = 1 + 1e-5
# In a segment of up to so many documents, scoring all postings takes less time than passing over some.
_FEW_DOCUMENTS = 1 << 15
# Terms of queries whose postings are remembered, some 300 bytes each.
_KNOWN_TERMS = 1 << 14
# Postings of single characters that are remembered, 8 bytes each.
_KNOWN_POSTINGS = 1 << 22
# Single characters of a query that are looked for in other tokens. The first use of one in a segment of a
# million documents takes 10 ms or more, and no query may keep a server busy.
_MOST_CHARACTERS = 16
# Documents in which the characters so far may be, together, before one more is looked for. What cannot be
# remembered would be merged anew for each step of a search.
_MOST_MERGED = _KNOWN_POSTINGS

# Postings of a term among which a live document is looked for at first.
_FIRST_POSTINGS = 64

# Rows and scores of the best documents.
_Found: TypeAlias = "tuple[NDArray[np.int64], NDArray[np.float32]]"
# The scores of documents, and the weight of the terms that each of them has.
_Matched: TypeAlias = "tuple[NDArray[np.float32], NDArray[np.float32]]"


class Term(NamedTuple):
    """A term of a query within a segment: where its postings are, and its weight, idf times query tf."""

    postings: slice
    weight: float


class Terms(list[Term]):
    """The terms of a query within a segment; complete before `arrays` is read.

    characters: single characters of the query that the segment has, and their weights. They are no items.
    """

    characters: Mapping[str, float] = MappingProxyType({})

    @cached_property
    def arrays(self) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """For compiled loops: bounds of the postings, int64 (t, 2), and falling weights, float32 (t,)."""
        ordered = sorted(self, key=lambda term: -term.weight)
        bounds = [(term.postings.start, term.postings.stop) for term in ordered]
        weights = [term.weight for term in ordered]
        return np.array(bounds, np.int64).reshape(-1, 2), np.array(weights, np.float32)


class WordMatch(NamedTuple):
    """How well n documents match the words of a query. A word weighs idf times its frequency in the query.

    scores: BM25, float32 (n,).
    shares: float32 (n,), 0 to 1, the weight of the words that each document has, as a share of `weight`.
    weight: the weight of all words of the query, never 0. No score exceeds it.
    words: how many distinct words the query has.
    """

    scores: NDArray[np.float32]
    shares: NDArray[np.float32]
    weight: float
    words: int


class Bm25:
    """The BM25 postings of a published segment; safe for use by several threads.

    folder: what `write_bm25` wrote.
    count: documents of the segment.
    Raises CorruptError, on opening or while searching, if the files are not what was written.
    """

    def __init__(self, folder: Path, count: int) -> None:
        self._folder = folder
        self.count = count
        self._sums = Sums(count)
        self._known: dict[str, slice] = {}
        self._characters: dict[str, Postings] = {}
        arrays = [map_array(folder / name, kind) for name, kind in ARRAYS.items()]
        weights, rows, self._starts, terms, term_starts = arrays
        self._postings = Postings(rows, weights)
        if not (
            len(self._starts) == len(term_starts) > 0
            and self._starts[-1] == len(weights) == len(rows)
            and term_starts[-1] == len(terms)
        ):
            raise CorruptError(
                f"{folder}: its files do not fit together; restore them or build the index again"
            )
        self._terms = SortedTexts(terms, term_starts)
        self._compiled: Callable[..., _Found] | None = None
        self._compiled_match: Callable[..., _Matched] | None = None

    def compile(self) -> None:
        """Search in a compiled loop from now on, if numba is there; call it before other threads search."""
        try:
            from index.lexical.compiled import compiled_best, compiled_match
        except NO_COMPILED_LOOPS:
            return
        self._compiled = compiled_best
        self._compiled_match = compiled_match
        self.search([[]], 1)  # compile, or read what was compiled, before the first search
        self.match(Terms(), np.zeros(1, np.int64))

    def search(self, queries: Sequence[Sequence[Term]], k: int, allowed: Mask | None = None) -> Ranking:
        """The k best documents for each query. A document without any of its terms is not found.

        queries: terms, as `weigh` gives them for this segment.
        k: results a query.
        allowed: bool (count,), the rows that may be found; None for all.
        """
        ranking = empty_ranking(len(queries), k)
        ranked: Callable[[Postings, Sequence[Term], int, Mask | None], _Found]
        if self._compiled is not None:
            ranked = partial(self._best_compiled, self._compiled)
        else:
            ranked = self._best_of_all if self.count <= _FEW_DOCUMENTS else self._best
        for query, terms in enumerate(queries):
            with reading_arrays(self._folder):
                rows, scores = ranked(*self._with_characters(terms), k, allowed)
            ranking.scores[query, : len(rows)] = scores
            ranking.rows[query, : len(rows)] = rows
        return ranking

    def _best_compiled(
        self,
        compiled: Callable[..., _Found],
        stored: Postings,
        terms: Sequence[Term],
        k: int,
        allowed: Mask | None,
    ) -> _Found:
        """Rows and scores of the k best, the same as of `_best`, by scoring every posting."""
        return compiled(stored, *_arrays_of(terms), self.count, k, allowed)

    def _best_of_all(
        self,
        stored: Postings,
        terms: Sequence[Term],
        k: int,
        allowed: Mask | None,
    ) -> _Found:
        """Rows and scores of the k best, the same as of `_best`, by scoring every posting."""
        sums = self._sums.take()  # not given back if this search fails
        for postings, weight in sorted(terms, key=lambda term: -term.weight):
            np.add.at(sums, stored.rows[postings], stored.parts[postings] * np.float32(weight))
        candidates = np.flatnonzero(sums > 0)
        if allowed is not None:
            candidates = candidates[allowed[candidates]]
        scores = sums[candidates]
        sums.fill(0)
        self._sums.give_back(sums)
        chosen = best(scores, k)
        return candidates[chosen], scores[chosen]

    def _best(
        self,
        stored: Postings,
        terms: Sequence[Term],
        k: int,
        allowed: Mask | None,
    ) -> _Found:
        """Rows and scores of the k best.

        MaxScore (Turtle and Flood 1995). Terms are scored by falling weight, so rare terms come first. A tf
        part is below 1, so the weights of the remaining terms bound what they can add. Once this bound is
        below the k-th best score so far, no new document can be among the best. The remaining, common terms
        are then looked up for the candidates only.
        """
        ordered = sorted(terms, key=lambda term: -term.weight)
        bounds = [*np.cumsum([term.weight * _ROUNDING for term in reversed(ordered)])[::-1].tolist(), 0.0]
        sums = self._sums.take()  # not given back if this search fails
        seen = np.empty(0, np.intp)
        done = 0
        for postings, weight in ordered:
            # No score so far is above bounds[0] - bounds[done].
            if (
                postings.stop - postings.start > len(seen)
                and bounds[done] < bounds[0] - bounds[done]
                and bounds[done] < _least_of_best(sums.take(seen), k)
            ):
                break
            rows = stored.rows[postings].astype(np.intp)  # otherwise numpy would convert them at each use
            gains = stored.parts[postings] * np.float32(weight)
            if allowed is not None:
                rows, gains = rows[allowed[rows]], gains[allowed[rows]]
            if done:
                before = sums.take(rows)
                seen = np.concatenate((seen, rows.compress(before == 0)))
                gains += before
            else:
                seen = rows
            sums[rows] = gains
            done += 1
        scores = sums.take(seen)
        sums[seen] = 0
        self._sums.give_back(sums)
        likely = scores + bounds[done] >= _least_of_best(scores, k)
        candidates, scores = seen.compress(likely), scores.compress(likely)
        by_row = np.argsort(candidates)
        candidates, scores = candidates.take(by_row), scores.take(by_row)
        _add(stored, ordered[done:], candidates, scores)
        chosen = best(scores, k)
        return candidates[chosen], scores[chosen]

    def having(self, terms: Sequence[Term]) -> Mask:
        """The rows that have one of these terms or more, bool (count,): all that `search` can find."""
        mask = np.zeros(self.count, bool)
        with reading_arrays(self._folder):
            stored, terms = self._with_characters(terms)
            for term in terms:
                mask[stored.rows[term.postings]] = True
        return mask

    def match(self, terms: Sequence[Term], rows: NDArray[np.int64]) -> _Matched:
        """The scores of some documents, and the sum of the weights of the terms that they have, float32 (n,).

        terms: as `weigh` gives them for this segment.
        rows: int64 (n,), in any order.
        """
        stored, terms = self._with_characters(terms)
        if self._compiled_match is not None:
            return self._compiled_match(stored, *_arrays_of(terms), rows)
        with reading_arrays(self._folder):
            parts = _parts(stored, terms, rows)
        weights = np.array([term.weight for term in terms], np.float32)
        return weights @ parts, weights @ (parts != 0)

    def parts(self, terms: Sequence[Term], rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """The tf parts of some terms in some documents, float32 (terms, n); 0 where a document lacks a term.

        terms: as `weigh` gives them for this segment. Single characters come last.
        rows: int64 (n,), in any order.
        """
        with reading_arrays(self._folder):
            return _parts(*self._with_characters(terms), rows)

    def _with_characters(self, terms: Sequence[Term]) -> tuple[Postings, Sequence[Term]]:
        """The terms, single characters among them, and the postings that they are places of.

        Without characters these are the postings in the files, else copies for this query.
        """
        if not (isinstance(terms, Terms) and terms.characters):
            return self._postings, terms
        lists = [self._postings.at(term.postings) for term in terms]
        lists += map(self.postings_of_character, terms.characters)
        bounds = pairwise([0, *accumulate(len(each.rows) for each in lists)])
        weights = [*(term.weight for term in terms), *terms.characters.values()]
        return joined(lists), Terms(map(Term, starmap(slice, bounds), weights))

    def postings(self, term: str) -> slice:
        """Where the postings of a term are; empty if no document has it. Raises CorruptError."""
        known = self._known.get(term)
        if known is None:
            known = self._find(term)
            if len(self._known) >= _KNOWN_TERMS:
                self._known.clear()
            self._known[term] = known
        return known

    def has_live(self, postings: slice, live: Mask | None) -> bool:
        """Whether one of these postings is of a live document. live: bool (count,); None if all are.

        Nearly always the first one is, or the last one where old documents are deleted; else more and more
        are read. Raises CorruptError.
        """
        start, stop = int(postings.start), int(postings.stop)
        if live is None or start == stop:
            return stop > start
        with reading_arrays(self._folder):
            rows, count = self._postings.rows, _FIRST_POSTINGS
            if live[rows[start]] or live[rows[stop - 1]]:
                return True
            while start < stop:
                if live[rows[start : min(start + count, stop)]].any():
                    return True
                start, count = start + count, 4 * count
        return False

    def _find(self, term: str) -> slice:
        with reading_arrays(self._folder):
            number = self._terms.number(term)
            if number is None:
                return slice(0, 0)
            start, stop = int(self._starts[number]), int(self._starts[number + 1])
            if not 0 <= start <= stop <= min(start + self.count, len(self._postings.rows)):
                raise ValueError("a term with impossible postings")
            return slice(start, stop)

    def similar_terms(self, term: str) -> SimilarTerms:
        """The terms that are similar to one that no document has. Raises CorruptError."""
        from index.lexical.similar import similar_terms  # few searches need it

        with reading_arrays(self._folder):
            return similar_terms(term, self._terms, self._starts)

    def first_term_from(self, text: str) -> str | None:
        """The first term that is not smaller than a text; None if all are. Raises CorruptError."""
        with reading_arrays(self._folder):
            return self._terms.first_from(text)

    def place_of_character(self, character: str) -> slice:
        """Like `postings`, a place in `postings_of_character`."""
        return slice(0, len(self.postings_of_character(character).rows))

    def postings_of_character(self, character: str) -> Postings:
        """The postings of all tokens with a character, merged into one a document. Raises CorruptError."""
        known = self._characters.get(character)
        if known is None:
            with reading_arrays(self._folder):
                known = postings_of_character(
                    character, self._terms, self._starts, self._postings, self.count
                )
            if sum(len(each.rows) for each in list(self._characters.values())) > _KNOWN_POSTINGS:
                self._characters.clear()
            self._characters[character] = known
        return known


def _add(
    stored: Postings,
    terms: Sequence[Term],
    candidates: NDArray[np.intp],
    scores: NDArray[np.float32],
) -> None:
    """Add to the scores of some ascending rows, in place, what these terms give."""
    wanted = candidates.astype(np.int32)  # as stored; otherwise the search would convert all postings
    for postings, weight in terms:
        rows = stored.rows[postings]
        at = np.minimum(rows.searchsorted(wanted), len(rows) - 1)
        hits = np.flatnonzero(rows.take(at) == wanted)
        scores[hits] += stored.parts[postings].take(at.take(hits)) * np.float32(weight)


def _parts(stored: Postings, terms: Sequence[Term], rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """See `Bm25.parts`. stored: what the terms are places of."""
    if not terms:
        return np.zeros((0, len(rows)), np.float32)
    wanted = rows.astype(np.int32)  # as stored; otherwise the search would convert all postings
    places = np.array([stored.rows[postings].searchsorted(wanted) for postings, _ in terms])
    bounds = np.array([(postings.start, postings.stop - 1) for postings, _ in terms])
    places += bounds[:, :1]
    np.minimum(places, bounds[:, 1:], out=places)
    parts: NDArray[np.float32] = (stored.rows.take(places) == wanted) * stored.parts.take(places)
    return parts


def _least_of_best(scores: NDArray[np.float32], k: int) -> float:
    """The k-th highest score; -inf if there are fewer."""
    if len(scores) < k:
        return -math.inf
    return float(np.partition(scores, len(scores) - k)[len(scores) - k])


def _arrays_of(terms: Sequence[Term]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """`Terms.arrays`. `weigh` has already made those of its own terms."""
    return terms.arrays if isinstance(terms, Terms) else Terms(terms).arrays


class Weighed(NamedTuple):
    """The terms of a query in an index.

    by_segment: for each segment the terms that it has.
    weight: the sum of all weights, including those of terms that no document has.
    words: how many distinct terms the query has.
    unknown: the terms that no live document has, see `weigh`.
    """

    by_segment: list[Terms]
    weight: float
    words: int
    unknown: tuple[str, ...]


def weigh(
    segments: Sequence[Bm25],
    query: str,
    live: Sequence[Mask | None] | None = None,
) -> Weighed:
    """The terms of a query, weighted by idf over all segments, and what they weigh together.

    segments: whose deleted documents count too.
    query: its text.
    live: for each segment the rows that are not deleted, bool (count,), or None for all. A term that only
        others have is unknown, except a single Chinese character: no correction asks for those.
    """
    live = live or [None] * len(segments)
    total = sum(segment.count for segment in segments)
    by_segment = [Terms() for _ in segments]
    sum_of_weights = 0.0
    unknown: list[str] = []
    counts = Counter(lexical_tokens(query))
    characters = list(filter(is_character, counts))[:_MOST_CHARACTERS]
    merged = 0
    for term, tf in counts.items():
        character = term in characters and merged < _MOST_MERGED
        find = Bm25.place_of_character if character else Bm25.postings
        places = [find(segment, term) for segment in segments]
        df = sum(place.stop - place.start for place in places)
        merged += df if character else 0
        weight = tf * math.log(1 + (total - df + 0.5) / (df + 0.5))
        sum_of_weights += weight
        if not (df if character else any(map(Bm25.has_live, segments, places, live))):
            unknown.append(term)
        for terms, place in zip(by_segment, places, strict=True):
            if place.stop > place.start:
                if character:
                    terms.characters = {**terms.characters, term: weight}
                else:
                    terms.append(Term(place, weight))
    return Weighed(by_segment, sum_of_weights, len(counts), tuple(unknown))
