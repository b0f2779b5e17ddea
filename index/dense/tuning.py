"""Tuning: the choice of a segment's dense index, by measuring recall, time and memory on its vectors.

In: the stored vectors, a goal and, if there are any, real queries. Out: the measurements and the choice, with
its file written. Knows nothing of documents.

The candidates are exact search over the stored vectors (Flat), and product quantisation at several sizes with
exact scores for the best rows, in compiled loops if numba is there. Other FAISS indexes were measured on
669,357 real documents and left out (benchmarks/NOTES.md): they miss the goal or take longer.

Recall is measured on two halves of the queries. The first half chooses the depth, with a margin for sampling
error. The recall on the second half is what is reported.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from index.dense.fastscan import FEWEST_POINTS, FastScan, K, code_bytes, write_fastscan
from index.dense.vectors import FLAT, StoredVectors, search_exact
from index.disk.files import storing
from index.errors import CorruptError, InputError
from index.ranking import Ranking
from index.values import Progress, Rows, Scalar, Vectors, no_progress

# A smaller corpus is searched exactly if memory and time allow: a search takes less than a millisecond.
SMALL = 20_000

# With so many vectors or more, the time of a search is that of the scan of their codes.
_MANY = 200_000

# The most queries that tuning uses, and the fewest real queries that suffice.
TUNING_QUERIES = 800
FEWEST_QUERIES = 50
# Searches that are timed, of the candidates and of exact search.
_TIMED = 100
_TIMED_EXACT = 20
# Seconds after which timing ends, when at least so many searches were timed.
_LONGEST_TIMING = 1.0
_LEAST_TIMED = 5
# Rows that all queries are compared with at once, and rows of a ranking that are looked at first.
_ROWS_COMPARED = 4096
_ROWS_LOOKED_UP = 64
# Standard errors by which the recall on the choosing half must exceed the goal.
MARGIN = 2.0
# Cosines that differ by less are equal: duplicate documents.
_TIE = 1e-5
# Depths that are tried: candidates a query.
_DEPTHS = (
    *(20, 30, 40, 50, 60, 75, 100, 125, 150, 200, 250, 300, 375, 450, 575, 700, 850),
    *(1000, 1250, 1500, 1750, 2000),
)
_SEED = 2


@dataclass(frozen=True, slots=True)
class Goal:
    """The requirements of dense search. Raises InputError for a recall outside (0, 1].

    recall: least recall@10 against exact search.
    max_bytes: most bytes that a search reads, which should therefore stay in memory; None for no limit.
    max_latency_ms: longest median time of a search; None for no limit.
    """

    recall: float = 0.99
    max_bytes: int | None = None
    max_latency_ms: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.recall <= 1:
            raise InputError(f"the target recall must be above 0 and at most 1, not {self.recall}")

    def to_mapping(self) -> Mapping[str, Scalar]:
        """The form in which a manifest holds it."""
        return asdict(self)

    @classmethod
    def of(cls, mapping: Mapping[str, Scalar]) -> Goal:
        """Read a goal from a manifest; recall 1, exact search, if it has none. Raises CorruptError."""
        recall, most_bytes, most_ms = (mapping.get(field.name) for field in fields(cls))
        if (
            not isinstance(recall := 1 if recall is None else recall, int | float)
            or not 0 < recall <= 1
            or not isinstance(most_bytes, int | None)
            or not isinstance(most_ms, int | float | None)
        ):
            raise CorruptError(
                "the index's goal holds something other than the numbers of a goal; build it again"
            )
        return cls(recall, most_bytes, most_ms)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A dense index that was measured.

    name: FAISS's description.
    parts: into how many parts a vector is cut; 0 for Flat.
    depth: candidates that are scored exactly; 0 for Flat.
    recall: recall@10 on the queries that did not choose the depth.
    p50_ms: median time of one search on one thread.
    bytes: what a search reads.
    """

    name: str
    parts: int
    depth: int
    recall: float
    p50_ms: float
    bytes: int

    def parameters(self) -> dict[str, Scalar]:
        """Search settings and the recall measured with them; empty for Flat."""
        if self.name == FLAT:
            return {}
        return {"parts": self.parts, "depth": self.depth, "recall@10": self.recall}

    def meets(self, goal: Goal) -> bool:
        """Whether it reaches the goal."""
        return (
            self.recall >= goal.recall
            and (goal.max_bytes is None or self.bytes <= goal.max_bytes)
            and (goal.max_latency_ms is None or self.p50_ms <= goal.max_latency_ms)
        )


