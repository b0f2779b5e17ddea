"""The positive passage of each judged pair: that passage of the document that is nearest to the query.

In: a `TrainingSet` and embeddings of its queries and passages. Out: a `TrainingSet` with other positives. The
answer may be in any part of a long document, and nobody has judged which part. The choice is made again
before each epoch, with the model as it is then. This is hard expectation maximisation, as in Min et al. 2019
(A Discrete Hard EM Approach for Weakly Supervised Question Answering, section 3). Knows nothing of towers.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from retrieval.training.examples.training_set import TrainingSet


def has_choice(data: TrainingSet) -> bool:
    """Whether a judged pair has a document of several passages."""
    return bool((_counts(data)[_owners(data)] > 1).any())


def candidate_passages(data: TrainingSet) -> NDArray[np.int64]:
    """The passages of the documents of the judged pairs, rows int64 (n,), ascending."""
    return np.flatnonzero(np.isin(data.owners, _owners(data)))


def with_nearest_positives(
    data: TrainingSet, queries: NDArray[np.float32], passages: NDArray[np.float32]
) -> TrainingSet:
    """The training set whose judged pairs have the passage with the largest cosine as positive.

    data: the training set.
    queries: float32 (judged queries, d), unit length.
    passages: float32 (n, d), unit length, of `candidate_passages`.
    """
    owners = _owners(data)
    counts = _counts(data)[owners]
    starts = np.searchsorted(data.owners, owners)
    ends = np.cumsum(counts)
    # Each pair of query and passage: the passages of pair i stand at ends[i] - counts[i] to ends[i].
    rows = np.arange(ends[-1]) + np.repeat(starts - (ends - counts), counts)
    query_rows = np.repeat(data.pairs[: len(owners), 0], counts)
    places = np.searchsorted(candidate_passages(data), rows)
    cosines = np.einsum("ij,ij->i", queries[query_rows], passages[places])
    best = [
        start + int(np.argmax(cosines[start:end])) for start, end in zip(ends - counts, ends, strict=True)
    ]
    return with_positives(data, rows[best])


def with_positives(data: TrainingSet, rows: NDArray[np.int64]) -> TrainingSet:
    """The training set with these passages, int64 (judged pairs,), as positives of the judged pairs."""
    pairs = data.pairs.copy()
    pairs[: len(rows), 1] = rows
    return replace(data, pairs=pairs)


def _owners(data: TrainingSet) -> NDArray[np.int64]:
    """The document of each judged pair, int64 (judged pairs,)."""
    return data.owners[data.pairs[: data.judged_pairs, 1]]


def _counts(data: TrainingSet) -> NDArray[np.int64]:
    """The number of passages of each document."""
    return np.bincount(data.owners)
