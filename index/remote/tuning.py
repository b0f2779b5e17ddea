"""Choice of the server's index over the dense vectors, by measuring recall and time on that server.

In: a collection with its vectors, the same vectors here, a goal, real queries if there are any. Out: the
index that the collection then has, its parameters, and all that was measured. Knows nothing of documents.

A server does not tell how much memory an index takes, so that is computed: vectors of 4 bytes a dimension, of
1 byte in IVF_SQ8, and the codes of DISKANN, an eighth of the vectors, which are themselves on the server's
disk; the links of HNSW and the centroids of IVF. With a limit only kinds below it are tried.

Exact search is computed here, from the vectors themselves. As for a local index one half of the queries
chooses the parameter and the other half reports. What a server accepts is not always what it does:
Milvus-lite takes some kinds and searches them exactly, so measure on the server that will serve.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from index.dense.fastscan import K
from index.dense.tuning import MARGIN, SMALL, Goal, choose_queries, least_scores
from index.errors import InputError, RemoteError
from index.remote.client import Collection, Hit
from index.remote.nearest import nearest
from index.values import Progress, Rows, Scalar, Vectors

FLAT = "FLAT"
# Queries to tune by, and how many of them are timed.
_QUERIES = 400
_TIMED = 20
# Neighbours of a vector in HNSW.
_LINKS = 16


class Kind(NamedTuple):
    """A kind of index that the server builds: its settings, its search parameter and the values to try.

    bytes: of memory that it takes on the server.
    """

    name: str
    settings: Mapping[str, int]
    parameter: str
    values: Sequence[int]
    bytes: int


@dataclass(frozen=True, slots=True)
class Tried:
    """An index that was measured.

    name: of its kind.
    parameter, value: of the search; "" and 0 for exact search.
    recall: recall@10 on the queries that did not choose the value.
    p50_ms: median time of a search.
    bytes: of memory on the server, computed.
    problem: why the server did not make the index; "" if it did.
    """

    name: str
    parameter: str
    value: int
    recall: float
    p50_ms: float
    bytes: int
    problem: str = ""

    def parameters(self) -> dict[str, Scalar]:
        """The search parameter and the recall measured with it; empty for exact search."""
        return {self.parameter: self.value, "recall@10": self.recall} if self.parameter else {}

    def meets(self, goal: Goal) -> bool:
        """Whether it reaches the goal."""
        fast = goal.max_latency_ms is None or self.p50_ms <= goal.max_latency_ms
        return not self.problem and self.recall >= goal.recall and fast

    def as_mapping(self, prefix: str) -> dict[str, Scalar]:
        """What a manifest keeps of it. prefix: of the name."""
        facts: dict[str, Scalar] = {"name": f"{prefix}{self.name}", "bytes": self.bytes}
        if self.problem:
            return {**facts, "problem": self.problem}
        return {**facts, **self.parameters(), "p50_ms": self.p50_ms}

    def __str__(self) -> str:
        told = self.problem or f"recall {self.recall:.4f}, {self.p50_ms:.2f} ms"
        return f"{self.name} {self.bytes:,} bytes, {told}"


def kinds_for(count: int, dimension: int, goal: Goal) -> list[Kind]:
    """The kinds to try, exact search first: those within the limit on memory.

    count: how many vectors there are.
    dimension: their width.
    goal: the requirements. Without a limit no kind is tried that is only smaller than the others.
    Raises InputError if no kind is within the limit.
    """
    limit = goal.max_bytes
    lists = max(16, min(65_536, int(4 * math.sqrt(count))))
    probes = [value for value in (1, 2, 4, 8, 16, 32, 64, 128, 256) if value <= lists]
    widths = (16, 32, 64, 128, 256, 512, 1024)
    vectors, centroids = 4 * dimension * count, lists * 4 * dimension
    links = 2 * _LINKS * 4 + 8  # to neighbours of 4 bytes each, and the number of the row
    hnsw = {"M": _LINKS, "efConstruction": 200}
    usual = [
        Kind(FLAT, {}, "", (0,), vectors),
        Kind("HNSW", hnsw, "ef", widths, vectors + links * count),
        Kind("IVF_FLAT", {"nlist": lists}, "nprobe", probes, vectors + 8 * count + centroids),
    ]
    if limit is None:
        return usual
    small = [
        Kind("IVF_SQ8", {"nlist": lists}, "nprobe", probes, (dimension + 8) * count + centroids),
        Kind("DISKANN", {}, "search_list", widths, vectors // 8),
    ]
    within = [kind for kind in (*usual, *small) if kind.bytes <= limit]
    if not within:
        least = min((*usual, *small), key=lambda kind: kind.bytes)
        raise InputError(
            f"no index of a server takes at most {limit:,} bytes; the smallest, {least.name}, takes "
            f"{least.bytes:,}; give it more by --max-memory"
        )
    return within


def tune(
    collection: Collection,
    kinds: Sequence[Kind],
    vectors: NDArray[np.float16],
    queries: Vectors | None,
    goal: Goal,
    progress: Progress,
) -> tuple[Tried, list[Tried]]:
    """Give a collection the fastest index that meets the goal; it is searchable on return.

    collection: with all rows, numbered as the vectors.
    kinds: to try, as `kinds_for` gives them.
    vectors: float16 (n, d), of unit length.
    queries: real queries, float32 (m, d); with fewer than 50, or None, vectors of the corpus are the queries.
    goal: the requirements.
    progress: called after each kind.
    Returns the choice, and all that was measured. Raises InputError if no kind meets the goal, RemoteError.
    """
    small = len(vectors) < SMALL or goal.recall == 1
    only_flat = small and goal.max_latency_ms is None and kinds[0].name == FLAT
    candidates = kinds[:1] if only_flat else kinds

    def take(rows: Rows) -> Vectors:
        return vectors[rows].astype(np.float32)

    asked, own = choose_queries(queries, len(vectors), take, _QUERIES)
    tried: list[Tried] = []
    scores = np.empty(0, np.float32)
    for done, kind in enumerate(candidates):
        progress("tuning", done, len(candidates))
        try:
            collection.index(kind.name, kind.settings)
        except RemoteError as error:  # some servers lack some kinds, such as those on disk
            tried.append(Tried(kind.name, kind.parameter, 0, 0.0, 0.0, kind.bytes, str(error)))
            continue
        if kind.parameter and not len(scores):
            scores = least_scores(asked, len(vectors), take, own)
        tried.append(_measured(collection, kind, asked, own, scores, goal.recall))
        if small and tried[-1].meets(goal):
            break
    progress("tuning", len(candidates), len(candidates))
    fit = [each for each in tried if each.meets(goal)]
    if not fit:
        told = "; ".join(map(str, tried))
        raise InputError(f"no index of this server meets the goal, loosen it: {told}")
    chosen = min(fit, key=lambda each: each.p50_ms)
    if chosen is not tried[-1]:
        kind = next(kind for kind in candidates if kind.name == chosen.name)
        collection.index(kind.name, kind.settings)
    return chosen, tried


def _measured(
    collection: Collection, kind: Kind, queries: Vectors, own: Rows, least: NDArray[np.float32], target: float
) -> Tried:
    """The cheapest setting of a kind that reaches the target, or its dearest one."""

    def search(some: Vectors, value: int, k: int) -> list[list[Hit]]:
        parameters = {kind.parameter: value} if value else {}
        return nearest(collection, some, k, "number >= 0", kind.name, parameters)

    value, recall = kind.values[0], 1.0
    if kind.parameter:
        half = len(queries) // 2
        for value in kind.values:
            recalls = _recalls(search(queries, value, K + 1), own, least)
            error = float(recalls[:half].std()) / math.sqrt(max(1, half))
            recall = round(float(recalls[half:].mean()), 4)
            if float(recalls[:half].mean()) - MARGIN * error >= target and recall >= target:
                break
    p50 = _p50_ms(lambda query: search(query, value, K), queries[:_TIMED])
    return Tried(kind.name, kind.parameter, value, recall, p50, kind.bytes)


def _recalls(found: list[list[Hit]], own: Rows, least: NDArray[np.float32]) -> NDArray[np.float64]:
    """Recall@10 of each query; ties count as hits, the query's own row does not."""
    right = [
        sum(score >= limit for number, _, score in hits if number != mine)
        for hits, mine, limit in zip(found, own.tolist(), least.tolist(), strict=True)
    ]
    return np.minimum(right, K) / K


def _p50_ms(search: Callable[[Vectors], object], queries: Vectors) -> float:
    times = []
    for number in range(len(queries)):
        start = time.perf_counter()
        search(queries[number : number + 1])
        times.append(time.perf_counter() - start)
    return round(1000 * float(np.median(times)), 3) if times else 0.0