@dataclass(frozen=True, slots=True)
class Tuning:
    """All candidates that were measured, and the chosen one."""

    tried: tuple[Candidate, ...]
    chosen: Candidate


def tune(
    vectors: StoredVectors,
    queries: Vectors | None,
    goal: Goal,
    path: Path,
    progress: Progress = no_progress,
) -> Tuning:
    """Choose the fastest candidate that meets the goal, and write its file if it needs one.

    vectors: the stored vectors of the segment.
    queries: real queries, float32 (n, d) of unit length, of which up to 800 are used. With fewer than 50,
        or None, vectors of the corpus are the queries; the row of each is not counted as a hit.
    goal: what the choice must reach.
    path: where the file of the choice is written; Flat has none.
    progress: called after each size that was measured.
    Raises InputError, which lists what each candidate costs, if none meets the goal; no file is left then.
    StorageError if a file cannot be written.
    """
    tuning_queries, own_rows = choose_queries(queries, vectors.count, vectors.take, TUNING_QUERIES)
    exact_ms = _p50_ms(lambda query: search_exact(vectors, query, K), tuning_queries[:_TIMED_EXACT])
    flat = Candidate(FLAT, 0, 0, 1.0, exact_ms, vectors.count * vectors.dimension * 2)
    tried = [flat]
    if flat.meets(goal) and (vectors.count < SMALL or goal.recall == 1):
        return Tuning((flat,), flat)
    sizes = part_counts(vectors)
    vectors.compile()  # as a server searches: then it takes less time to score many candidates
    least = (
        least_scores(tuning_queries, vectors.count, vectors.take, own_rows)
        if sizes
        else np.empty(0, np.float32)
    )
    scans: list[float] = []
    for done, parts in enumerate(sizes):
        progress("tuning", done, len(sizes))
        if _is_slower(scans, tried, goal):
            break
        file = _file(path, parts)
        write_fastscan(file, vectors, parts)
        scan = FastScan(file, vectors.count, vectors.dimension, parts)
        depth, recall = _depth(_recalls(scan, vectors, tuning_queries, own_rows, least), goal.recall)
        p50 = _p50_ms(partial(_search, scan, vectors, depth), tuning_queries)
        if vectors.count >= _MANY:
            scans.append(_p50_ms(partial(_search, scan, vectors, _DEPTHS[0]), tuning_queries))
        name = f"PQ{parts}x4fs,Refine"
        tried.append(Candidate(name, parts, depth, recall, p50, code_bytes(vectors.count, parts)))
    progress("tuning", len(sizes), len(sizes))
    fit = [candidate for candidate in tried if candidate.meets(goal)]
    chosen = min(fit, key=lambda candidate: candidate.p50_ms) if fit else None
    with storing(path):
        for parts in sizes[: len(tried) - 1]:
            if chosen is not None and parts == chosen.parts:
                _file(path, parts).rename(path)
            else:
                _file(path, parts).unlink()
    if chosen is None:
        raise InputError(f"no index meets the goal, loosen it: {'; '.join(map(_cost, tried))}")
    return Tuning(tuple(tried), chosen)


def _is_slower(scans: Sequence[float], tried: Sequence[Candidate], goal: Goal) -> bool:
    """Whether the next size, with twice the codes, takes longer than the best candidate so far.

    scans: of many vectors, the median time of a search at the least depth, of each size so far.
    tried: the candidates so far.
    goal: what they must reach.
    To write and measure the largest size takes as long as all before it. A scan of many vectors takes time in
    proportion to its codes, so the next size takes at least what the last two let expect.
    """
    if len(scans) < 2:
        return False
    expected = scans[-1] + 2 * (scans[-1] - scans[-2])
    return any(candidate.meets(goal) and candidate.p50_ms <= expected for candidate in tried)


