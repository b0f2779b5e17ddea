"""Whether one ranking is better than another, or the queries were kind to it.

In: the `Scores` of two runs over the same queries. Out: a `Comparison`. Knows nothing of what made the runs.
Every draw is seeded, so that equal scores give equal answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from index.errors import InputError
from retrieval.evaluation.measures import Scores

_SEED = 20140828
_CHUNK_CELLS = 2_000_000
_MOST_EXACT_QUERIES = 14
# Sums of the same differences in another order are equal but for rounding.
_ROUNDING = 1e-12


@dataclass(frozen=True, slots=True)
class Comparison:
    """Run a against run b by one measure; a difference above 0 speaks for a."""

    measure: str
    mean_a: float
    mean_b: float
    difference: float
    low: float  # 95% bootstrap interval of the difference
    high: float
    p_value: float  # two-sided, of the paired randomisation test
    wins: int  # queries on which a is better
    losses: int
    ties: int


def compare(a: Scores, b: Scores, measure: str, *, rounds: int = 10_000) -> Comparison:
    """Compare two runs query by query.

    p_value: the paired randomisation test of Smucker, Allan and Carterette (CIKM 2007): how often the
    difference of means is at least as large when the two runs swap their values on a random half of the
    queries; all ways to swap are tried where there are few. The interval holds the middle 95% of the mean
    difference over `rounds` samples of the queries.
    Raises InputError if the runs were not scored over the same queries.
    """
    differences = paired_differences(a, b, measure)
    low, high = _bootstrap_interval(differences, rounds)
    wins, losses, ties = wins_losses_ties(differences)
    return Comparison(
        measure=measure,
        mean_a=a.mean(measure),
        mean_b=b.mean(measure),
        difference=float(differences.mean()),
        low=low,
        high=high,
        p_value=_randomisation_p(differences[differences != 0], rounds),
        wins=wins,
        losses=losses,
        ties=ties,
    )


def paired_differences(a: Scores, b: Scores, measure: str) -> NDArray[np.float64]:
    """Value of run a minus value of run b for each query, float64 (n,), in the order of a's queries.

    Raises InputError if the runs were not scored over the same queries.
    """
    rows = {query_id: row for row, query_id in enumerate(b.query_ids)}
    if rows.keys() != set(a.query_ids) or not rows:
        raise InputError("the two runs were scored over different queries; evaluate both on one split")
    return a.of(measure) - b.of(measure)[[rows[query_id] for query_id in a.query_ids]]


def wins_losses_ties(differences: NDArray[np.float64]) -> tuple[int, int, int]:
    """How many differences are above, below and at 0."""
    wins, losses = int((differences > 0).sum()), int((differences < 0).sum())
    return wins, losses, len(differences) - wins - losses


def holm(p_values: Sequence[float]) -> list[float]:
    """P values corrected for having made several comparisons (Holm 1979), in the order given.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    corrected = [0.0] * len(p_values)
    highest = 0.0
    for done, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - done) * p_values[place]))
        corrected[place] = highest
    return corrected


def _randomisation_p(differences: NDArray[np.float64], rounds: int) -> float:
    """Two-sided p value by flipping signs. differences: float64 (n,), those that are not 0."""
    count = len(differences)
    if not count:
        return 1.0
    seen = abs(differences.sum()) - _ROUNDING
    if count <= _MOST_EXACT_QUERIES:
        flips = (np.arange(2**count)[:, None] >> np.arange(count)) & 1
        return float((abs((1 - 2 * flips) @ differences) >= seen).mean())
    random = np.random.default_rng(_SEED)
    extreme = 0
    for size in _chunks(rounds, count):
        flips = random.integers(0, 2, (size, count), dtype=np.int8)
        sums = differences.sum() - 2 * (flips.astype(np.float64) @ differences)
        extreme += int((abs(sums) >= seen).sum())
    # The pairing that was seen is one of those possible, so p is never 0.
    return (extreme + 1) / (rounds + 1)


def _bootstrap_interval(differences: NDArray[np.float64], rounds: int) -> tuple[float, float]:
    """Percentiles 2.5 and 97.5 of the mean of a resample. differences: float64 (n,)."""
    random = np.random.default_rng(_SEED + 1)
    count = len(differences)
    means = [
        differences[random.integers(0, count, (size, count), dtype=np.int32)].mean(1)
        for size in _chunks(rounds, count)
    ]
    low, high = np.percentile(np.concatenate(means), [2.5, 97.5])
    return float(low), float(high)


def _chunks(rounds: int, count: int) -> list[int]:
    """Sizes that add up to `rounds`, each small enough for a (size, count) array to stay small."""
    size = max(1, _CHUNK_CELLS // count)
    return [min(size, rounds - start) for start in range(0, rounds, size)]


@dataclass(frozen=True, slots=True)
class Contest:
    """Two named runs, their comparison, and its p value corrected for the contests held beside it."""

    a: str
    b: str
    comparison: Comparison
    corrected_p: float

    def as_json(self) -> dict[str, object]:
        """Plain numbers and names, flat."""
        return {"a": self.a, "b": self.b, **asdict(self.comparison), "corrected_p": self.corrected_p}


def compare_all(runs: Mapping[str, Scores], measure: str, *, rounds: int = 10_000) -> list[Contest]:
    """Every pair of runs, the one with the higher mean as `a`, with p values corrected by `holm`."""
    order = sorted(runs, key=lambda name: -runs[name].mean(measure))
    pairs = list(combinations(order, 2))
    comparisons = [compare(runs[a], runs[b], measure, rounds=rounds) for a, b in pairs]
    corrected = holm([comparison.p_value for comparison in comparisons])
    return [Contest(a, b, c, p) for (a, b), c, p in zip(pairs, comparisons, corrected, strict=True)]
