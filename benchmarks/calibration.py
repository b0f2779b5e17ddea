"""Whether the probabilities of hits are right, and whether they detect questions without an answer.

    python -m benchmarks.calibration DATA INDEX OTHER_DATA OTHER_INDEX

First, each index is searched with the test queries of its own data, in each mode. Measured is the expected
calibration error (ten bins of equal width) of the first hit of each query and of the first ten. With so few
hits the error is above 0 even if every probability is right, so the mean error of labels that are drawn with
the probabilities is given beside it. Second, the index is searched with the test queries of the other data,
which it cannot answer. Measured is the AUROC of the best hit's probability, own queries against the others'.
Intervals are bootstraps over queries. Third, hybrid searches of the same index take turns with and without
probabilities, to measure what these cost. Writes
benchmarks/results/calibration.json.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.common import RESULTS, parser_of, write_result
from retrieval.data.dataset import Dataset
from retrieval.evaluation.calibration import BINS, calibration_error, reliability
from retrieval.evaluation.provenance import provenance
from retrieval.search.modes import MODES, Mode
from retrieval.search.retriever import Retriever

HITS = 10
BATCH = 64
SAMPLES = 1000
TIMED = 400


class Judged(NamedTuple):
    """The first hits of n queries; NaN where there are fewer than ten."""

    probabilities: NDArray[np.float64]  # (n, HITS)
    relevant: NDArray[np.bool_]  # (n, HITS)

    def taken(self, rows: NDArray[np.int64]) -> Judged:
        """Those of some queries."""
        return Judged(self.probabilities[rows], self.relevant[rows])

    def error(self, hits: int) -> float:
        """The calibration error of the first `hits` hits of each query."""
        found = ~np.isnan(self.probabilities[:, :hits])
        return calibration_error(self.probabilities[:, :hits][found], self.relevant[:, :hits][found])

    def best(self) -> NDArray[np.float64]:
        """The highest probability of each query's hits; 0 without hits."""
        return np.nan_to_num(self.probabilities).max(axis=1)


def judged(retriever: Retriever, data: Path, mode: Mode, *, own: bool) -> Judged:
    """The hits of the test queries of a data set. own: whether they are judged on this index."""
    dataset = Dataset(data)
    qrels, queries = dataset.qrels("test"), dataset.queries
    probabilities = np.full((len(qrels), HITS), np.nan)
    relevant = np.zeros((len(qrels), HITS), bool)
    ids = list(qrels)
    for start in range(0, len(ids), BATCH):
        batch = ids[start : start + BATCH]
        found = retriever.search_all([queries[query_id] for query_id in batch], HITS, mode)
        for row, (query_id, hits) in enumerate(zip(batch, found, strict=True), start):
            for place, hit in enumerate(hits):
                probabilities[row, place] = hit.probability
                relevant[row, place] = own and qrels[query_id].get(hit.id, 0) > 0
    return Judged(probabilities, relevant)


def interval(count: int, measure: Callable[[NDArray[np.int64]], float]) -> list[float]:
    """The 95% bootstrap interval of a measure over `count` queries. measure: called with rows of queries."""
    generator = np.random.default_rng(0)
    values = [measure(generator.integers(0, count, count)) for _ in range(SAMPLES)]
    return [round(float(value), 4) for value in np.percentile(values, [2.5, 97.5])]


def by_chance(probabilities: NDArray[np.float64]) -> float:
    """The mean calibration error of hits that are relevant with exactly these probabilities."""
    generator = np.random.default_rng(2)
    drawn = (generator.random(len(probabilities)) < probabilities for _ in range(SAMPLES))
    return statistics.fmean(calibration_error(probabilities, relevant) for relevant in drawn)


def errors(hits: Judged) -> dict[str, Any]:
    """The calibration errors of a mode, with intervals and those by chance alone, and the bins of both."""
    result: dict[str, Any] = {}
    for name, depth in (("first", 1), ("ten", HITS)):
        found = ~np.isnan(hits.probabilities[:, :depth])
        result[name] = {
            "error": round(hits.error(depth), 4),
            "interval": interval(len(hits.relevant), lambda rows, depth=depth: hits.taken(rows).error(depth)),
            "by_chance": round(by_chance(hits.probabilities[:, :depth][found]), 4),
            "bins": [
                {key: round(value, 4) for key, value in each._asdict().items()}
                for each in reliability(hits.probabilities[:, :depth][found], hits.relevant[:, :depth][found])
            ],
        }
    return result


