"""BM25: the part of the scores that is computed ahead of time, on disk, and the search over it.

In: texts by row. Out: rankings of rows. Knows nothing of vectors.

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

    weights.f32      (pairs,)      tf parts, term by term
    rows.i32         (pairs,)      their documents, ascending within a term
    starts.i64       (terms + 1,)  where the pairs of a term begin
    terms.utf8       (bytes,)      all terms, sorted
    term_starts.i64  (terms + 1,)  where a term begins in it

The files are the bare numbers, little-endian: a header would only be something more to be damaged.
"""

from __future__ import annotations

import math
import os
import threading
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from index.errors import CorruptError
from index.files import storing, sync_file
from index.filters import Scalar
from index.folder import remove
from index.ranking import Ranking, best, empty_ranking
from index.tokens import TOKENS_VERSION, lexical_tokens

__all__ = ["BM25_SETTINGS", "Bm25", "Lengths", "lexical_tokens", "weigh", "write_bm25"]

# How soon repetition of a term stops counting, and how much long documents are held back: the best of six
# pairs on the dev splits of tldr, tldr-zh and medquad (nDCG@10 .547, .501, .567; 1.2 and .75 give .537, .487,
# .559).
K1 = 0.9
B = 0.4

# What the manifest says of a segment's scores.
BM25_SETTINGS: Mapping[str, Scalar] = {"k1": K1, "b": B, "tokens": TOKENS_VERSION}

_ARRAYS = {
    "weights.f32": "<f4",
    "rows.i32": "<i4",
    "starts.i64": "<i8",
    "terms.utf8": "|u1",
    "term_starts.i64": "<i8",
}

Allowed = NDArray[np.bool_] | None

# Sums of float32 may come out larger than their bound by this factor.
_ROUNDING = 1 + 1e-5

# Tokens that are sorted together while indexing: about 200 MB.
_TOKENS_AT_ONCE = 4_000_000


class Lengths(NamedTuple):
    """How long documents are, from which their average length follows. tokens: of all of them."""

    documents: int
    tokens: int

    def __add__(self, other: object) -> Lengths:
        if not isinstance(other, Lengths):
            return NotImplemented
        return Lengths(self.documents + other.documents, self.tokens + other.tokens)


NO_LENGTHS = Lengths(0, 0)


class _Block(NamedTuple):
    """The pairs of some documents, sorted by term and row. terms: int32, as numbered when first met."""

    terms: NDArray[np.int32]
    rows: NDArray[np.int32]
    times: NDArray[np.int32]


def write_bm25(folder: Path, texts: Iterable[str], others: Lengths = NO_LENGTHS) -> Lengths:
    """Index texts, row by row from 0, into a new folder; durable but for the folder's own entry.

    others: the lengths of the index's documents besides these, which count in the average. Returns those of
    these texts. Memory grows with the number of different terms, not with that of the texts: blocks of pairs
    wait on the disk until the average is known. Raises StorageError.
    """
    with storing(folder):
        folder.mkdir()
        blocks = folder / "blocks"
        blocks.mkdir()
        try:
            return _write(folder, blocks, texts, others)
        finally:
            remove(blocks)


def _write(folder: Path, blocks: Path, texts: Iterable[str], others: Lengths) -> Lengths:
    numbers: dict[str, int] = {}
    lengths = array("i")
    stored = 0
    for stored, block in enumerate(_blocks(texts, numbers, lengths), 1):
        np.save(blocks / f"{stored}.npy", np.stack(block), allow_pickle=False)
    own = Lengths(len(lengths), sum(lengths))
    average = (own + others).tokens / max(1, (own + others).documents)
    penalty = K1 * (1 - B + B * np.array(lengths) / max(average, 1e-9))
    terms = sorted(numbers)
    places = np.empty(len(terms), np.int64)  # of a number among the sorted terms
    places[[numbers[term] for term in terms]] = np.arange(len(terms))
    counts = np.zeros(len(terms), np.int64)
    for block in _stored(blocks, stored):
        counts += np.bincount(places[block.terms], minlength=len(terms))
    starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
    for name, values in {"starts.i64": starts, **_packed(terms)}.items():
        _write_array(folder, name, values)
    _write_pairs(folder, _stored(blocks, stored), places, starts, penalty.astype(np.float32))
    return own


