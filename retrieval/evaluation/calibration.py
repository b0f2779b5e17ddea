"""How well probabilities agree with what happens: reliability and calibration error.

In: probabilities, and whether each hit was relevant. Out: bins and numbers. Knows nothing of where the
probabilities come from.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

# Bins of equal width. Fewer would hide errors within a bin; with more, a set of a thousand queries has so few
# hits in each that chance alone makes a difference.
BINS = 10


class Bin(NamedTuple):
    """The hits whose probabilities lie in one interval."""

    low: float
    high: float
    hits: int
    probability: float  # mean
    relevant: float  # share


class Calibrated(NamedTuple):
    """How well the probabilities of an index's hits agree with the judgements."""

    mode: str
    first: float  # calibration error of the first hit of each query
    ten: float  # that of the first ten hits
    bins: list[Bin]  # of the first hits

    def as_json(self) -> dict[str, Any]:
        """As `evaluate --json` prints it."""
        return self._asdict() | {"bins": [each._asdict() for each in self.bins]}


def reliability(probabilities: NDArray[np.floating], relevant: NDArray[np.bool_]) -> list[Bin]:
    """The bins that have hits, by rising probability.

    probabilities: (n,), each 0 to 1.
    relevant: bool (n,).
    """
    places = _bin_of(probabilities)
    bins = []
    for place in np.unique(places).tolist():
        inside = places == place
        bins.append(
            Bin(
                place / BINS,
                (place + 1) / BINS,
                int(np.count_nonzero(inside)),
                float(probabilities[inside].mean()),
                float(relevant[inside].mean()),
            )
        )
    return bins


def calibration_error(probabilities: NDArray[np.floating], relevant: NDArray[np.bool_]) -> float:
    """The expected calibration error (Naeini et al. 2015), with `BINS` bins of equal width.

    It is the mean over bins, weighted by their hits, of the distance between the mean probability and the
    share of relevant hits.

    probabilities: (n,), each 0 to 1.
    relevant: bool (n,).
    Returns 0 for no hits.

    >>> calibration_error(np.array([0.5, 0.5, 0.9, 0.9]), np.array([True, False, True, False])).__round__(3)
    0.2
    """
    if not len(probabilities):
        return 0.0
    excess = np.bincount(_bin_of(probabilities), probabilities - relevant, minlength=BINS)
    return float(np.abs(excess).sum() / len(probabilities))


def _bin_of(probabilities: NDArray[np.floating]) -> NDArray[np.int64]:
    """The bin of each probability, int64 (n,); 1 belongs to the last."""
    return np.minimum((probabilities * BINS).astype(np.int64), BINS - 1)
