"""An estimate of how many of a query's best rows a scan of compressed vectors has missed.

In: the scores of its candidates, compressed and exact. Out: a number of rows. Knows nothing of how vectors
are compressed.

Tuning measures the depth that most queries need. Where the rows near a query were deleted, the best remaining
rows have almost the same scores, so a small error of compression can move one of them far down the ranking.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Keeps the division below defined when all errors are equal.
_LEAST_VARIANCE = 1e-14


def expected_misses(
    approximate: NDArray[np.float32],
    exact: NDArray[np.float32],
    least: float,
    few: float = 0.0,
) -> float:
    """The expected number of rows beyond the candidates that score more than `least`.

    approximate: float32 (n,), compressed scores of the worse half of the candidates, best first; n above 0.
    exact: float32 (n,), the exact scores of the same candidates.
    least: the score of the last result that counts.
    few: a result up to this need not be precise; it may then be an upper bound.
    The rows after the candidates are assumed to be like these: their compressed scores continue below the
    last candidate's with the same spread, and the errors of these scores are normally distributed with the
    same mean and variance. Returns NaN if scores are not finite.
    """
    with np.errstate(all="ignore"):
        errors = exact - approximate
        mean = float(errors.sum()) / len(errors)
        variance = float(errors @ errors) / len(errors) - mean * mean
        deviation = math.sqrt(max(variance, _LEAST_VARIANCE))
        # No later row has a higher compressed score than the last candidate, which gives a cheap upper bound.
        missing = least - mean - float(approximate[-1])
        most = len(errors) * math.erfc(missing / deviation / math.sqrt(2))
        if most <= few:
            return most
        z = (missing + float(approximate[0]) - approximate) / deviation
        # The upper tail of the normal distribution at z, to .0002 (Page 1977); numpy has none.
        beyond = 1 / (1 + np.exp(z * (1.5976 + 0.070565 * z * z)))
    return 2 * float(beyond.sum())  # twice: the rows after these n are as many again
