"""Which FAISS index a segment's vectors get: chosen by measuring, on these vectors, recall, time and memory.

In: the stored vectors, a goal and, best, real queries. Out: what was tried, and the choice, its file written.

The candidates are the stored vectors themselves, compared one by one (Flat), and their product quantisation
at several sizes with exact scores for so many of the best. Others that FAISS has were measured on 669,357
real documents and left out (benchmarks/NOTES.md): they miss what the goal asks for or take longer.

Recall is measured twice: on one half of the queries the number of candidates is chosen, with room for the
luck of a sample; what is promised is the recall on the other half.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from index.dense.fastscan import FEWEST_POINTS, FastScan, K, code_bytes, write_fastscan
from index.dense.vectors import StoredVectors, search_exact
from index.disk.files import storing
from index.errors import CorruptError, InputError
from index.ranking import Ranking
from index.values import Progress, Scalar, no_progress

FLAT = "Flat"

# A corpus below this stays exact, unless memory or time forbid: it takes less than a millisecond.
SMALL = 20_000

_QUERIES = 800
_FEWEST = 50
_TIMED = 100
_TIMED_EXACT = 20
# Standard errors that the recall on the choosing half must lie above the goal.
_ROOM = 2.0
# Cosines closer than this are equal: documents that occur twice.
_ALIKE = 1e-5
_DEPTHS = (20, 30, 50, 75, 100, 150, 200, 300, 450, 700, 1000, 1500, 2000)
_SEED = 2

Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Goal:
    """What a search must keep to. recall: least recall@10 against exact search; max_bytes: most bytes that
    every search reads, and so should stay in memory; max_latency_ms: longest median time of a dense search.
    """

    recall: float = 0.99
    max_bytes: int | None = None
    max_latency_ms: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.recall <= 1:
            raise InputError(f"the target recall must be above 0 and at most 1, not {self.recall}")

    def to_mapping(self) -> Mapping[str, Scalar]:
        """As the manifest keeps it."""
        return asdict(self)

    @classmethod
    def of(cls, mapping: Mapping[str, Scalar]) -> Goal:
        """Back from the manifest; exact search where it has none. Raises CorruptError."""
        recall, most_bytes, most_ms = (mapping.get(field.name) for field in fields(cls))
        if (
            not isinstance(recall := 1 if recall is None else recall, int | float)
            or not isinstance(most_bytes, int | None)
            or not isinstance(most_ms, int | float | None)
        ):
            raise CorruptError("the index's goal holds something other than numbers; build it again")
        return cls(recall, most_bytes, most_ms)


@dataclass(frozen=True, slots=True)
class Candidate:
    """An index that was measured. name: FAISS's description; parts: of a vector, 0 for Flat; depth: how many
    of the best are scored exactly; recall: recall@10 on queries that had no say in depth; p50_ms: median time
    of one search on one thread; bytes: that a search reads.
    """

    name: str
    parts: int
    depth: int
    recall: float
    p50_ms: float
    bytes: int

    def parameters(self) -> dict[str, Scalar]:
        """What a search sets, and the recall it then has; nothing for Flat."""
        if self.name == FLAT:
            return {}
        return {"parts": self.parts, "depth": self.depth, "recall@10": self.recall}

    def meets(self, goal: Goal) -> bool:
        """Whether it keeps to the goal."""
        return (
            self.recall >= goal.recall
            and (goal.max_bytes is None or self.bytes <= goal.max_bytes)
            and (goal.max_latency_ms is None or self.p50_ms <= goal.max_latency_ms)
        )


@dataclass(frozen=True, slots=True)
class Tuning:
    """What was tried, and which of it was chosen."""

    tried: tuple[Candidate, ...]
    chosen: Candidate


def tune(
    vectors: StoredVectors,
    queries: Vectors | None,
    goal: Goal,
    path: Path,
    progress: Progress = no_progress,
) -> Tuning:
    """Choose the fastest candidate that meets the goal, and write its file to `path` if it needs one.

    queries: real ones, float32 (n, d) of unit length, of which up to 800 are used; without, or with fewer
    than 50, vectors of the corpus are asked for, each without itself among the answers.
    Raises InputError that tells what each candidate costs, if none meets the goal; then there is no file.
    """
    asked, own = _questions(vectors, queries)
    exact_ms = _p50_ms(lambda query: search_exact(vectors, query, K), asked[:_TIMED_EXACT])
    flat = Candidate(FLAT, 0, 0, 1.0, exact_ms, vectors.count * vectors.dimension * 2)
    tried = [flat]
    if flat.meets(goal) and (vectors.count < SMALL or goal.recall == 1):
        return Tuning((flat,), flat)
    sizes = part_counts(vectors)
    least = _least_scores(vectors, asked, own) if sizes else np.empty(0, np.float32)
    for done, parts in enumerate(sizes):
        progress("tuning", done, len(sizes))
        file = _file(path, parts)
        write_fastscan(file, vectors, parts)
        scan = FastScan(file, vectors.count, vectors.dimension, parts)
        depth, recall = _depth(_recalls(scan, vectors, asked, own, least), goal.recall)
        p50 = _p50_ms(partial(_search, scan, vectors, depth), asked)
        name = f"PQ{parts}x4fs,Refine"
        tried.append(Candidate(name, parts, depth, recall, p50, code_bytes(vectors.count, parts)))
    progress("tuning", len(sizes), len(sizes))
    fit = [one for one in tried if one.meets(goal)]
    chosen = min(fit, key=lambda one: one.p50_ms) if fit else None
    with storing(path):
        for parts in sizes:
            if chosen is not None and parts == chosen.parts:
                _file(path, parts).rename(path)
            else:
                _file(path, parts).unlink()
    if chosen is None:
        raise InputError(f"no index meets the goal, loosen it: {'; '.join(map(_cost, tried))}")
    return Tuning(tuple(tried), chosen)


def part_counts(vectors: StoredVectors) -> list[int]:
    """Into how many parts a vector may be cut, fewest first: of eight, four or two dimensions each."""
    if vectors.count < FEWEST_POINTS:
        return []
    sizes = (size for size in (8, 4, 2) if vectors.dimension % (2 * size) == 0)
    return [vectors.dimension // size for size in sizes]


def _file(path: Path, parts: int) -> Path:
    return path.with_name(f"{path.name}.{parts}")


def _cost(one: Candidate) -> str:
    return f"{one.name} recall {one.recall:.4f}, {one.p50_ms:.2f} ms, {one.bytes:,} bytes"


def _questions(vectors: StoredVectors, queries: Vectors | None) -> tuple[Vectors, NDArray[np.int64]]:
    """What to ask for, and for each question the row that must not be an answer, -1 for none."""
    generator = np.random.default_rng(_SEED)
    if queries is not None and len(queries) >= _FEWEST:
        chosen = generator.permutation(len(queries))[:_QUERIES]
        return np.ascontiguousarray(queries[chosen], np.float32), np.full(len(chosen), -1)
    rows = generator.permutation(vectors.count)[:_QUERIES]
    return vectors.take(rows), rows


def _least_scores(vectors: StoredVectors, asked: Vectors, own: NDArray[np.int64]) -> Vectors:
    """The score a row must have to be among the ten best of each question, float32 (n,)."""
    truth = search_exact(vectors, asked, K + 1)
    least = np.empty(len(asked), np.float32)
    for number, (rows, scores) in enumerate(zip(truth.rows, truth.scores, strict=True)):
        others = scores[(rows >= 0) & (rows != own[number])]
        least[number] = others[:K][-1] if len(others) else -np.inf
    return least - np.float32(_ALIKE)


def _recalls(
    scan: FastScan, vectors: StoredVectors, asked: Vectors, own: NDArray[np.int64], least: Vectors
) -> Vectors:
    """Recall@10 of each question at each depth of `_DEPTHS`, float32 (n, depths). Of rows with equal scores
    any will do.
    """
    recalls = np.empty((len(asked), len(_DEPTHS)), np.float32)
    ranked = scan.nearest(asked, _DEPTHS[-1]).rows
    ends = np.minimum(_DEPTHS, ranked.shape[1]) - 1
    for number, rows in enumerate(ranked):
        right = (vectors.take(rows) @ asked[number] >= least[number]) & (rows != own[number])
        recalls[number] = np.minimum(np.cumsum(right), K)[ends] / K
    return recalls


def _depth(recalls: Vectors, wanted: float) -> tuple[int, float]:
    """The least depth that reaches the recall wanted, and the recall it promises."""
    half = len(recalls) // 2
    choosing, promising = recalls[:half], recalls[half:]
    errors = choosing.std(0) / math.sqrt(half)
    for number in range(len(_DEPTHS)):
        promised = float(promising[:, number].mean())
        if choosing[:, number].mean() - _ROOM * errors[number] >= wanted and promised >= wanted:
            break
    return _DEPTHS[number], round(promised, 4)


def _search(scan: FastScan, vectors: StoredVectors, depth: int, query: Vectors) -> Ranking:
    return scan.search(query, K, depth, vectors)


def _p50_ms(search: Callable[[Vectors], object], asked: Vectors) -> float:
    times = []
    for number in range(min(_TIMED, len(asked))):
        start = time.perf_counter()
        search(asked[number : number + 1])
        times.append(time.perf_counter() - start)
    return round(1000 * float(np.median(times)), 3)
