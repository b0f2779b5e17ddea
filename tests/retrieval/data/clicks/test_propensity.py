import numpy as np
import pytest

from retrieval.data.clicks.log import ClickLog, Sighting, click_log, clicks_alone
from retrieval.data.clicks.propensity import estimate_propensities


def simulated(examined: np.ndarray, pairs: int, shown: int, seed: int) -> ClickLog:
    """A log in which every pair stands at two random ranks; better documents stand higher more often."""
    random = np.random.default_rng(seed)
    attractive = random.beta(1, 3, pairs)
    depth = len(examined)
    upper = np.minimum(random.geometric(0.2 + 0.5 * attractive), depth - 1)
    lower = upper + random.integers(1, depth + 1 - upper)
    rank = np.concatenate((upper, lower))
    pair = np.tile(np.arange(pairs), 2)
    impressions = np.full(2 * pairs, shown)
    clicks = random.binomial(impressions, examined[rank - 1] * attractive[pair])
    names = tuple(map(str, range(pairs)))
    return ClickLog(names, ("d",), pair, np.zeros_like(pair), rank, clicks, impressions)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("eta", [0.5, 1.0, 2.0])
def test_known_propensities_are_recovered_from_a_large_log(eta, seed):
    examined = np.arange(1, 7) ** -eta
    found = estimate_propensities(simulated(examined, 20_000, 5, seed))
    assert found.why_equal == ""
    assert found.ranks.tolist() == [1, 2, 3, 4, 5, 6]
    assert found.values == pytest.approx(examined, rel=0.15)


def test_propensities_need_no_power_law():
    """A fold: the first two ranks are seen by everybody, the rest by few."""
    examined = np.array([1.0, 1.0, 0.2, 0.2, 0.2])
    found = estimate_propensities(simulated(examined, 40_000, 5, 0))
    assert found.values == pytest.approx(examined, rel=0.12)


def test_few_impressions_of_each_pair_do_not_bias_the_estimate():
    """An estimator with a parameter a pair to fit would take lucky pairs for attractive ones."""
    examined = np.arange(1, 6) ** -1.0
    found = estimate_propensities(simulated(examined, 150_000, 1, 0))
    assert found.values == pytest.approx(examined, rel=0.1)


def test_two_ranks_by_hand():
    """One pair, equally often at both ranks, 60 and 30 clicks; the prior of 10 clicks moves neither."""
    log = click_log([Sighting("q", "d", 1, 60, 100), Sighting("q", "d", 2, 30, 100)])
    assert estimate_propensities(log).values == pytest.approx([1.0, 0.5], abs=1e-3)


def test_a_rank_without_evidence_gets_the_power_law_of_the_others():
    log = click_log(
        [
            Sighting("q", "d", 1, 600, 1000),
            Sighting("q", "d", 2, 300, 1000),
            Sighting("q", "other", 4, 5, 1000),
        ]
    )
    assert estimate_propensities(log).values == pytest.approx([1.0, 0.5, 0.25], abs=1e-3)


def test_ranks_that_are_looked_at_alike_are_found_alike():
    log = simulated(np.ones(5), 20_000, 5, 1)
    assert estimate_propensities(log).values == pytest.approx(np.ones(5), rel=0.08)


@pytest.mark.parametrize(
    ("log", "why"),
    [
        (click_log([Sighting("q", "d", 0, 1, 5)]), "does not say at which rank"),
        (click_log([Sighting("q", "d", 3, 1, 5)]), "every document was shown at rank 3"),
        (click_log([Sighting("q", "d", 1, 1, 5), Sighting("q", "e", 2, 1, 5)]), "at two ranks"),
        (click_log([Sighting("q", "d", 1, 0, 5), Sighting("q", "d", 2, 0, 5)]), "at two ranks"),
        (clicks_alone(click_log([Sighting("q", "d", 2, 1, 1)])), "how often a document was shown"),
    ],
)
def test_a_log_that_does_not_tell_is_not_corrected_and_says_why(log, why):
    found = estimate_propensities(log)
    assert why in found.why_equal
    assert found.of(log.rank).tolist() == [1.0] * len(log.rank)
