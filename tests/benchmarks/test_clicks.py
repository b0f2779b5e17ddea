"""The simulated user does what the benchmark says, and the benchmark's measures are right on known pairs."""

from __future__ import annotations

import numpy as np
import pytest

import benchmarks.clicks.__main__ as clicks
from benchmarks.clicks.rivals import chain, expectation_maximisation
from benchmarks.clicks.simulation import Results, User, results, simulate
from retrieval.data.clicks.log import Sighting, click_log
from retrieval.data.dataset import Dataset


@pytest.fixture(scope="module")
def shown(made) -> Results:
    return results(Dataset(made.data), "train", 3)


def test_both_rankers_answer_every_query_with_known_relevance(shown):
    assert set(shown.ranker.tolist()) == {0, 1}
    assert shown.rank.max() <= 3
    best = [
        (shown.queries[q], shown.documents[d], bool(r))
        for q, d, r, rank in zip(shown.query, shown.document, shown.relevant, shown.rank, strict=True)
        if rank == 1
    ]
    assert ("copy folder", "d1", True) in best


def test_clicks_follow_examination_and_relevance(shown):
    log = simulate(shown, User(eta=1.0, clicks_relevant=0.8, clicks_others=0.2), 20_000, 0)
    relevant = {
        (int(q), int(d)) for q, d, r in zip(shown.query, shown.document, shown.relevant, strict=True) if r
    }
    for rank in (1, 2):
        for good, attractive in ((True, 0.8), (False, 0.2)):
            cells = (log.rank == rank) & [
                ((int(q), int(d)) in relevant) == good for q, d in zip(log.query, log.document, strict=True)
            ]
            if cells.any():
                rate = log.clicks[cells].sum() / log.impressions[cells].sum()
                assert rate == pytest.approx(attractive / rank, rel=0.05)


def test_a_seed_gives_the_same_log(shown):
    one, two, other = (simulate(shown, User(), 5, seed) for seed in (1, 1, 2))
    assert one.clicks.tolist() == two.clicks.tolist()
    assert one.impressions.tolist() != other.impressions.tolist()


def test_rival_estimators_find_the_ratio_of_two_ranks_in_a_rich_log():
    log = click_log(
        Sighting(f"q{n}", "d", rank, round(2000 * attractive / rank), 2000)
        for n, attractive in enumerate((0.2, 0.5, 0.8))
        for rank in (1, 2)
    )
    assert chain(log) == pytest.approx([1.0, 0.5])
    assert expectation_maximisation(log) == pytest.approx([1.0, 0.5], abs=0.02)


def test_precision_and_recall_of_pairs_count_what_was_shown():
    columns = [np.array(column) for column in ([0, 0, 0], [0, 0, 1], [0, 1, 1], [1, 2, 1])]
    shown = Results(("q1", "q2"), ("one", "two"), ("a", "b"), *columns, np.array([True, False, True]))
    truth = {"q1": {"a": 1, "unseen": 1}, "q2": {"b": 1}}
    assert clicks.pair_quality({"q1": {"a": 3, "b": 1}}, truth, shown) == {
        "queries": 1,
        "pairs": 2,
        "precision": 0.5,
        "weighted_precision": 0.75,
        "recall": 0.5,
    }


def test_pairs_of_the_papers_carry_their_clicks():
    log = click_log(
        [Sighting("one", "a", 1, 3, 9), Sighting("one", "a", 2, 2, 9), Sighting("one", "b", 1, 2, 9)]
    )
    assert clicks.pairs_of_papers(log, ("q1",)) == {"q1": {"a": 5}}
