"""The features of matched words in one compiled loop, where numpy makes forty calls.

In and out: numpy arrays, see `retrieval.search.features`. Importing this module needs numba, and takes half a
second: it is for processes that search many times.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from index.interaction.matches import Matches
from retrieval.search.features import FIELDS, NO_MATCH, OF_WORDS, THRESHOLDS, Float32Array

_LIMITS = np.array(THRESHOLDS, np.float32)
_NO_MATCH = np.float32(NO_MATCH)
_FIELDS, _THRESHOLDS = len(FIELDS), len(THRESHOLDS)
# Where the features of each kind begin, in the order of `retrieval.search.features`.
_ABOVE = _FIELDS
_SOFT = _ABOVE + _FIELDS * _THRESHOLDS
_NEAR = _SOFT + _FIELDS
_SAME = _NEAR + _FIELDS
_WORDS = _SAME + _FIELDS
_LEAST = _WORDS + 2


def compiled_word_features(matches: Matches, shares: Float32Array) -> Float32Array:
    """As `retrieval.search.features.word_features`."""
    table = np.zeros((len(matches.lengths), OF_WORDS), np.float32)
    _fill(*matches, shares, table)
    return table


@njit(error_model="numpy", cache=True)
def _fill(best: Any, soft: Any, counts: Any, lengths: Any, shares: Any, table: Any) -> None:
    """Add the features of n documents to a table of zeros.

    best, soft, counts, lengths: of `Matches`.
    """
    values = np.empty(_FIELDS, np.float32)
    for document in range(len(table)):
        row = table[document]
        asked = lengths[document, 2] > 0
        least = np.float32(np.inf)
        for word in range(len(shares)):
            share = shares[word]
            title, text, known = best[word, document, 0], best[word, document, 1], best[word, document, 2]
            values[0], values[1], values[2] = max(title, text), title, known
            if asked:
                values[0] = max(values[0], known)
            least = min(least, values[0])
            for field in range(_FIELDS):
                row[field] += share * values[field]
                for limit in range(_THRESHOLDS):
                    if values[field] > _LIMITS[limit]:
                        row[_ABOVE + field * _THRESHOLDS + limit] += share
            title, text, known = soft[word, document, 0], soft[word, document, 1], soft[word, document, 2]
            values[0], values[1], values[2] = title + text, title, known
            if asked:
                values[0] += known
            for field in range(_FIELDS):
                row[_SOFT + field] += share * np.log(values[field] + _NO_MATCH)
        for field in range(_FIELDS):
            first = 2 if field == 2 else 0
            last = 2 if field == 0 else first + 1
            weight = near = same = np.float32(0)
            for one in range(first, last):
                weight += counts[0, document, one]
                near += counts[1, document, one]
                same += counts[2, document, one]
            weight = max(weight, np.float32(1e-6))
            row[_NEAR + field] = near / weight
            row[_SAME + field] = same / weight
        row[_WORDS] = math.log1p(lengths[document, 0] + lengths[document, 1])
        row[_WORDS + 1] = math.log1p(lengths[document, 0])
        row[_LEAST] = least
