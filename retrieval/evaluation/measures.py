"""Rankings and judgements to measures: how good, how close to exact search, how fast.

In: `Qrels` and a `Run`. Out: `Scores`, a value per query and measure. Knows nothing of models or indexes.
Measures come from ir-measures under its names ("nDCG@10", "AP", "P(rel=2)@5"), and equal what trec_eval says
of the same run.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from index.errors import InputError
from retrieval.data.queries import Qrels
from retrieval.evaluation.runs import Run, ranking

if TYPE_CHECKING:  # imported where it is used, or every search would pay for it
    from ir_measures import Measure

DEFAULT_MEASURES = ("nDCG@10", "R@1", "R@10", "R@100", "RR@10")

_DEEPEST_CUTOFF = 1_000_000


@dataclass(frozen=True)
class Scores:
    """What a run is worth: values[measure][i], float64, belongs to query_ids[i]."""

    query_ids: tuple[str, ...]
    values: Mapping[str, NDArray[np.float64]]

    def mean(self, measure: str) -> float:
        """Mean over all judged queries. Raises InputError for a measure that was not computed."""
        return float(self.of(measure).mean())

    def means(self) -> dict[str, float]:
        """Mean of every measure, in the order asked for."""
        return {measure: self.mean(measure) for measure in self.values}

    def of(self, measure: str) -> NDArray[np.float64]:
        """The measure's values, float64 (n,). Raises InputError for one that was not computed."""
        if measure not in self.values:
            raise InputError(f"measure {measure!r} was not computed; choose from {', '.join(self.values)}")
        return self.values[measure]


def evaluate_run(qrels: Qrels, run: Run, measures: Sequence[str] = DEFAULT_MEASURES) -> Scores:
    """Value of every measure for every judged query, in the order of `qrels`.

    A judged query that the run lacks counts with the measure's value for an empty ranking, which is 0 for all
    that are usual; queries without judgements are left out. A document whose id equals the query's is a
    document like any other.
    Raises InputError if there are no judgements, for a score that is NaN, and for a measure that is unknown
    or unsupported.
    """
    import ir_measures

    if not qrels:
        raise InputError("no judged queries; give a split with judgements")
    parsed = {name: parse_measure(name) for name in measures}
    ranked = {name: _by_rank(name, run[name]) for name in qrels if run.get(name)}
    rows = {name: row for row, name in enumerate(qrels)}
    found = {measure: np.zeros(len(qrels)) for measure in parsed.values()}
    try:
        for metric in ir_measures.iter_calc(list(found), qrels, ranked):
            found[metric.measure][rows[metric.query_id]] = metric.value
    except (ValueError, RuntimeError, OSError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"cannot compute {', '.join(measures)} ({reason}); choose other measures") from error
    return Scores(tuple(qrels), {name: found[measure] for name, measure in parsed.items()})


def parse_measure(name: str) -> Measure:
    """The measure of that name. Raises InputError if ir-measures does not know it or cannot compute it."""
    import ir_measures

    pipeline: Any = ir_measures.DefaultPipeline  # not annotated
    try:
        measure: Measure = ir_measures.parse_measure(name)
        supported = all(_in_range(value) for value in measure.params.values())
        supported = supported and pipeline.supports(measure)
    except (NameError, ValueError, TypeError, AttributeError, AssertionError, RecursionError) as error:
        raise InputError(
            f"unknown measure {name!r}; write one as in nDCG@10, AP, R@100, P(rel=2)@5"
        ) from error
    if not supported:
        raise InputError(
            f"measure {name!r} cannot be computed; check its cutoff, or choose nDCG@10, AP, R@100, ..."
        )
    return measure


def _in_range(value: Any) -> bool:
    """Whether a measure's parameter is one that trec_eval survives: it ends the process at a cutoff of 0."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return True
    return 1 <= value <= _DEEPEST_CUTOFF if isinstance(value, int) else 0 <= value <= 1


def _by_rank(query: str, scores: Mapping[str, float]) -> dict[str, float]:
    """Scores of the same order without ties, which the programs behind ir-measures break differently."""
    if any(math.isnan(score) for score in scores.values()):
        raise InputError(f"a score of query {query!r} is NaN; rank by finite numbers")
    return {document: float(-place) for place, document in enumerate(ranking(scores))}


def ann_recall(
    approximate_rows: ArrayLike, exact_rows: ArrayLike, k: int, exact_scores: ArrayLike | None = None
) -> float:
    """Mean share of each query's exact k nearest rows that an approximate search found among its first k.

    approximate_rows: integers (n, at least k), padded with -1; exact_rows: integers (n, m), m at least k or
    the size of the corpus, best first. exact_scores: float (n, m) belonging to exact_rows. With it, a row
    beyond the k-th that scores the same is as good an answer as the k-th itself, up to float32 rounding; so
    give more than k exact rows. A result counts once, however often it is repeated. Raises InputError for
    shapes that do not fit.
    """
    approximate, exact = np.asarray(approximate_rows), np.asarray(exact_rows)
    scores = None if exact_scores is None else np.asarray(exact_scores, np.float32)
    fits = approximate.ndim == exact.ndim == 2 and len(approximate) == len(exact) > 0 and exact.shape[1] > 0
    if not fits or k < 1 or (scores is not None and scores.shape != exact.shape):
        raise InputError(
            f"results of shapes {approximate.shape} and {exact.shape} cannot be compared at k={k}"
        )
    shares = []
    for query in range(len(exact)):
        wanted = exact[query][exact[query] >= 0]
        size = min(k, len(wanted))
        answers = wanted[:size]
        if scores is not None and size:
            last = scores[query, size - 1]
            answers = wanted[scores[query, : len(wanted)] >= last - 1e-6 * max(1.0, abs(last))]
        shares.append(min(size, len(np.intersect1d(approximate[query, :k], answers))) / size if size else 1.0)
    return float(np.mean(shares))


def latency_percentiles(seconds: Iterable[float]) -> dict[str, float]:
    """Median, 95th and 99th percentile of durations in seconds, as {"p50", "p95", "p99"} in milliseconds."""
    taken = np.fromiter(seconds, np.float64)
    if not len(taken):
        raise InputError("no query was timed; give at least one")
    return {f"p{percent}": float(np.percentile(taken, percent) * 1000) for percent in (50, 95, 99)}
