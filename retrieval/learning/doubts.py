"""Reasons not to learn from a click log, found before anything is trained.

In: the log and what was made of it. Out: a reason, or none. Knows nothing of models.

People read results from the top, and good results are at the top. So on average the results that they click
have better ranks than the results that they see. Random clicks have the same ranks as what is shown. Clicks
of somebody who wants to reverse the ranking have worse ranks. A comparison by such clicks would show no
improvement either (`retrieval.learning.agreement`), but this check needs no training, and it names the
reason.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval.data.clicks.log import ClickLog
from retrieval.evaluation.measures import RunMeasures
from retrieval.evaluation.significance import paired_test
from retrieval.learning.pairs import LearningData

# With fewer queries, hardly any difference between two models is significant.
FEWEST_HELD_OUT = 20
SIGNIFICANT = 0.05

_UNLIKE_PEOPLE = "the clicks do not look like those of people who read from above"


def doubts(data: LearningData) -> str:
    """Why nothing can be learnt from the clicks; "" if nothing speaks against it."""
    held_out = data.counts.held_out_queries
    if held_out < FEWEST_HELD_OUT:
        return (
            f"too few clicks: {held_out} of {data.counts.clicked_queries:,} clicked queries are held out, "
            f"{FEWEST_HELD_OUT} are needed to compare two models"
        )
    if not data.training.train:
        return "no document is clicked clearly more than the average, so there is nothing to learn"
    if not (data.log.impressions.all() and data.log.rank.all()):
        if data.dev is None:
            return (
                "the log does not say what was shown at which rank, so its clicks alone cannot judge a "
                "model; give --data"
            )
        return ""
    return _against_position(data.log)


def _against_position(log: ClickLog) -> str:
    """Whether clicked results have no better ranks than what was shown, by paired randomisation tests."""
    places = mean_places(log)
    if not len(places.shown_rank):
        return "no clicked query showed more than one result, so the clicks tell nothing of their order"
    if not _is_above(places.shown_rank, places.clicked_rank):
        return (
            f"{_UNLIKE_PEOPLE}: results were shown at rank {places.shown_rank.mean():.2f} on average and "
            f"clicked at rank {places.clicked_rank.mean():.2f}"
        )
    if not _is_above(places.clicked_first, places.shown_first):
        return (
            f"{_UNLIKE_PEOPLE}: of what was shown {places.shown_first.mean():.0%} stood at rank 1, of what "
            f"was clicked {places.clicked_first.mean():.0%}"
        )
    return ""


def _is_above(a: NDArray[np.float64], b: NDArray[np.float64]) -> bool:
    """Whether the mean of a is significantly above that of b, both float64 (queries,)."""
    names = tuple(map(str, range(len(a))))
    test = paired_test(RunMeasures(names, {"place": a}), RunMeasures(names, {"place": b}), "place")
    return test.difference > 0 and test.p_value < SIGNIFICANT


@dataclass(frozen=True)
class Places:
    """The places of the results of n queries; all float64 (n,)."""

    shown_rank: NDArray[np.float64]  # the mean rank of what was shown
    clicked_rank: NDArray[np.float64]  # and of what was clicked
    shown_first: NDArray[np.float64]  # the share at rank 1 of what was shown
    clicked_first: NDArray[np.float64]  # and of what was clicked


def mean_places(log: ClickLog) -> Places:
    """The places for each query that has a click and several shown ranks.

    log: with ranks and impressions.
    """
    count = len(log.queries)

    def mean(values: NDArray[np.int64], weights: NDArray[np.int64]) -> NDArray[np.float64]:
        sums = np.bincount(log.query, weights * values, count)
        return np.asarray(sums / np.maximum(np.bincount(log.query, weights, count), 1), np.float64)

    lowest, highest = np.full(count, np.iinfo(np.int64).max), np.zeros(count, np.int64)
    np.minimum.at(lowest, log.query, log.rank)
    np.maximum.at(highest, log.query, log.rank)
    tells = (np.bincount(log.query, log.clicks, count) > 0) & (highest > lowest)
    first = (log.rank == 1).astype(np.int64)
    return Places(
        *(
            mean(values, weights)[tells]
            for values in (log.rank, first)
            for weights in (log.impressions, log.clicks)
        )
    )
