"""The nearest rows of a collection, with exact scores whatever index the server has.

In: query vectors, and the kind of the server's index. Out: rows and scores. Knows nothing of documents.

An index that keeps every dimension in a byte (IVF_SQ8) ranks by rounded vectors. More rows are then asked
for, their stored vectors are read, and the scores are computed here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from index.remote.client import MOST_RESULTS, Collection, Hit
from index.values import Vectors

ROUNDED = frozenset({"IVF_SQ8"})
# Rows asked for each wanted one where vectors are rounded.
_ROWS_A_RESULT = 4
# Vectors read at once.
_VECTORS_AT_ONCE = 1000


def nearest(
    collection: Collection,
    queries: Vectors,
    k: int,
    where: str,
    kind: str,
    parameters: Mapping[str, Any],
) -> list[list[Hit]]:
    """The k nearest rows of each query, best first.

    collection: what is searched.
    queries: float32 (n, d).
    k: results a query, at most `MOST_RESULTS`.
    where: a filter that they must meet.
    kind: of the server's index, such as "HNSW".
    parameters: of the search, as tuned; what must not be below the number of results is raised.
    Raises RemoteError.
    """
    wanted = min(_ROWS_A_RESULT * k, MOST_RESULTS) if kind in ROUNDED else k
    raised = {name: max(value, wanted) for name, value in parameters.items() if name in ("ef", "search_list")}
    found = collection.search("dense", list(queries), wanted, where, {**parameters, **raised})
    if kind not in ROUNDED:
        return found
    vectors = _vectors(collection, sorted({number for hits in found for number, _, _ in hits}))
    exact = []
    for query, hits in zip(queries, found, strict=True):
        scores = np.array([vectors[number] for number, _, _ in hits]).reshape(-1, len(query)) @ query
        order = np.argsort(-scores, kind="stable")[:k]
        exact.append([(*hits[at][:2], float(scores[at])) for at in order.tolist()])
    return exact


def _vectors(collection: Collection, numbers: list[int]) -> dict[int, Vectors]:
    """The stored vectors of some rows, float32 (d,), by number."""
    found = {}
    for start in range(0, len(numbers), _VECTORS_AT_ONCE):
        part = numbers[start : start + _VECTORS_AT_ONCE]
        for row in collection.query(f"number in {part}", ["number", "dense"]):
            found[int(row["number"])] = np.array(row["dense"], np.float32)
    return found
