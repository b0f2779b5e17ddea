"""Batches of the pairs of a training set: which pairs are in a step, and what is scored against what.

In: a `TrainingSet` and a random generator. Out: batches of row numbers into it. Knows nothing of texts,
towers or losses.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from retrieval.text.vocabulary import Ragged
from retrieval.training.examples.training_set import TrainingSet

# Pseudo-queries are drawn to fill an epoch up to this many pairs. They help where judged pairs are few, and
# cost quality where judged pairs are many.
FULL_EPOCH = 8_000
# How many of a query's given negatives are scored in one step. They are drawn anew each time, and each costs
# the encoding of one more document.
GIVEN_NEGATIVES = 4
# Pairs of which Python objects are made at once.
_PAIRS_AT_ONCE = 8192


@dataclass(frozen=True)
class Batch:
    """Rows to score against each other: document i is the positive of query i, the others are negatives.

    There are n queries and m >= n documents. The n positives come first, then given negatives, each for the
    queries that it was given for. No document occurs twice.
    """

    queries: NDArray[np.int64]  # (n,)
    documents: NDArray[np.int64]  # (m,)
    # (n, m), to be masked: other relevant documents, given negatives of other queries
    false_negatives: NDArray[np.bool_]
    weights: NDArray[np.float32]  # (n,): the grade of each pair
    removed_words: NDArray[np.int64]  # (m, 2): words [from, to) to remove from each document


def what_hinders_learning(data: TrainingSet) -> str | None:
    """Why no batch can hold judged pairs, or any pairs if none are judged; None if batches can be made."""
    judged, pseudo = (len(np.unique(rows[:, 1])) for rows in np.split(data.pairs, [data.judged_pairs]))
    rest = "learning from titles and sentences alone" if pseudo > 1 else "nothing is learnt"
    if judged == 1:
        return (
            "all training pairs have the same document, and a query learns against the documents of other "
            f"pairs: {rest}; add pairs with other documents"
        )
    if not judged and pseudo < 2:
        return f"only one document has a title or sentence to learn from: {rest}; add documents or pairs"
    return None


def draw_pseudo_queries(data: TrainingSet, rng: np.random.Generator) -> NDArray[np.int64]:
    """The pseudo-queries of one epoch, at most one of each passage, as rows of `data.pairs`."""
    pseudo_pairs = data.pairs[data.judged_pairs :]
    documents, first, count = np.unique(pseudo_pairs[:, 1], return_index=True, return_counts=True)
    drawn = rng.permutation(len(documents))[: max(0, FULL_EPOCH - data.judged_pairs)]
    return data.judged_pairs + first[drawn] + rng.integers(count[drawn])


def plan_batches(
    data: TrainingSet, size: int, rng: np.random.Generator, pairs: NDArray[np.int64] | None = None
) -> list[NDArray[np.int64]]:
    """Divide pairs into batches in random order, no document twice in one batch.

    data: the training set.
    size: pairs a batch, at most.
    rng: the source of the order.
    pairs: int64 (p,), rows of `data.pairs`; the judged pairs by default.
    Returns for each batch its rows of `data.pairs`, int64 (b,), b <= size.

    A pair whose document is in the batch already waits for a later batch, so that the last batches hold only
    pairs of a few popular documents. Batches less than a quarter as large as the first are left out: they
    have few in-batch negatives, and cost a step each.
    """
    order = rng.permutation(data.judged_pairs if pairs is None else pairs)
    stream = _with_documents(data, order)
    deferred: list[tuple[int, int]] = []
    batches: list[NDArray[np.int64]] = []
    while True:
        chosen: list[int] = []
        used: set[int] = set()
        left: list[tuple[int, int]] = []
        waiting = iter(deferred)
        for pair, document in chain(waiting, stream):
            if document in used:
                left.append((pair, document))
                continue
            used.add(document)
            chosen.append(pair)
            if len(chosen) == size:
                break
        if len(chosen) < 2 or (batches and 4 * len(chosen) < len(batches[0])):
            return batches
        batches.append(np.array(chosen))
        deferred = [*left, *waiting]


def _with_documents(data: TrainingSet, pairs: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Pairs, each with its document."""
    for start in range(0, len(pairs), _PAIRS_AT_ONCE):
        block = pairs[start : start + _PAIRS_AT_ONCE]
        yield from zip(block.tolist(), data.pairs[block, 1].tolist(), strict=True)


def make_batch(data: TrainingSet, pairs: NDArray[np.int64], rng: np.random.Generator | None = None) -> Batch:
    """The batch of some pairs, with given negatives of their queries.

    data: the training set.
    pairs: int64 (n,), rows of `data.pairs`.
    rng: draws the given negatives of queries that have more than `GIVEN_NEGATIVES`; None takes the first.
    """
    queries, positives = data.pairs[pairs].T
    negatives = _given_negatives(data, queries, positives, rng)
    documents = np.concatenate((positives, negatives))
    false_negatives = np.zeros((len(queries), len(documents)), bool)
    # A pseudo-query has one relevant document, its own.
    false_negatives[_occurrences(data.relevant, queries, documents)] = True
    np.fill_diagonal(false_negatives, False)
    if len(negatives):
        # For other queries the given negative was not judged, and it may not be their positive.
        given = np.zeros((len(queries), len(negatives)), bool)
        given[_occurrences(data.negatives, queries, negatives)] = True
        false_negatives[:, len(positives) :] |= ~given
    removed_words = np.concatenate((data.removed_words[pairs], np.zeros((len(negatives), 2), np.int64)))
    return Batch(queries, documents, false_negatives, data.grades[pairs], removed_words)


def _given_negatives(
    data: TrainingSet,
    queries: NDArray[np.int64],
    positives: NDArray[np.int64],
    rng: np.random.Generator | None,
) -> NDArray[np.int64]:
    """Rows of given negatives of the queries, without those that are positives in the same batch."""
    if not len(data.negatives.values):
        return np.zeros(0, np.int64)
    there = set(positives.tolist())
    chosen: dict[int, None] = {}
    for query in queries.tolist():
        given = data.negatives[query].tolist() if query < len(data.negatives) else []
        if len(given) > GIVEN_NEGATIVES and rng is not None:
            given = rng.permutation(given)[:GIVEN_NEGATIVES].tolist()
        chosen.update((row, None) for row in given[:GIVEN_NEGATIVES] if row not in there)
    return np.array(list(chosen), np.int64)


def _occurrences(
    lists: Ragged, queries: NDArray[np.int64], documents: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The pairs of a query and a document of its list, as places in `queries` and in `documents`.

    lists: of the judged queries, rows of passages.
    queries: int64 (n,), rows of queries.
    documents: int64 (m,), rows of passages, none twice.
    """
    judged = np.flatnonzero(queries < len(lists))
    some = lists.take(queries[judged])
    owners = np.repeat(judged, some.lengths())
    order = np.argsort(documents)
    places = np.minimum(np.searchsorted(documents, some.values, sorter=order), len(documents) - 1)
    columns = order[places]
    found = documents[columns] == some.values
    return owners[found], columns[found]


def remove_words(texts: Ragged, removed: NDArray[np.int64]) -> Ragged:
    """The texts without the words [from, to) of each, `removed` int64 (texts, 2)."""
    lengths = texts.lengths()
    positions = np.arange(len(texts.values)) - np.repeat(texts.offsets[:-1], lengths)
    kept = (positions < np.repeat(removed[:, 0], lengths)) | (positions >= np.repeat(removed[:, 1], lengths))
    offsets = np.concatenate(([0], np.cumsum(kept)))[texts.offsets]
    return Ragged(texts.values[kept], offsets)