def part_counts(vectors: StoredVectors) -> list[int]:
    """The numbers of parts to try, smallest first: parts have eight, four or two dimensions."""
    if vectors.count < FEWEST_POINTS:
        return []
    sizes = (size for size in (8, 4, 2) if vectors.dimension % (2 * size) == 0)
    return [vectors.dimension // size for size in sizes]


def _file(path: Path, parts: int) -> Path:
    return path.with_name(f"{path.name}.{parts}")


def _cost(index: Candidate) -> str:
    return f"{index.name} recall {index.recall:.4f}, {index.p50_ms:.2f} ms, {index.bytes:,} bytes"


def choose_queries(
    queries: Vectors | None, count: int, take: Callable[[Rows], Vectors], most: int
) -> tuple[Vectors, Rows]:
    """The queries to tune by, and for each the row that must not count as a hit, -1 for none.

    queries: real queries, float32 (n, d). With fewer than 50, or None, stored vectors are the queries.
    count: how many stored vectors there are.
    take: gives the stored vectors of some rows, float32 (rows, d).
    most: how many queries are chosen at most.
    """
    generator = np.random.default_rng(_SEED)
    if queries is not None and len(queries) >= FEWEST_QUERIES:
        chosen = generator.permutation(len(queries))[:most]
        return np.ascontiguousarray(queries[chosen], np.float32), np.full(len(chosen), -1)
    rows = generator.permutation(count)[:most]
    return take(rows), rows


def least_scores(
    queries: Vectors, count: int, take: Callable[[Rows], Vectors], own_rows: Rows
) -> NDArray[np.float32]:
    """The score of the tenth best row of each query, less a tie, float32 (n,).

    queries: float32 (n, d).
    count, take: as for `choose_queries`.
    own_rows: int64 (n,), the row that is no hit of the query; -1 for none.
    `search_exact` would read all vectors for every few queries; here each is read and converted once.
    """
    most = np.full((len(queries), K), -np.inf, np.float32)  # the best scores so far
    numbers = np.arange(len(queries))
    for start in range(0, count, _ROWS_COMPARED):
        stop = min(start + _ROWS_COMPARED, count)
        scores = queries @ take(np.arange(start, stop)).T
        own = (own_rows >= start) & (own_rows < stop)
        scores[numbers[own], own_rows[own] - start] = -np.inf
        better = np.flatnonzero(scores.max(axis=1) > most.min(axis=1))
        found = np.concatenate((most[better], scores[better]), axis=1)
        most[better] = np.partition(found, -K, axis=1)[:, -K:]
    least: NDArray[np.float32] = most.min(axis=1) - np.float32(_TIE)
    return least


def _recalls(
    scan: FastScan, vectors: StoredVectors, queries: Vectors, own_rows: Rows, least: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Recall@10 of each query at each of `_DEPTHS`, float32 (n, depths); ties count as hits."""
    recalls = np.empty((len(queries), len(_DEPTHS)), np.float32)
    ranked = scan.nearest(queries, _DEPTHS[-1]).rows
    ends = np.minimum(_DEPTHS, ranked.shape[1]) - 1
    for number, rows in enumerate(ranked):
        right = np.zeros(len(rows), bool)
        found, stop = 0, 0
        while found < K and stop < len(rows):  # most queries need few of the rows
            start, stop = stop, stop + max(stop, _ROWS_LOOKED_UP)
            part = rows[start:stop]
            right[start:stop] = vectors.take(part) @ queries[number] >= least[number]
            right[start:stop] &= part != own_rows[number]
            found += int(np.count_nonzero(right[start:stop]))
        recalls[number] = np.minimum(np.cumsum(right), K)[ends] / K
    return recalls


def _depth(recalls: NDArray[np.float32], target: float) -> tuple[int, float]:
    """The least depth that reaches the target recall, and the recall on the other half of the queries."""
    half = len(recalls) // 2
    choosing, reporting = recalls[:half], recalls[half:]
    errors = choosing.std(0) / math.sqrt(half)
    for number in range(len(_DEPTHS)):
        reported = float(reporting[:, number].mean())
        if choosing[:, number].mean() - MARGIN * errors[number] >= target and reported >= target:
            break
    return _DEPTHS[number], round(reported, 4)


def _search(scan: FastScan, vectors: StoredVectors, depth: int, query: Vectors) -> Ranking:
    return scan.search(query, K, depth, vectors)


def _p50_ms(search: Callable[[Vectors], object], queries: Vectors) -> float:
    """Median of the processor's time, which other programs on the machine hardly change."""
    times: list[float] = []
    for number in range(min(_TIMED, len(queries))):
        if sum(times) > _LONGEST_TIMING and number >= _LEAST_TIMED:
            break
        start = time.thread_time()
        search(queries[number : number + 1])
        times.append(time.thread_time() - start)
    return round(1000 * float(np.median(times)), 3)
