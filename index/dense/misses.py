"""How many of a query's best rows a scan of compressed vectors has probably missed.

In: the scores of its candidates, compressed and exact. Out: a number of rows. Tuning measures what depth the
usual query needs; where the rows near a query were deleted, the best of the others lie close together, and
one that compression displaces by a little may be far down.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

_LEAST_VARIANCE = 1e-14


def expected_misses(
    approximate: NDArray[np.float32],
    exact: NDArray[np.float32],
    least: float,
    few: float = 0.0,
) -> float:
    """How many rows beyond the candidates may be expected to score more than `least`.

    approximate: float32 (n,), compressed scores of the worse half of the candidates, best first; n above 0.
    exact: float32 (n,), the exact scores of the same.
    least: the score of the last result that counts.
    few: a number that need not be known more closely; then one may be returned that is too high, up to this.
    The rows that would come next are thought to be as these: compressed scores spread alike, from the last
    candidate's down, and exact scores that differ from them by as much, normally distributed.
    NaN where scores are not finite.
    """
    with np.errstate(all="ignore"):
        errors = exact - approximate
        mean = float(errors.sum()) / len(errors)
        variance = float(errors @ errors) / len(errors) - mean * mean
        deviation = math.sqrt(max(variance, _LEAST_VARIANCE))
        # Of the next ones none scores more than the last candidate: one number bounds most queries' misses.
        missing = least - mean - float(approximate[-1])
        most = len(errors) * math.erfc(missing / deviation / math.sqrt(2))
        if most <= few:
            return most
        z = (missing + float(approximate[0]) - approximate) / deviation
        # The share of a normal distribution above z, to .0002 (Page 1977): numpy has none.
        beyond = 1 / (1 + np.exp(z * (1.5976 + 0.070565 * z * z)))
    return 2 * float(beyond.sum())  # as many again come after these
