"""Fits re-scoring when training ends, and decides what it is: a weighted sum, a network, or nothing.

In: a `Retriever` over an index of the dev documents, and the data set. Out: a `Rescorer`, or none if fusion
ranks the dev queries better; and the hybrid ranking of the dev queries. The score is not learned from
training queries, because the model has seen them, so that their cosines are higher than those of any other
query. It is a weighted sum of the features (`retrieval.training.fitting.linear`), which needs no dev queries.
If there are enough dev queries, and cross-validation on them finds it better, it is a network
(`retrieval.training.fitting.network`).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from index.ranking import Ranking, empty_ranking
from index.values import Progress, no_progress
from retrieval.evaluation.assess import run_of
from retrieval.evaluation.measures import evaluate_run
from retrieval.model.folder import read_model_of
from retrieval.model.rescoring import Rescorer
from retrieval.search.fusion import fuse
from retrieval.search.retriever import Retriever
from retrieval.training.examples.dataset import TrainingData
from retrieval.training.fitting.candidates import candidates_of, own_features
from retrieval.training.fitting.dev_rankings import DevRankings
from retrieval.training.fitting.linear import Judged, fit_linear, prior_of
from retrieval.training.fitting.network import MEMBERS, fit_network
from retrieval.training.machine import one_thread

# With fewer dev queries the network would learn noise.
LEAST_DEV_QUERIES = 100
# With fewer dev queries, a worse result does not count against re-scoring.
_LEAST_TO_REJECT = 20
_FOLDS = 3
RANKED = 20  # ten hits, and ten more for those that a calibration takes out
_MEASURE = "nDCG@10"


class Fitted(NamedTuple):
    """A rescorer, or None, and the hybrid ranking of the dev queries.

    ranking: `RANKED` deep. Each query is ranked by a fit that has not seen it, or by fusion without one.
    """

    rescorer: Rescorer | None
    ranking: Ranking


@one_thread()
def fit_rescorer(
    retriever: Retriever,
    dataset: TrainingData,
    ranked: DevRankings,
    dense_share: float,
    folder: Path,
    seed: int,
    progress: Progress = no_progress,
    stop: Callable[[], bool] = lambda: False,
) -> Fitted:
    """The rescorer of a model; none if it would not help, or if the towers do not share their word rows.

    retriever: over the documents of the dev queries, with exact search.
    dataset: the data set.
    ranked: the dev queries.
    dense_share: the weight of the dense ranking in the fusion that it must surpass.
    folder: a new folder, for the words of the documents.
    seed: of everything random.
    progress: called as words are learned and queries searched.
    stop: called after each step; True raises KeyboardInterrupt.
    Raises StorageError.
    """
    model = read_model_of(retriever.index)
    fused = fuse(ranked.dense, ranked.lexical, RANKED, dense_share)
    if model.config.tie == "none":
        return Fitted(None, fused)
    untrained, judged, spread = candidates_of(retriever, dataset, ranked, folder, seed, progress, stop)
    if not spread.any():
        return Fitted(None, fused)  # a single document, or all alike
    folds = np.random.default_rng(seed).integers(_FOLDS, size=len(dataset.dev))

    def linear(queries: NDArray[np.bool_]) -> Rescorer:
        prior = prior_of(own_features(untrained.reads_queries))
        return untrained._replace(linear=fit_linear(judged, queries, spread, prior))

    def network(queries: NDArray[np.bool_], members: int = 1) -> Rescorer:
        return fit_network(untrained, judged, np.flatnonzero(queries), seed, stop, members)

    every = np.ones(len(folds), bool)
    chosen, ranking = linear(every), _held_out(judged, folds, linear)
    if not dataset.dev:
        return Fitted(chosen, ranking)
    values = _ndcg(retriever, dataset, ranking)
    if len(dataset.dev) >= LEAST_DEV_QUERIES:
        by_network = _held_out(judged, folds, network)
        others = _ndcg(retriever, dataset, by_network)
        if others.mean() > values.mean():
            chosen, ranking, values = network(every, MEMBERS), by_network, others
    if _is_worse(values, _ndcg(retriever, dataset, fused)):
        return Fitted(None, fused)
    return Fitted(chosen, ranking)


def _held_out(
    judged: Judged, folds: NDArray[np.int64], fit: Callable[[NDArray[np.bool_]], Rescorer]
) -> Ranking:
    """The dev queries, each ranked by a fit to the other folds."""
    scores = np.zeros(len(judged.rows), np.float32)
    fold_of = folds[judged.owners()]
    for fold in np.unique(folds).tolist():
        scores[fold_of == fold] = fit(folds != fold).scores(judged.features[fold_of == fold])
    return _ranking(judged, scores)


def _is_worse(values: NDArray[np.float64], others: NDArray[np.float64]) -> bool:
    """Whether the mean is lower by more than two standard errors of the difference.

    Few dev queries cannot tell which is better. Where they cannot, re-scoring is better on other data sets.
    """
    difference = others - values
    if len(difference) < _LEAST_TO_REJECT:
        return False
    standard_error = float(difference.std() / np.sqrt(len(difference)))
    return float(difference.mean()) > 2 * standard_error


def _ranking(judged: Judged, scores: NDArray[np.float32]) -> Ranking:
    ranking = empty_ranking(len(judged.starts) - 1, RANKED)
    for query, (start, stop) in enumerate(zip(judged.starts[:-1], judged.starts[1:], strict=True)):
        best = np.argsort(-scores[start:stop], kind="stable")[:RANKED]
        ranking.rows[query, : len(best)] = judged.rows[start:stop][best]
        ranking.scores[query, : len(best)] = scores[start:stop][best]
    return ranking


def _ndcg(retriever: Retriever, dataset: TrainingData, ranking: Ranking) -> NDArray[np.float64]:
    """The measure of each dev query."""
    run = run_of(retriever, list(dataset.dev), ranking)
    return evaluate_run(dataset.dev, run, [_MEASURE]).of(_MEASURE)
