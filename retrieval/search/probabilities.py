"""The probabilities that the hits of a search are relevant, by the calibration of the model.

In: an open generation, queries and what a search found. Out: a probability for each hit. Knows nothing of
what the evidence is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from index.phases import phase
from index.values import Vectors
from retrieval.search.evidence import evidence_of, known_of
from retrieval.search.found import Found
from retrieval.search.generation import OpenGeneration
from retrieval.search.modes import Mode

if TYPE_CHECKING:
    from numpy.typing import NDArray


def probabilities_of(
    opened: OpenGeneration,
    queries: Sequence[str],
    embeddings: Vectors | None,
    found: Found,
    mode: Mode,
    offset: int,
) -> list[NDArray[np.float32]] | None:
    """The probability of each hit that it is relevant; None if the model has no calibration.

    opened: what was searched.
    queries: n texts.
    embeddings: float32 (n, dimension); None after a lexical search, which has none: then they are made here.
    found: the ranking from its first hit on.
    mode: that ranked them.
    offset: how many of the first hits need no probability.
    Returns for each query float32 (hits,).
    """
    calibration, rescoring = opened.tower.calibration, opened.rescoring
    if calibration is None:
        return None
    if embeddings is None:
        embeddings = opened.tower.encode(queries)
    fitted = calibration.modes[mode]
    with phase("probability"):
        likely = []
        for query, embedding, rows, known in zip(
            queries, embeddings, found.ranking.rows, found.known, strict=True
        ):
            hits = rows[rows >= 0]
            weighed = np.concatenate((hits[:1], hits[offset:])) if offset else hits
            each = None
            if known is not None and rescoring is not None:
                each = rescoring.probabilities(fitted, known, weighed)
            if each is None:
                told = known_of(opened.index, query, embedding, weighed, known)
                each = fitted.probabilities(evidence_of(told))
            likely.append(each[1 if offset else 0 :])
        return likely
