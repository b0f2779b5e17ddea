import numpy as np
import pytest

from retrieval.data.clicks.grading import grade_pairs
from retrieval.data.clicks.log import ClickLog, Sighting, click_log, clicks_alone
from retrieval.data.clicks.propensity import Propensities, equal_propensities

BACKGROUND = [Sighting(f"other {n}", f"b{n}", 1 + n % 2, 1, 20) for n in range(200)]


def log_of(*sightings: Sighting) -> ClickLog:
    """The sightings among two hundred queries whose documents are clicked once in twenty times."""
    return click_log([*sightings, *BACKGROUND])


def graded(log: ClickLog, *values: float, least_clicks: int = 3) -> dict[tuple[str, str], int]:
    """Grades by query and document; values: the propensities of the log's ranks, by default all 1."""
    ranks = np.unique(log.rank)
    propensities = Propensities(ranks, np.array(values)) if values else equal_propensities(log, "")
    pairs = grade_pairs(log, propensities, least_clicks=least_clicks)
    names = ((log.queries[q], log.documents[d]) for q, d in zip(pairs.query, pairs.document, strict=True))
    return dict(zip(names, pairs.grade.tolist(), strict=True))


def test_grades_rise_with_corrected_clicks():
    sightings = [Sighting("q", f"d{clicks:02}", 1, clicks, 50) for clicks in range(51)]
    log = log_of(*sightings)
    pairs = grade_pairs(log, equal_propensities(log, ""))
    names = [log.documents[row] for row in pairs.document]
    grades = [grade for _, grade in sorted(zip(names, pairs.grade.tolist(), strict=True))]
    assert grades == sorted(grades)
    assert set(grades) == {1, 2, 3}
    assert [rate for _, rate in sorted(zip(names, pairs.rate, strict=True))] == sorted(pairs.rate)


def test_equal_counts_at_a_rank_that_is_examined_less_give_a_higher_grade():
    log = log_of(Sighting("q", "top", 1, 8, 40), Sighting("q", "low", 2, 8, 40))
    assert graded(log, 1.0, 1.0)["q", "top"] == graded(log, 1.0, 1.0)["q", "low"]
    corrected = graded(log, 1.0, 0.2)
    assert corrected["q", "low"] > corrected.get(("q", "top"), 0)


@pytest.mark.parametrize("seed", range(5))
def test_equal_propensities_correct_nothing(seed):
    random = np.random.default_rng(seed)
    at_ranks, without = [], []
    for n in range(300):
        impressions = int(random.integers(1, 40))
        sighting = Sighting(
            f"q{n % 60}", f"d{n}", 1 + n % 5, int(random.integers(impressions + 1)), impressions
        )
        at_ranks.append(sighting)
        without.append(sighting._replace(rank=0))
    assert graded(click_log(at_ranks)) == graded(click_log(without))
    # Only what ranks are to each other matters, where clicks are many.
    assert graded(click_log(at_ranks), 1, 1, 1, 1, 1) == graded(click_log(at_ranks))


def test_thin_evidence_gives_no_top_grade():
    thin, thick = (
        graded(log_of(Sighting("q", "d", 1, 3 * factor, 5 * factor)))["q", "d"] for factor in (1, 40)
    )
    assert thin < thick == 3


def test_rates_are_drawn_to_the_average_as_far_as_they_vary_by_chance_alone():
    log = click_log([Sighting("a", "x", 1, 0, 10), Sighting("b", "y", 1, 8, 10)])
    pairs = grade_pairs(log, equal_propensities(log, ""))
    # The average is .4. The variance beyond chance is (4^2 - 4) twice, over 10^2 twice, .12, and .4 / .12
    # impressions of the average join those of the pair.
    assert pairs.average == pytest.approx(0.4)
    assert pairs.rate == pytest.approx([(8 + 0.4 * (0.4 / 0.12)) / (10 + 0.4 / 0.12)])
    assert pairs.grade.tolist() == [1]


def test_pairs_with_fewer_clicks_than_the_least_are_left_out():
    log = log_of(Sighting("q", "d", 1, 4, 4))
    assert ("q", "d") in graded(log, least_clicks=4)
    assert ("q", "d") not in graded(log, least_clicks=5)


def test_queries_that_are_left_out_are_counted_by_reason():
    log = click_log(
        [
            Sighting("good", "d", 1, 30, 40),
            Sighting("rare", "d", 1, 2, 2),
            *(Sighting(f"dull {n}", "d", 1, 3, 60) for n in range(7)),
        ]
    )
    pairs = grade_pairs(log, equal_propensities(log, ""))
    assert [log.queries[row] for row in pairs.query] == ["good"]
    assert (pairs.queries_with_few_clicks, pairs.queries_without_preference) == (1, 7)


def test_a_shown_document_without_clicks_is_not_judged():
    log = log_of(Sighting("q", "d", 1, 30, 40), Sighting("q", "ignored", 1, 0, 500))
    assert ("q", "ignored") not in graded(log)


def test_a_log_in_which_nearly_everything_is_clicked_still_gives_pairs():
    log = click_log([Sighting(f"q{n}", f"d{n}", 1, 9, 10) for n in range(4)])
    assert graded(log) == {(f"q{n}", f"d{n}"): 2 for n in range(4)}


def test_of_clicks_alone_the_most_clicked_document_of_a_query_is_the_measure():
    log = clicks_alone(
        click_log(
            [
                Sighting("q", "best", 1, 40, 40),
                Sighting("q", "as good", 2, 40, 40),
                Sighting("q", "odd", 3, 4, 4),
                Sighting("rare", "d", 1, 3, 3),
            ]
        )
    )
    assert graded(log) == {("q", "best"): 3, ("q", "as good"): 3, ("rare", "d"): 2}
