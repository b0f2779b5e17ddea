import numpy as np
import pytest

from retrieval.evaluation.breakdown import (
    Group,
    LostQuery,
    breakdown,
    by_length,
    by_unseen_share,
    lost_queries,
    worst_queries,
)
from retrieval.evaluation.measures import RunMeasures


def scores(**values: float) -> RunMeasures:
    return RunMeasures(tuple(values), {"AP": np.array(list(values.values()))})


def test_queries_are_grouped_by_their_number_of_words() -> None:
    words = {f"q{n}": ["w"] * n for n in (0, 1, 2, 3, 5, 10, 500)}
    assert by_length(words) == {
        "1-2 words": ["q0", "q1", "q2"],
        "3-5 words": ["q3", "q5"],
        "10 words or more": ["q10", "q500"],
    }


def test_queries_are_grouped_by_their_share_of_unseen_words() -> None:
    words = {"a": ["x", "y"], "b": ["x", "new"], "c": ["x", "y", "x", "new"], "d": ["new"], "e": []}
    assert by_unseen_share(words, {"x", "y"}.__contains__) == {
        "no unseen word": ["a", "e"],
        "up to a quarter": ["c"],
        "up to a half": ["b"],
        "more than half": ["d"],
    }


def test_breakdown_is_the_mean_over_judged_members() -> None:
    modes = {"dense": scores(a=1.0, b=0.5, c=0.0), "lexical": scores(a=0.0, b=0.5, c=1.0)}
    found = breakdown(modes, "AP", {"first": ["a", "b", "unjudged"], "last": ["c"], "none": ["unjudged"]})
    assert found == [
        Group("first", 2, {"dense": 0.75, "lexical": 0.25}),
        Group("last", 1, {"dense": 0.0, "lexical": 1.0}),
    ]


def test_worst_queries_come_lowest_first_and_perfect_ones_never() -> None:
    assert worst_queries(scores(a=1.0, b=0.5, c=0.0, d=0.0), "AP", 10) == ["c", "d", "b"]
    assert worst_queries(scores(a=1.0, b=0.5, c=0.0), "AP", 1) == ["c"]


def test_losses_come_largest_first_whatever_the_order_of_queries() -> None:
    ours, theirs = scores(a=0.5, b=0.0, c=1.0, d=0.2), scores(d=0.2, c=0.0, b=1.0, a=0.75)
    assert lost_queries(ours, theirs, "AP", 5) == [LostQuery("b", 0.0, 1.0), LostQuery("a", 0.5, 0.75)]
    assert lost_queries(ours, theirs, "AP", 1) == [LostQuery("b", 0.0, 1.0)]
    assert lost_queries(ours, scores(z=1.0), "AP", 5) == []


@pytest.mark.parametrize("count", [0, 3])
def test_no_losses_against_oneself(count: int) -> None:
    assert lost_queries(scores(a=0.5), scores(a=0.5), "AP", count) == []
