"""What a model learns from: numbered queries and documents and which belong together, in batches.

In: documents, queries, qrels. Out: batches of row numbers. Knows nothing of towers or losses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from index.documents import Document
from index.errors import InputError
from retrieval.corpus import Qrels
from retrieval.text import Lexicon, Ragged, Vocabulary, document_text, ragged

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class TrainingSet:
    """Tokenised texts and the pairs among them.

    documents, queries: word ids into `features`. pairs: int64 (pairs, 2), query row and document row. grades:
        float32 (pairs,), positive.
    relevant: for each query row its document rows.
    """

    documents: Ragged
    queries: Ragged
    features: Ragged
    pairs: Rows
    grades: NDArray[np.float32]
    relevant: tuple[frozenset[int], ...]


@dataclass(frozen=True)
class Batch:
    """Rows to score against each other: document i is the positive of query i, and no document occurs twice.

    queries: int64 (n,), documents: int64 (m,), m >= n. known: bool (n, m), other relevant documents of a
        query. weights: float32 (n,).
    """

    queries: Rows
    documents: Rows
    known: NDArray[np.bool_]
    weights: NDArray[np.float32]


def training_set(
    documents: Sequence[Document],
    queries: Mapping[str, str],
    qrels: Qrels,
    vocabulary: Vocabulary,
    query_words: int,
    document_words: int,
) -> TrainingSet:
    """Number the texts and pairs of qrels; grades of 0 and below are no pairs. Raises InputError if no pair
    is left.
    """
    lexicon = Lexicon(vocabulary)
    rows = {document.id: row for row, document in enumerate(documents)}
    judged = {query: {rows[d]: g for d, g in grades.items() if g > 0} for query, grades in qrels.items()}
    names = [query for query, grades in judged.items() if grades]
    if not names:
        raise InputError("no query has a relevant document to learn from; add pairs to qrels/train.tsv")
    pairs = [(row, document) for row, query in enumerate(names) for document in judged[query]]
    grades = [judged[names[row]][document] for row, document in pairs]
    return TrainingSet(
        documents=ragged(
            [
                lexicon.word_ids(document_text(document.title, document.text), document_words)
                for document in documents
            ]
        ),
        queries=ragged([lexicon.word_ids(queries[name], query_words) for name in names]),
        features=lexicon.features(),
        pairs=np.array(pairs, np.int64),
        grades=np.array(grades, np.float32),
        relevant=tuple(frozenset(judged[name]) for name in names),
    )


def plan(data: TrainingSet, size: int, rng: np.random.Generator) -> list[Rows]:
    """Every pair once in random order, as rows of `data.pairs`, at most `size` a batch and no document twice
    in one.

    A pair whose document is in the batch already waits for a later one. So the last batches hold only pairs
    of a few popular documents; those less than a quarter as large as the first are left out of this round:
    with so few negatives they would teach little, and cost a step each.
    """
    waiting = rng.permutation(len(data.pairs)).tolist()
    documents = data.pairs[:, 1].tolist()
    planned: list[Rows] = []
    while waiting:
        chosen: list[int] = []
        used: set[int] = set()
        left: list[int] = []
        for number, pair in enumerate(waiting):
            if len(chosen) == size:
                left.extend(waiting[number:])
                break
            if documents[pair] in used:
                left.append(pair)
            else:
                used.add(documents[pair])
                chosen.append(pair)
        if len(chosen) < 2 or (planned and 4 * len(chosen) < len(planned[0])):
            break
        planned.append(np.array(chosen))
        waiting = left
    return planned


def batch(data: TrainingSet, chosen: Rows) -> Batch:
    """The batch of the given pairs."""
    queries, documents = data.pairs[chosen].T
    known = np.zeros((len(queries), len(documents)), bool)
    columns = {int(document): column for column, document in enumerate(documents)}
    for row, query in enumerate(queries):
        for document in data.relevant[query]:
            column = columns.get(document)
            if column is not None and column != row:
                known[row, column] = True
    return Batch(queries, documents, known, data.grades[chosen])


def feature_weights(data: TrainingSet, size: int) -> NDArray[np.float32]:
    """Inverse document frequency of each of `size` features over queries and documents, float32, mean 1 over
    the features seen.

    A feature in every text weighs nothing, one never seen as much as the rarest.
    """
    counts = np.zeros(size, np.int64)
    lengths = data.features.lengths()
    total = 0
    for texts in (data.documents, data.queries):
        for start in range(0, len(texts), 1024):
            some = texts.take(np.arange(start, min(start + 1024, len(texts))))
            owners = np.repeat(np.arange(len(some)), some.lengths())
            features = data.features.take(some.values.astype(np.int64))
            keys = np.unique(np.repeat(owners, lengths[some.values]) * size + features.values)
            counts += np.bincount(keys % size, minlength=size)
        total += len(texts)
    weights = np.log((total + 1) / (counts + 1))
    return (weights / max(float(weights[counts > 0].mean()), 1e-6)).astype(np.float32)
