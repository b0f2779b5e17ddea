"""The usual measures of a ranking, with the values of trec_eval.

In: the grades of a query's documents, and a ranking. Out: a number from 0 to 1. Knows nothing of runs.
ir-measures has these too, but needs trec_eval as a compiled package, which does not exist for every machine
(none for Linux on ARM).

    nDCG@k     sum of grade / log2(rank + 1), as a share of the best such sum (Järvelin and Kekäläinen 2002)
    R@k        share of the relevant documents among the first k
    P@k        share of the first k that is relevant
    RR@k       1 / the rank of the first relevant document
    AP@k       mean over the relevant documents of P at the rank of each, 0 for those that are not found
    Success@k  whether one of the first k is relevant

A document is relevant if its grade is above 0. Without a relevant document all are 0.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

# The relevant documents of a ranking as (rank, grade), the grades of all relevant documents, and the cutoff.
_Value: TypeAlias = "Callable[[Sequence[tuple[int, int]], Sequence[int], int | None], float]"

_NAME = re.compile(r"(?P<family>[A-Za-z]+)(?:@(?P<cutoff>[1-9][0-9]{0,5}|1000000))?")


class UsualMeasure(NamedTuple):
    """A measure and its cutoff; None for the whole ranking."""

    value: _Value
    cutoff: int | None

    def of(self, grades: Mapping[str, int], ranking: Sequence[str]) -> float:
        """The value of a ranking.

        grades: by document id; a document that has none counts as not relevant.
        ranking: document ids, best first.
        """
        relevant = {document: grade for document, grade in grades.items() if grade > 0}
        if not relevant:
            return 0.0
        first = enumerate(ranking[: self.cutoff], 1)
        found = [(rank, relevant[document]) for rank, document in first if document in relevant]
        return self.value(found, list(relevant.values()), self.cutoff)


def usual_measure(name: str) -> UsualMeasure | None:
    """The measure of a name such as nDCG@10; None for one that is not computed here."""
    match = _NAME.fullmatch(name)
    if match is None or match["family"] not in _FAMILIES:
        return None
    cutoff = None if match["cutoff"] is None else int(match["cutoff"])
    if cutoff is None and match["family"] in _ONLY_WITH_CUTOFF:
        return None
    return UsualMeasure(_FAMILIES[match["family"]], cutoff)


def _ndcg(found: Sequence[tuple[int, int]], grades: Sequence[int], cutoff: int | None) -> float:
    best = enumerate(sorted(grades, reverse=True)[:cutoff], 1)
    return _gain(found) / _gain(list(best))


def _gain(ranked: Sequence[tuple[int, int]]) -> float:
    return sum(grade / math.log2(rank + 1) for rank, grade in ranked)


def _recall(found: Sequence[tuple[int, int]], grades: Sequence[int], cutoff: int | None) -> float:
    return len(found) / len(grades)


def _precision(found: Sequence[tuple[int, int]], grades: Sequence[int], cutoff: int | None) -> float:
    return len(found) / (cutoff or 1)


def _reciprocal_rank(found: Sequence[tuple[int, int]], grades: Sequence[int], cutoff: int | None) -> float:
    return 1 / found[0][0] if found else 0.0


def _average_precision(found: Sequence[tuple[int, int]], grades: Sequence[int], cutoff: int | None) -> float:
    return sum(number / rank for number, (rank, _) in enumerate(found, 1)) / len(grades)


def _success(found: Sequence[tuple[int, int]], grades: Sequence[int], cutoff: int | None) -> float:
    return float(bool(found))


# By the names of ir-measures, which has some twice.
_FAMILIES: Mapping[str, _Value] = {
    **dict.fromkeys(("nDCG", "NDCG"), _ndcg),
    **dict.fromkeys(("R", "Recall"), _recall),
    **dict.fromkeys(("P", "Precision"), _precision),
    **dict.fromkeys(("RR", "MRR"), _reciprocal_rank),
    **dict.fromkeys(("AP", "MAP"), _average_precision),
    "Success": _success,
}
_ONLY_WITH_CUTOFF = ("R", "Recall", "P", "Precision", "Success")
