"""The agreement of rankings with clicks, worked by hand, and that clicks without a cause give none."""

from __future__ import annotations

import math
from itertools import permutations

import numpy as np
import pytest

from retrieval.data.clicks.log import Sighting, click_log
from retrieval.learning.agreement import AGREEMENT, ClickedQueries, agreement, held_out_clicks

SECOND, THIRD = 1 / math.log2(3), 1 / math.log2(4)


def held_out(*texts: str) -> list[str]:
    """Variations of texts that a hash holds out."""
    found = []
    for text in texts:
        names = (f"{text} {number}" for number in range(1000))
        found.append(
            next(name for name in names if held_out_clicks(click_log([Sighting(name, "x", 1, 1, 1)])))
        )
    return found


def values(clicked: ClickedQueries, run) -> list[float]:
    return agreement(clicked, run).of(AGREEMENT).tolist()


def test_surplus_is_what_the_rank_does_not_explain():
    """Rank 1 is clicked 5 times of 8, rank 2 twice of 8."""
    a, b = held_out("a", "b")
    log = click_log(
        [
            Sighting(a, "x", 1, 4, 4),
            Sighting(a, "y", 2, 0, 4),
            Sighting(b, "x", 1, 1, 2),
            Sighting(b, "y", 2, 1, 2),
            Sighting(b, "y", 1, 0, 2),
            Sighting(b, "x", 2, 1, 2),
        ]
    )
    clicked = held_out_clicks(log)
    assert list(clicked.queries.values()) == [a, b]
    first, second = clicked.surplus.values()
    assert first == pytest.approx({"x": (4 - 4 * 5 / 8) / 4, "y": (0 - 4 * 2 / 8) / 4})
    assert second == pytest.approx(
        {"x": (1 - 2 * 5 / 8 + 1 - 2 * 2 / 8) / 2, "y": (1 - 2 * 2 / 8 + 0 - 2 * 5 / 8) / 2}
    )


def test_agreement_is_discounted_by_the_place_among_what_was_shown():
    clicked = ClickedQueries({"q": "text"}, {"q": {"x": 1.0, "y": -0.5, "z": 0.25}})
    run = {"q": {"never shown": 9.0, "y": 3.0, "z": 2.0, "x": 1.0}}
    assert values(clicked, run) == pytest.approx([-0.5 + 0.25 * SECOND + 1.0 * THIRD])
    # What a ranking lacks shares the places that are left.
    assert values(clicked, {"q": {"z": 1.0}}) == pytest.approx([0.25 + 0.5 * (SECOND + THIRD) / 2])
    assert values(clicked, {}) == pytest.approx([0.75 * (1 + SECOND + THIRD) / 3])


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_clicks_on_one_rank_agree_with_no_ranking(rank: int):
    (query,) = held_out("q")
    clicked = held_out_clicks(click_log([Sighting(query, f"d{r}", r, 7 * (r == rank), 7) for r in (1, 2, 3)]))
    for order in permutations(["d1", "d2", "d3"]):
        run = {name: {document: -float(n) for n, document in enumerate(order)} for name in clicked.queries}
        assert values(clicked, run) == pytest.approx([0.0])


def test_clicks_by_rank_alone_agree_with_no_ranking_on_average():
    random = np.random.default_rng(0)
    texts = [f"query {number}" for number in range(6000)]
    log = click_log(
        Sighting(text, f"d{document}", rank, int(random.random() < 0.6 / rank), 1)
        for text in texts
        for rank, document in enumerate(random.permutation(6).tolist(), 1)
    )
    clicked = held_out_clicks(log)
    run = {query: {f"d{n}": -float(n) for n in range(6)} for query in clicked.queries}
    found = np.array(values(clicked, run))
    assert 500 < len(found) < 700
    assert abs(found.mean()) < 3 * found.std() / math.sqrt(len(found))


def test_a_log_without_ranks_or_impressions_holds_nothing_out():
    (query,) = held_out("q")
    assert not held_out_clicks(click_log([Sighting(query, "x", 0, 1, 1)]))
    assert not held_out_clicks(click_log([Sighting(query, "x", 1, 1, 0)]))