def _write_pairs(
    folder: Path,
    blocks: Iterable[_Block],
    places: NDArray[np.int64],
    starts: NDArray[np.int64],
    penalty: NDArray[np.float32],
) -> None:
    """Put every pair where its term's next one belongs; blocks come in the order of their rows."""
    weights = _new_array(folder, "weights.f32", int(starts[-1]))
    rows = _new_array(folder, "rows.i32", int(starts[-1]))
    free = starts[:-1].copy()
    for block in blocks:
        mine = places[block.terms]
        first = np.flatnonzero(np.diff(block.terms, prepend=-1))
        runs = np.diff(first, append=len(mine))
        at = np.repeat(free[mine[first]] - first, runs) + np.arange(len(mine))
        free[mine[first]] += runs
        weights[at] = block.times / (block.times + penalty[block.rows])
        rows[at] = block.rows
    for name, mapped in (("weights.f32", weights), ("rows.i32", rows)):
        if isinstance(mapped, np.memmap):
            mapped.flush()
        sync_file(folder / name)


def _stored(blocks: Path, count: int) -> Iterator[_Block]:
    for number in range(1, count + 1):
        yield _Block(*np.load(blocks / f"{number}.npy", allow_pickle=False))


def _blocks(texts: Iterable[str], numbers: dict[str, int], lengths: array[int]) -> Iterator[_Block]:
    """Pairs of term and row with how often, block by block; terms are numbered as they appear."""
    tokens = array("i")
    start = 0
    for text in texts:
        found = lexical_tokens(text)
        tokens.extend(numbers.setdefault(token, len(numbers)) for token in found)
        lengths.append(len(found))
        if len(tokens) >= _TOKENS_AT_ONCE:
            yield _block(tokens, lengths, start)
            tokens, start = array("i"), len(lengths)
    if tokens:
        yield _block(tokens, lengths, start)


def _block(tokens: array[int], lengths: array[int], start: int) -> _Block:
    mine = np.frombuffer(lengths, np.int32)[start:].copy()  # an array that is looked at cannot grow
    rows = np.repeat(np.arange(start, start + len(mine)), mine)
    keys = np.frombuffer(tokens, np.int32).astype(np.int64) << 32 | rows
    pairs, times = np.unique(keys, return_counts=True)
    return _Block((pairs >> 32).astype(np.int32), pairs.astype(np.int32), times.astype(np.int32))


def _new_array(folder: Path, name: str, size: int) -> NDArray[Any]:
    if not size:  # which cannot be mapped
        (folder / name).touch()
        return np.empty(0, _ARRAYS[name])
    return np.memmap(folder / name, _ARRAYS[name], "w+", shape=(size,))


def _write_array(folder: Path, name: str, values: NDArray[Any]) -> None:
    with (folder / name).open("wb") as file:
        file.write(np.ascontiguousarray(values, _ARRAYS[name]).data)
        file.flush()
        os.fsync(file.fileno())


def _packed(terms: Sequence[str]) -> dict[str, NDArray[Any]]:
    encoded = [term.encode() for term in terms]
    lengths = np.fromiter(map(len, encoded), np.int64, len(encoded))
    starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    return {"terms.utf8": np.frombuffer(b"".join(encoded), np.uint8), "term_starts.i64": starts}


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
        self._kept = threading.local()
        arrays = [_read(folder / name, kind) for name, kind in _ARRAYS.items()]
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
        # All zero, kept from the last search of this thread; lost if this one fails half way.
        sums = self._kept.__dict__.pop("sums", None)
        sums = np.zeros(self.count, np.float32) if sums is None else sums
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
        self._kept.sums = sums
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
        if not path.stat().st_size:  # which cannot be mapped
            return np.empty(0, kind)
        return np.asarray(np.memmap(path, kind, "r"))
    except (OSError, ValueError) as error:
        raise CorruptError(
            f"{path}: cannot be read ({error}); restore it or build the index again"
        ) from error
