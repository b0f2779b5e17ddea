import itertools

import numpy as np
import pytest

from index.errors import InputError
from retrieval.evaluation.measures import RunMeasures
from retrieval.evaluation.significance import compare_all_pairs, holm, paired_test


def scores(values: list[float], order: list[int] | None = None) -> RunMeasures:
    rows = list(range(len(values))) if order is None else order
    return RunMeasures(tuple(f"q{row}" for row in rows), {"AP": np.array([values[row] for row in rows])})


def test_comparison_counts_wins_and_means() -> None:
    found = paired_test(scores([1.0, 0.5, 0.25, 0.25]), scores([0.0, 0.5, 0.5, 0.0]), "AP")
    assert (found.mean_a, found.mean_b, found.difference) == (0.5, 0.25, 0.25)
    assert (found.wins, found.losses, found.ties) == (2, 1, 1)


def test_queries_are_paired_by_id_not_by_place() -> None:
    values = [0.1, 0.2, 0.3, 0.4]
    found = paired_test(scores(values), scores(values, [3, 1, 0, 2]), "AP")
    assert (found.difference, found.p_value, found.ties, found.low, found.high) == (0.0, 1.0, 4, 0.0, 0.0)


def test_few_queries_give_the_exact_p_value() -> None:
    differences = [0.5, 0.25, -0.125, 0.375, 0.0]
    sums = [abs(np.dot(signs, differences[:4])) for signs in itertools.product((1, -1), repeat=4)]
    expected = np.mean(np.array(sums) >= abs(sum(differences)) - 1e-12)
    assert paired_test(scores(differences), scores([0.0] * 5), "AP").p_value == expected


def test_many_queries_agree_with_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    random = np.random.default_rng(1)
    a, b = random.random(300), random.random(300) - 0.03
    found = paired_test(scores(list(a)), scores(list(b)), "AP")
    reference = stats.permutation_test(
        (a - b,), np.mean, permutation_type="samples", n_resamples=20_000, vectorized=True, rng=2
    )
    assert found.p_value == pytest.approx(reference.pvalue, abs=0.02)
    interval = stats.bootstrap((a - b,), np.mean, method="percentile", rng=3).confidence_interval
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), abs=0.004)


def test_clear_difference_is_significant_and_never_certain() -> None:
    found = paired_test(scores([0.9] * 200), scores([0.1] * 200), "AP", rounds=1000)
    assert found.p_value == 1 / 1001
    assert (found.low, found.high) == pytest.approx((0.8, 0.8))


def test_no_difference_is_rarely_significant() -> None:
    random = np.random.default_rng(4)
    p_values = [
        paired_test(
            scores(list(random.random(60))), scores(list(random.random(60))), "AP", rounds=500
        ).p_value
        for _ in range(100)
    ]
    assert np.mean(np.array(p_values) < 0.05) < 0.12


def test_equal_input_gives_equal_output() -> None:
    random = np.random.default_rng(6)
    a, b = scores(list(random.random(50))), scores(list(random.random(50)))
    assert paired_test(a, b, "AP") == paired_test(a, b, "AP")
    back = paired_test(b, a, "AP")
    assert back.p_value == paired_test(a, b, "AP").p_value
    assert back.difference == -paired_test(a, b, "AP").difference


def test_different_queries_are_refused() -> None:
    with pytest.raises(InputError, match="different queries"):
        paired_test(scores([1.0]), scores([1.0, 0.0]), "AP")
    with pytest.raises(InputError, match="was not computed"):
        paired_test(scores([1.0]), scores([1.0]), "RR")


def test_holm_correction_worked_by_hand() -> None:
    # Sorted: .01 x 4, .02 x 3, .03 x 2 = .06, .04 x 1 -> raised to .06.
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


def test_every_pair_is_compared_and_corrected() -> None:
    random = np.random.default_rng(3)
    base = random.random(100) * 0.5
    runs = {
        "low": scores(list(base)),
        "high": scores(list(base + 0.3)),
        "noise": scores(list(random.random(100))),
    }
    comparisons = compare_all_pairs(runs, "AP", rounds=500)
    assert {frozenset((comparison.a, comparison.b)) for comparison in comparisons} == {
        frozenset(pair) for pair in itertools.combinations(runs, 2)
    }
    assert all(comparison.test.difference >= 0 for comparison in comparisons)
    assert [comparison.corrected_p for comparison in comparisons] == holm(
        [c.test.p_value for c in comparisons]
    )
    assert comparisons[0].as_json()["measure"] == "AP"
    assert set(comparisons[0].as_json()) >= {"a", "b", "difference", "low", "high", "p_value", "corrected_p"}
