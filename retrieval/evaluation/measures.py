"""Measures of a run against qrels, recall of an ANN search, and latency percentiles.

In: `Qrels` and a `Run`; rows of an ANN search and an exact one; durations. Out: `RunMeasures`, or numbers.
Knows nothing of models or indexes. Measures have the names of ir-measures ("nDCG@10", "AP", "P(rel=2)@5"),
which computes all but the usual ones; the values equal those of trec_eval for the same run.
"""

from __future__ import annotations

import ast
import math
import subprocess
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from index.errors import InputError, MissingExtraError
from retrieval.data.queries import Qrels
from retrieval.evaluation.runs import Run, ranking
from retrieval.evaluation.usual import UsualMeasure, usual_measure

if TYPE_CHECKING:  # slow to import, so it is imported where it is used
    import ir_measures

DEFAULT_MEASURES = ("nDCG@10", "R@1", "R@10", "R@100", "RR@10")

_DEEPEST_CUTOFF = 1_000_000
# The highest grade that gdeval, which computes ERR, takes; it fails with others.
_HIGHEST_OF_GDEVAL = 4
# What a name that is none can raise.
_NO_MEASURE = (SyntaxError, KeyError, ValueError, TypeError, AssertionError, RecursionError, MemoryError)


@dataclass(frozen=True)
class RunMeasures:
    """The value of each measure for each judged query of a run."""

    query_ids: tuple[str, ...]  # n of them
    values: Mapping[str, NDArray[np.float64]]  # measure to float64 (n,), in the order of query_ids

    def mean(self, measure: str) -> float:
        """Mean of a measure over all judged queries. Raises InputError if it was not computed."""
        return float(self.of(measure).mean())

    def means(self) -> dict[str, float]:
        """Mean of every measure, in the order in which they were requested."""
        return {measure: self.mean(measure) for measure in self.values}

    def of(self, measure: str) -> NDArray[np.float64]:
        """The values of a measure, float64 (n,). Raises InputError if it was not computed."""
        if measure not in self.values:
            raise InputError(f"measure {measure!r} was not computed; choose from {', '.join(self.values)}")
        return self.values[measure]


def evaluate_run(qrels: Qrels, run: Run, measures: Sequence[str] = DEFAULT_MEASURES) -> RunMeasures:
    """Value of every measure for every judged query, in the order of `qrels`.

    qrels: grades by query id and document id.
    run: scores by query id and document id. A judged query that it lacks counts as an empty ranking, which
        all usual measures give 0; queries without judgements are ignored. A document may have the id of its
        query.
    measures: names of ir-measures.
    Raises InputError if there are no judgements, for a score that is NaN, and for a measure that is unknown
    or cannot be computed.
    """
    if not qrels:
        raise InputError("no judged queries; give a split with judgements")
    parsed = {name: parse_measure(name) for name in measures}
    ranked = {query_id: _ranked(query_id, run[query_id]) for query_id in qrels if run.get(query_id)}
    rest = {measure for measure in parsed.values() if not isinstance(measure, UsualMeasure)}
    others = _of_library(qrels, ranked, rest) if rest else {}
    values = {}
    for name, measure in parsed.items():
        if isinstance(measure, UsualMeasure):
            each = (measure.of(grades, ranked.get(query_id, [])) for query_id, grades in qrels.items())
            values[name] = np.fromiter(each, np.float64, len(qrels))
        else:
            values[name] = others[measure]
    return RunMeasures(tuple(qrels), values)


def _of_library(
    qrels: Qrels, ranked: Mapping[str, Sequence[str]], measures: Collection[ir_measures.Measure]
) -> dict[ir_measures.Measure, NDArray[np.float64]]:
    """The values that ir-measures computes, by measure. Raises InputError if it cannot."""
    import ir_measures

    if max((grade for judged in qrels.values() for grade in judged.values()), default=0) > _HIGHEST_OF_GDEVAL:
        for measure in measures:
            if measure.NAME == "ERR" or measure.params.get("dcg") == "exp-log2":
                raise InputError(
                    f"cannot compute {measure} (it knows no grades above {_HIGHEST_OF_GDEVAL}); "
                    "choose other measures"
                )
    grades, run = _numbered(qrels, ranked)
    values = {measure: np.zeros(len(qrels)) for measure in measures}
    try:
        for metric in ir_measures.iter_calc(list(values), grades, run):
            values[metric.measure][int(metric.query_id)] = metric.value
    except (ValueError, RuntimeError, OSError, subprocess.CalledProcessError) as error:
        reason = " ".join(str(error).split())
        names = ", ".join(map(str, measures))
        raise InputError(f"cannot compute {names} ({reason}); choose other measures") from error
    return values


def _numbered(
    qrels: Qrels, ranked: Mapping[str, Sequence[str]]
) -> tuple[dict[str, dict[str, int]], dict[str, dict[str, float]]]:
    """Judgements and a run of queries and documents that are called by numbers, queries by their rows.

    Some programs behind ir-measures read ids without spaces, and of queries only numbers. They break ties in
    different ways, so there are none.
    """
    numbers: defaultdict[str, str] = defaultdict(lambda: str(len(numbers)))
    grades, run = {}, {}
    for row, (query_id, judged) in enumerate(qrels.items()):
        grades[str(row)] = {numbers[document_id]: grade for document_id, grade in judged.items()}
        if query_id in ranked:
            run[str(row)] = {numbers[each]: float(-rank) for rank, each in enumerate(ranked[query_id])}
    return grades, run