def separation(higher: NDArray[np.floating], lower: NDArray[np.floating]) -> float:
    """The AUROC: how often a value of the one set is above one of the other; a tie counts half.

    higher, lower: (n,) and (m,), neither empty.
    """
    ordered = np.sort(lower)
    below = np.searchsorted(ordered, higher, "left")
    not_above = np.searchsorted(ordered, higher, "right")
    return float((below + not_above).mean() / (2 * len(lower)))


def separated(own: Judged, others: Judged) -> dict[str, Any]:
    """AUROC of the best hit's probability: this set's queries against the other's."""
    ours, theirs = own.best(), others.best()
    generator = np.random.default_rng(1)
    return {
        "auroc": round(separation(ours, theirs), 4),
        "interval": interval(
            len(ours),
            lambda rows: separation(ours[rows], theirs[generator.integers(0, len(theirs), len(theirs))]),
        ),
        "median_best": {
            "own": round(float(np.median(ours)), 4),
            "others": round(float(np.median(theirs)), 4),
        },
    }


def cost(index: Path, queries: list[str]) -> dict[str, float]:
    """Median milliseconds of a hybrid search, by turns with and without probabilities."""
    taken: dict[str, list[float]] = {"with": [], "without": []}
    with Retriever.open(index) as likely, Retriever.open(index) as plain:
        plain._opened.tower.calibration = None
        pairs = {"with": likely, "without": plain}
        for number, query in enumerate(queries):
            for name in sorted(pairs, reverse=bool(number % 2)):
                start = time.perf_counter()
                pairs[name].search(query, HITS)
                taken[name].append((time.perf_counter() - start) * 1000)
    warm = len(queries) // 4
    ratios = [a / b for a, b in zip(taken["with"][warm:], taken["without"][warm:], strict=True)]
    return {
        "with_ms": round(statistics.median(taken["with"][warm:]), 3),
        "without_ms": round(statistics.median(taken["without"][warm:]), 3),
        "ratio": round(statistics.median(ratios), 4),
    }


def measured(data: Path, index: Path, other: Path) -> dict[str, Any]:
    """Everything of one set."""
    result: dict[str, Any] = {"modes": {}}
    with Retriever.open(index, kept_bytes=64 << 20) as retriever:
        for mode in MODES:
            own = judged(retriever, data, mode, own=True)
            others = judged(retriever, other, mode, own=False)
            result["modes"][mode] = {**errors(own), "others": separated(own, others)}
        result["queries"] = len(own.relevant)
        result["other_queries"] = len(others.relevant)
    dataset = Dataset(data)
    texts = dataset.queries
    result["cost"] = cost(index, [texts[query_id] for query_id in dataset.qrels("test")][:TIMED])
    return result


def show(name: str, result: Mapping[str, Any]) -> None:
    """Print what was measured of one set."""
    print(f"{name}: {result['queries']:,} queries, {result['other_queries']:,} of the other set")
    for mode, values in result["modes"].items():
        parts = [
            f"ECE {what} {values[key]['error']:.3f} ({values[key]['interval'][0]:.3f} to "
            f"{values[key]['interval'][1]:.3f}; by chance {values[key]['by_chance']:.3f})"
            for key, what in (("first", "first hit"), ("ten", "first ten"))
        ]
        others = values["others"]
        low, high = others["interval"]
        print(f"  {mode:8} {', '.join(parts)}, AUROC {others['auroc']:.3f} ({low:.3f} to {high:.3f})")
    print("  first hit, hybrid    probability  relevant  queries")
    for each in result["modes"]["hybrid"]["first"]["bins"]:
        print(
            f"    {each['low']:.1f} to {each['high']:.1f} {each['probability']:17.3f} {each['relevant']:9.3f}"
            f" {each['hits']:8,.0f}"
        )
    taken = result["cost"]
    print(f"  search {taken['with_ms']} ms with, {taken['without_ms']} ms without: {taken['ratio']:.3f}")


def main() -> None:
    """Measure both sets, print, write."""
    parser = parser_of(__doc__)
    parser.add_argument("places", type=Path, nargs=4, metavar="DATA INDEX OTHER_DATA OTHER_INDEX")
    data, index, other_data, other_index = parser.parse_args().places
    result: dict[str, Any] = provenance("python -m benchmarks.calibration DATA INDEX OTHER_DATA OTHER_INDEX")
    result["bins"] = BINS
    for own, its_index, other in ((data, index, other_data), (other_data, other_index, data)):
        result[own.name] = measured(own, its_index, other)
        show(own.name, result[own.name])
    write_result(RESULTS / "calibration.json", result)


if __name__ == "__main__":
    main()
