"""The decision, as a table of test results."""

from __future__ import annotations

import pytest

from retrieval.evaluation.significance import PairedTest
from retrieval.learning.agreement import AGREEMENT
from retrieval.learning.comparison import CLICKS, DATA, PAIRS, Compared, reason_against


def compared(queries: str, mode: str, difference: float, p: float) -> Compared:
    measure = AGREEMENT if queries == CLICKS else "nDCG@10"
    test = PairedTest(measure, 0.5 + difference, 0.5, difference, 0, 0, p, 1, 2, 3)
    return Compared(queries, mode, test)  # type: ignore[arg-type]


BETTER = compared(CLICKS, "hybrid", 0.03, 0.01)
EQUAL = [compared(CLICKS, "dense", 0.0, 1.0), compared(PAIRS, "hybrid", -0.03, 0.3)]


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([BETTER, *EQUAL], ""),
        ([BETTER, *EQUAL, compared(DATA, "hybrid", 0.0, 1.0)], ""),
        ([BETTER, *EQUAL, compared(DATA, "dense", -0.009, 0.2)], ""),
        ([compared(CLICKS, "hybrid", 0.03, 0.05), *EQUAL], "no improvement shown"),
        ([compared(CLICKS, "hybrid", 0.0005, 0.01), *EQUAL], "no improvement shown"),
        ([compared(CLICKS, "hybrid", 0.0, 1.0), *EQUAL], "no improvement shown"),
        ([compared(CLICKS, "hybrid", -0.01, 0.01), *EQUAL], "worse"),
        ([BETTER, *EQUAL, compared(PAIRS, "dense", -0.03, 0.04)], "worse"),
        ([BETTER, *EQUAL, compared(DATA, "hybrid", -0.005, 0.04)], "worse"),
        ([BETTER, *EQUAL, compared(DATA, "dense", -0.03, 0.2)], "worse"),
        ([compared(PAIRS, "hybrid", 0.03, 0.01)], ""),  # the log does not tell what was shown
        ([compared(PAIRS, "hybrid", 0.03, 0.2), compared(DATA, "hybrid", 0.1, 0.01)], "no improvement"),
        ([compared(DATA, "hybrid", 0.1, 0.01)], "no improvement shown: no query is held out"),
    ],
)
def test_a_candidate_is_refused_unless_it_is_better_and_nowhere_worse(rows: list[Compared], reason: str):
    got = reason_against(rows)
    assert got.startswith(reason)
    assert bool(got) == bool(reason)


def test_the_reason_names_what_was_measured():
    assert reason_against([compared(PAIRS, "hybrid", -0.25, 0.001)]) == (
        "worse: nDCG@10 of hybrid search is 0.2500 for 0.5000 of the live model, p 0.0010 (6 held-out pairs)"
    )