def parse_measure(name: str) -> UsualMeasure | ir_measures.Measure:
    """The measure of a name.

    Raises InputError if nothing here knows it or can compute it, MissingExtraError for a measure that is not
    a usual one without ir-measures.
    """
    usual = usual_measure(name)
    if usual is not None:
        return usual
    try:
        import ir_measures
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"measure {name!r} needs {error.name}, which is not installed; run: pip install ir-measures, or "
            f"choose from nDCG@10, R@100, RR@10, P@10, AP, Success@10 and other cutoffs"
        ) from error

    pipeline: Any = ir_measures.DefaultPipeline  # not annotated
    try:
        measure = _parsed(name)
        supported = all(_in_range(value) for value in measure.params.values())
        supported = supported and pipeline.supports(measure)
    except _NO_MEASURE as error:
        remedy = _in_usual_case(name) or "one as in nDCG@10, AP, R@100, P(rel=2)@5"
        raise InputError(f"unknown measure {name!r}; write {remedy}") from error
    if not supported:
        raise InputError(
            f"measure {name!r} cannot be computed; check its cutoff, or choose nDCG@10, AP, R@100, ..."
        )
    return measure


def cutoff_of(name: str) -> int | None:
    """The cutoff of a measure; None for the whole ranking. Raises as `parse_measure`."""
    measure = parse_measure(name)
    if isinstance(measure, UsualMeasure):
        return measure.cutoff
    cutoff = measure.params.get("cutoff")
    return None if cutoff is None else int(cutoff)


def _parsed(name: str) -> ir_measures.Measure:
    """The measure of a name: a family, its parameters in brackets, and its cutoff after @, as in P(rel=2)@5.

    `ir_measures.parse_measure` (0.4.3, the newest) needs names that Python 3.14 has taken out of `ast`.
    """
    from ir_measures.measures import registry

    node: Any = ast.parse(name, mode="eval").body
    parameters: dict[str, Any] = {}
    cutoff = None
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult):
        node, cutoff = node.left, node.right
    if isinstance(node, ast.Call) and not node.args:
        parameters = {str(each.arg): ast.literal_eval(each.value) for each in node.keywords}
        node = node.func
    if not isinstance(node, ast.Name):
        raise ValueError("no name of a measure")
    family = registry[node.id]
    if cutoff is not None:
        parameters[family.AT_PARAM] = ast.literal_eval(cutoff)
    measure: ir_measures.Measure = family(**parameters)
    return measure


def _in_usual_case(name: str) -> str | None:
    """The measure as ir-measures writes it, if only the case differs.

    >>> _in_usual_case("ndcg@10"), _in_usual_case("nDCG(x=1)@10")
    ('nDCG@10', None)
    """
    from ir_measures.measures import registry

    family = name.split("@")[0].split("(")[0]
    # Of two names that differ only in case, the one with more small letters is the name, the other an alias.
    usual = max((known for known in registry if known.lower() == family.lower()), default=family)
    return None if usual == family else usual + name[len(family) :]


def _in_range(value: Any) -> bool:
    """Whether trec_eval accepts a measure's parameter; at a cutoff of 0 it would end the process."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return True
    return 1 <= value <= _DEEPEST_CUTOFF if isinstance(value, int) else 0 <= value <= 1


def _ranked(query_id: str, scores: Mapping[str, float]) -> list[str]:
    """Document ids, best first. Raises InputError for a score that is NaN."""
    if any(math.isnan(score) for score in scores.values()):
        raise InputError(f"a score of query {query_id!r} is NaN; rank by finite numbers")
    return ranking(scores)


def ann_recall(
    approximate_rows: ArrayLike, exact_rows: ArrayLike, k: int, exact_scores: ArrayLike | None = None
) -> float:
    """Recall@k of an approximate search: the mean share of the k exact nearest rows that it found.

    approximate_rows: integers (n, at least k), best first, padded with -1.
    exact_rows: integers (n, m), best first; m is at least k, or the size of the corpus.
    k: number of approximate results that count; a row that is repeated counts once.
    exact_scores: float (n, m), of exact_rows; None if ties do not matter. With it, a row beyond the k-th
        counts as found if its score equals the k-th up to float32 rounding; so give more than k exact rows.
    Raises InputError if the shapes do not fit.
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
        nearest = exact[query][exact[query] >= 0]
        size = min(k, len(nearest))
        answers = nearest[:size]
        if scores is not None and size:
            last = scores[query, size - 1]
            answers = nearest[scores[query, : len(nearest)] >= last - 1e-6 * max(1.0, abs(last))]
        hits = len(np.intersect1d(approximate[query, :k], answers))
        shares.append(min(size, hits) / size if size else 1.0)
    return float(np.mean(shares))


def latency_percentiles(seconds: Iterable[float]) -> dict[str, float]:
    """Median, 95th and 99th percentile in milliseconds, under "p50", "p95" and "p99".

    seconds: duration of each query. Raises InputError if there are none.
    """
    durations = np.fromiter(seconds, np.float64)
    if not len(durations):
        raise InputError("no query was timed; give at least one")
    return {f"p{percent}": float(np.percentile(durations, percent) * 1000) for percent in (50, 95, 99)}
