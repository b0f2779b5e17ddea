"""The fit of a calibration: the probability that a hit is relevant is learned from the hits of dev queries.

In: an index of the dev documents, and rankings of the dev queries. Out: a `Calibration`. Knows nothing of
towers.

Each logistic regression, two for each mode, minimises

    sum of weight * cross-entropy + |w|^2 / 2

over the first ten hits of each query in the ranking of the mode, by Newton's method. w are the weights of the
evidence, scaled to unit variance. No weight is below 0, except that of `words`. A hit without a judgement
counts as not relevant.

Every dev query has an answer. With these rankings alone, the fit would learn that the first hit is always
good. So each query counts two more times. The second time, its relevant documents are taken out of the
ranking: the rest is what a search shows when the corpus has no answer. The third time, its letters are
replaced by random ones, as in a search for words that no document has: if dev queries are answered well, only
such searches show which cosines occur by chance. Each of these two kinds weighs a share of `UNANSWERED` of
all rankings, and at least as much as `LEAST_UNANSWERED` queries, because otherwise the penalty would outweigh
them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from index.lexical.cjk import CJK
from index.ranking import Ranking
from index.values import Rows
from retrieval.model.calibration import EVIDENCE, MARGINS, Calibration, ModeCalibration
from retrieval.search.modes import Mode
from retrieval.search.retriever import Retriever
from retrieval.training.examples.dataset import TrainingData
from retrieval.training.fitting.dev_rankings import DevRankings
from retrieval.training.fitting.rescoring import RANKED

# The assumed share of queries without an answer. It is large enough to learn what their hits look like, and
# small enough that the probabilities are right for queries that have an answer.
UNANSWERED = 0.01
LEAST_UNANSWERED = 5
_LETTER = re.compile(rf"(?P<cjk>[{CJK}])|[^\W_]")
_HAN, _LATIN = (0x4E00, 0xA000), (ord("a"), ord("z") + 1)
# With fewer dev queries ten numbers cannot be told from chance.
LEAST_QUERIES = 20
# The depth of the rankings: ten hits remain after up to ten relevant documents are taken out.
DEPTH = RANKED
_HITS = 10
_WORDS = EVIDENCE.index("words")
_STEPS = 100
# Evidence that varies by less than this share of its size does so by rounding: the share of words that a hit
# has is 1 or the number below. A weight by which that counts is so large that no model with it can be read.
_ROUNDING = 1e-4
# The penalty of the intercept, so small that it only matters where no hit is relevant, or all are.
_OF_INTERCEPT = 1e-3


def dev_calibration(
    retriever: Retriever, dataset: TrainingData, ranked: DevRankings, hybrid: Ranking
) -> Calibration | None:
    """The calibration that fits the dev queries best; None for fewer than `LEAST_QUERIES`.

    retriever: of `retrieval.training.fitting.dev_index`.
    dataset: the data set whose dev queries are searched.
    ranked: the dev queries.
    hybrid: the hybrid ranking of the dev queries, `DEPTH` deep. The index cannot compute it yet.
    """
    queries = [dataset.queries[query_id] for query_id in dataset.dev]
    rankings: dict[Mode, Ranking] = {
        "dense": ranked.dense.top(DEPTH),
        "lexical": ranked.lexical.top(DEPTH),
        "hybrid": hybrid,
    }
    return fit_calibration(retriever, queries, list(dataset.dev.values()), rankings)


def fit_calibration(
    retriever: Retriever,
    queries: Sequence[str],
    judged: Sequence[Mapping[str, int]],
    rankings: Mapping[Mode, Ranking],
) -> Calibration | None:
    """The calibration that fits the dev queries best; None for fewer than `LEAST_QUERIES`.

    retriever: an index of the documents that the queries are ranked against.
    queries: n texts.
    judged: document id to grade for each of them.
    rankings: of the queries in each mode, (n, up to `DEPTH`).
    """
    if len(queries) < LEAST_QUERIES:
        return None
    modes: dict[str, ModeCalibration] = {
        mode: _fit_mode(retriever, queries, judged, ranking, mode) for mode, ranking in rankings.items()
    }
    return Calibration(modes, len(queries))


def _fit_mode(
    retriever: Retriever,
    queries: Sequence[str],
    judged: Sequence[Mapping[str, int]],
    ranking: Ranking,
    mode: Mode,
) -> ModeCalibration:
    first, further = _Examples(), _Examples()
    relevant = _relevant(retriever, judged, ranking.rows)
    evidence = retriever.evidence(queries, ranking.rows)
    found = ranking.rows >= 0
    # No document has the words, so hybrid candidates are those of dense search.
    foreign = _foreign(queries)
    rows = retriever.rank(foreign, DEPTH, "lexical" if mode == "lexical" else "dense", as_typed=True).rows
    unanswered = max(UNANSWERED, LEAST_UNANSWERED / len(queries))
    for each, right, kept, weight in (
        (evidence, relevant, found, 1 - UNANSWERED),
        (evidence, relevant, found & ~relevant, unanswered),
        (retriever.evidence(foreign, rows), np.zeros(rows.shape, bool), rows >= 0, unanswered),
    ):
        order = np.argsort(~kept, axis=1, kind="stable")[:, :_HITS]
        chosen = np.take_along_axis(each, order[:, :, None], 1)
        labels, there = (np.take_along_axis(flags, order, 1) for flags in (right, kept))
        margins = chosen[:, 1:, : len(MARGINS)] - chosen[:, :1, : len(MARGINS)]
        beside = np.concatenate((chosen[:, 1:], margins), axis=2)
        first.add(chosen[:, :1], labels[:, :1], there[:, :1], weight)
        further.add(beside, labels[:, 1:], there[:, 1:], weight)
    return ModeCalibration(first.fit(), further.fit())


def _foreign(queries: Sequence[str]) -> list[str]:
    """The queries with each letter replaced by a random one of the same kind of script; seeded."""
    rng = np.random.default_rng(0)

    def other(letter: re.Match[str]) -> str:
        return chr(rng.integers(*(_HAN if letter["cjk"] else _LATIN)))

    return [_LETTER.sub(other, text) for text in queries]


class _Examples:
    """Hits to learn from."""

    def __init__(self) -> None:
        self._parts: list[tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.float64]]] = []

    def add(
        self,
        evidence: NDArray[np.float32],
        relevant: NDArray[np.bool_],
        found: NDArray[np.bool_],
        weight: float,
    ) -> None:
        """Add hits of equal weight.

        evidence: float32 (n, k, d).
        relevant: bool (n, k).
        found: bool (n, k), where there is a hit.
        weight: of each hit.
        """
        chosen = evidence[found].astype(np.float64)
        self._parts.append((chosen, relevant[found], np.full(len(chosen), weight)))

    def fit(self) -> tuple[float, ...]:
        """The intercept and the weights, of which only that of `words` may be negative.

        More of any other evidence must not make a document less likely. The best fit on dev can say so, for
        instance for BM25 beside the share of words, but it is then wrong about queries without an answer. So
        the most negative weight is set to 0 and the others are fitted again, until no weight is negative.
        """
        evidence, relevant, weights = map(np.concatenate, zip(*self._parts, strict=True))
        fitted = fit_logistic(evidence, relevant, weights)
        while (worst := _most_negative(evidence, fitted)) is not None:
            evidence[:, worst] = 0
            fitted = fit_logistic(evidence, relevant, weights)
        return fitted


def _most_negative(evidence: NDArray[np.float64], fitted: Sequence[float]) -> int | None:
    """The place of the evidence that lowers the odds most, except `words`; None if none lowers them."""
    if not len(evidence):
        return None
    effects = evidence.std(axis=0) * fitted[1:]
    effects[_WORDS] = 0
    return int(effects.argmin()) if effects.min() < 0 else None


def fit_logistic(
    evidence: NDArray[np.float64],
    relevant: NDArray[np.bool_],
    weights: NDArray[np.float64],
) -> tuple[float, ...]:
    """The intercept and the weights of the evidence of a logistic regression.

    evidence: float64 (n, d).
    relevant: bool (n,).
    weights: float64 (n,), how much each example counts.
    """
    if not len(evidence):
        return (0.0,) * (int(evidence.shape[1]) + 1)
    means, deviations = evidence.mean(axis=0), evidence.std(axis=0)
    constant = deviations <= _ROUNDING * np.sqrt(np.mean(evidence**2, axis=0))
    deviations[constant] = 1.0
    scaled = np.column_stack((np.ones(len(evidence)), (evidence - means) / deviations))
    scaled[:, 1:][:, constant] = 0  # so that its weight is 0
    penalty = np.diag([_OF_INTERCEPT, *np.ones(evidence.shape[1])])
    fitted = np.zeros(scaled.shape[1])
    for _ in range(_STEPS):
        likely = 0.5 + 0.5 * np.tanh(scaled @ fitted / 2)
        gradient = scaled.T @ (weights * (likely - relevant)) + penalty @ fitted
        curvature = (scaled * (weights * likely * (1 - likely))[:, None]).T @ scaled + penalty
        step = np.linalg.solve(curvature, gradient)
        fitted -= step / max(1.0, float(np.abs(step).max()))  # longer ones may lead away
        if np.abs(step).max() < 1e-9:
            break
    slopes: list[float] = (fitted[1:] / deviations).tolist()
    return (float(fitted[0] - np.dot(slopes, means)), *slopes)


def _relevant(retriever: Retriever, judged: Sequence[Mapping[str, int]], rows: Rows) -> NDArray[np.bool_]:
    """Whether the document of each row is relevant to the row's query, bool (n, k)."""
    relevant = np.zeros(rows.shape, bool)
    for found, ranked, grades in zip(relevant, rows, judged, strict=True):
        right = [retriever.index.row_of(document_id) for document_id, grade in grades.items() if grade > 0]
        found[:] = np.isin(ranked, [row for row in right if row is not None])
    return relevant
