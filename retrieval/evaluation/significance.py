"""Paired significance tests between two runs.

In: the `RunMeasures` of two runs over the same queries. Out: a `PairedTest`, or a `PairedComparison` for each
of several pairs of runs. Knows nothing of the systems behind the runs. Every random draw is seeded, so equal
input gives equal output.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from index.errors import InputError
from retrieval.evaluation.measures import RunMeasures

_SEED = 20140828
_CHUNK_CELLS = 2_000_000
_MOST_EXACT_QUERIES = 14
# Sums of the same differences in another order may differ by rounding.
_ROUNDING = 1e-12


@dataclass(frozen=True, slots=True)
class PairedTest:
    """Run a against run b by one measure. A difference above 0 means that a is better."""

    measure: str
    mean_a: float
    mean_b: float
    difference: float  # mean_a - mean_b
    low: float  # 95% bootstrap interval of the difference
    high: float
    p_value: float  # two-sided, of the paired randomisation test
    wins: int  # queries on which a is better
    losses: int
    ties: int


@dataclass(frozen=True, slots=True)
class PairedComparison:
    """The test between two named runs, with its p value corrected for the other tests of the same table."""

    a: str
    b: str
    test: PairedTest
    corrected_p: float

    def as_json(self) -> dict[str, object]:
        """Names and numbers, without nesting."""
        return {"a": self.a, "b": self.b, **asdict(self.test), "corrected_p": self.corrected_p}


def compare_all_pairs(
    runs: Mapping[str, RunMeasures], measure: str, *, rounds: int = 10_000
) -> list[PairedComparison]:
    """Test every pair of runs; `a` is the run with the higher mean.

    runs: the measures of each run by its name.
    measure: the measure to compare by.
    rounds: random samples of each test.
    Raises what `paired_test` raises.
    """
    order = sorted(runs, key=lambda name: -runs[name].mean(measure))
    return compare_pairs(runs, list(combinations(order, 2)), measure, rounds=rounds)


def compare_pairs(
    runs: Mapping[str, RunMeasures], pairs: Sequence[tuple[str, str]], measure: str, *, rounds: int = 10_000
) -> list[PairedComparison]:
    """Test the given pairs of runs and correct the p values by `holm`.

    runs: the measures of each run by its name.
    pairs: names of the runs a and b of each test.
    measure: the measure to compare by.
    rounds: random samples of each test.
    Raises what `paired_test` raises.
    """
    tests = [paired_test(runs[a], runs[b], measure, rounds=rounds) for a, b in pairs]
    corrected = holm([test.p_value for test in tests])
    return [PairedComparison(a, b, test, p) for (a, b), test, p in zip(pairs, tests, corrected, strict=True)]


def paired_test(a: RunMeasures, b: RunMeasures, measure: str, *, rounds: int = 10_000) -> PairedTest:
    """Test the difference between the means of two runs, query by query.

    a, b: the two runs, over the same queries in any order.
    measure: the measure to compare by.
    rounds: random samples of the test, and of the interval.
    The test is the paired randomisation test (Smucker, Allan and Carterette, CIKM 2007). It exchanges the
    values of the two runs on a random set of queries. The p value is the share of such exchanges whose
    difference of means is at least as large as the observed one. With up to 14 queries that differ, all
    exchanges are tried. The interval holds the middle 95% of the mean difference over bootstrap samples.
    Raises InputError if the runs were not measured over the same queries, or lack the measure.
    """
    differences = paired_differences(a, b, measure)
    low, high = _bootstrap_interval(differences, rounds)
    wins, losses, ties = wins_losses_ties(differences)
    return PairedTest(
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


def paired_differences(a: RunMeasures, b: RunMeasures, measure: str) -> NDArray[np.float64]:
    """Value of run a minus value of run b for each query.

    a, b: the two runs, over the same queries in any order.
    measure: the measure whose values are subtracted.
    Returns float64 (n,), in the order of a's queries.
    Raises InputError if the runs were not measured over the same queries, or lack the measure.
    """
    rows = {query_id: row for row, query_id in enumerate(b.query_ids)}
    if rows.keys() != set(a.query_ids) or not rows:
        raise InputError("the two runs were scored over different queries; evaluate both on one split")
    return a.of(measure) - b.of(measure)[[rows[query_id] for query_id in a.query_ids]]


def wins_losses_ties(differences: NDArray[np.float64]) -> tuple[int, int, int]:
    """Numbers of differences, float64 (n,), above 0, below 0 and equal to 0."""
    wins, losses = int((differences > 0).sum()), int((differences < 0).sum())
    return wins, losses, len(differences) - wins - losses


def holm(p_values: Sequence[float]) -> list[float]:
    """P values corrected for the number of tests (Holm 1979), in the order given.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    corrected = [0.0] * len(p_values)
    highest = 0.0
    for rank, position in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[position]))
        corrected[position] = highest
    return corrected


def _randomisation_p(differences: NDArray[np.float64], rounds: int) -> float:
    """Two-sided p value by sign flips. differences: float64 (n,), none of them 0."""
    count = len(differences)
    if not count:
        return 1.0
    observed = abs(differences.sum()) - _ROUNDING
    if count <= _MOST_EXACT_QUERIES:
        flips = (np.arange(2**count)[:, None] >> np.arange(count)) & 1
        return float((abs((1 - 2 * flips) @ differences) >= observed).mean())
    random = np.random.default_rng(_SEED)
    extreme = 0
    for size in _chunks(rounds, count):
        flips = random.integers(0, 2, (size, count), dtype=np.int8)
        sums = differences.sum() - 2 * (flips.astype(np.float64) @ differences)
        extreme += int((abs(sums) >= observed).sum())
    # The observed pairing is one of the possible ones, so p is never 0.
    return (extreme + 1) / (rounds + 1)


def _bootstrap_interval(differences: NDArray[np.float64], rounds: int) -> tuple[float, float]:
    """Percentiles 2.5 and 97.5 of the mean over bootstrap samples. differences: float64 (n,)."""
    random = np.random.default_rng(_SEED + 1)
    count = len(differences)
    means = [
        differences[random.integers(0, count, (size, count), dtype=np.int32)].mean(1)
        for size in _chunks(rounds, count)
    ]
    low, high = np.percentile(np.concatenate(means), [2.5, 97.5])
    return float(low), float(high)


def _chunks(rounds: int, count: int) -> list[int]:
    """Sizes that add up to `rounds`; an array (size, count) holds at most `_CHUNK_CELLS` cells."""
    size = max(1, _CHUNK_CELLS // count)
    return [min(size, rounds - start) for start in range(0, rounds, size)]
