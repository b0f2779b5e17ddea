"""Training data as arrays: numbered queries and documents, the pairs among them, and batches of the pairs.

In: documents, queries, qrels and a vocabulary. Out: a `TrainingSet`, and batches of row numbers into it. A
long document is split into passages, which are what the tower reads; one passage of a relevant document is
the positive (`retrieval.training.positives`). Each passage also has pseudo-queries
(`retrieval.training.pseudo_queries`). When a passage is paired with one of them, the words of that
pseudo-query are removed from the passage. Knows nothing of towers or losses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from index.documents.store import Document
from index.errors import InputError
from retrieval.data.queries import Qrels
from retrieval.indexing.passages import split_document
from retrieval.text.vocabulary import Lexicon, Ragged, Vocabulary, ragged
from retrieval.text.words import document_text
from retrieval.training.pseudo_queries import pseudo_queries

# Pseudo-queries are drawn to fill an epoch up to this many pairs. They help where judged pairs are few, and
# cost quality where judged pairs are many.
FULL_EPOCH = 8_000

# Of a query's given negatives as many are scored in one step, drawn anew each time. Each costs the encoding
# of one more document.
GIVEN_NEGATIVES = 4


@dataclass(frozen=True)
class TrainingSet:
    """Tokenised texts and the pairs among them: the judged pairs first, then those of the pseudo-queries."""

    documents: Ragged  # the passages: word ids, which are rows of `features`
    owners: NDArray[np.int64]  # (passages,): the document of each passage, ascending
    queries: Ragged  # likewise; the judged queries first, then the pseudo-queries
    features: Ragged  # feature ids of each word
    pairs: NDArray[np.int64]  # (pairs, 2): query row, passage row; pseudo-queries in order of passages
    grades: NDArray[np.float32]  # (pairs,): relevance, positive
    relevant: tuple[frozenset[int], ...]  # for each judged query the passages of its relevant documents
    removed_words: NDArray[np.int64]  # (pairs, 2): words [from, to) that the pair's passage goes without
    pseudo_query_texts: tuple[str, ...]
    negatives: tuple[tuple[int, ...], ...] = ()  # for each judged query the passages of its given negatives

    @property
    def judged_pairs(self) -> int:
        """The number of pairs that come from the qrels."""
        return len(self.pairs) - len(self.pseudo_query_texts)


@dataclass(frozen=True)
class Batch:
    """Rows to score against each other: document i is the positive of query i, the others are negatives.

    Behind the n positives stand given negatives, each for the queries that it was given for. No document
    occurs twice. n queries, m >= n documents.
    """

    queries: NDArray[np.int64]  # (n,)
    documents: NDArray[np.int64]  # (m,)
    false_negatives: NDArray[
        np.bool_
    ]  # (n, m), to be masked: other relevant documents, others' given negatives
    weights: NDArray[np.float32]  # (n,): the grade of each pair
    removed_words: NDArray[np.int64]  # (m, 2): words [from, to) to remove from each document


def training_set(
    documents: Sequence[Document],
    queries: Mapping[str, str],
    qrels: Qrels,
    vocabulary: Vocabulary,
    query_words: int,
    document_words: int,
    passage_words: int = 0,
) -> TrainingSet:
    """Number the texts, the pairs of the qrels and the pseudo-queries.

    The positive of a judged pair is the document's first passage.

    documents: the corpus.
    queries: query id to text; must hold every query of `qrels`.
    qrels: query id to document id to grade; a grade of 0 or less makes no pair but a given negative.
    vocabulary: the features of the words.
    query_words: how many words of a query count.
    document_words: how many words of a passage count.
    passage_words: most words of a passage; 0 to leave documents whole.
    Raises InputError if no judgement makes a pair, or if there are neither pairs nor pseudo-queries.
    """
    lexicon = Lexicon(vocabulary)
    passages, owners = _passages(documents, document_words, passage_words)
    starts = np.searchsorted(owners, np.arange(len(documents) + 1)).tolist()
    rows = {d.id: range(starts[n], starts[n + 1]) for n, d in enumerate(documents)}
    judged = {query: {rows[d]: g for d, g in grades.items() if g > 0} for query, grades in qrels.items()}
    query_ids = [query_id for query_id, grades in judged.items() if grades]
    negatives = tuple(
        tuple(chain.from_iterable(rows[d] for d, g in qrels[query].items() if g <= 0)) for query in query_ids
    )
    if qrels and not query_ids:
        raise InputError("no query has a relevant document to learn from; add pairs to qrels/train.tsv")
    pairs = [(row, of_it[0]) for row, query_id in enumerate(query_ids) for of_it in judged[query_id]]
    grades = [grade for query_id in query_ids for grade in judged[query_id].values()]
    texts = [lexicon.word_ids(document_text(d.title, d.text), document_words) for d in passages]
    pseudo = [
        (row, query)
        for row, (passage, words) in enumerate(zip(passages, texts, strict=True))
        for query in pseudo_queries(passage, words, lexicon)
    ]
    if not pairs and not pseudo:
        raise InputError("no document has a title or sentence to learn from; add pairs to qrels/train.tsv")
    judged_words = [lexicon.word_ids(queries[query_id], query_words) for query_id in query_ids]
    return TrainingSet(
        documents=ragged(texts),
        owners=owners,
        queries=ragged(judged_words + [query.words[:query_words] for _, query in pseudo]),
        features=lexicon.features(),
        pairs=np.array(pairs + [(len(query_ids) + n, row) for n, (row, _) in enumerate(pseudo)], np.int64),
        grades=np.array(grades + [1] * len(pseudo), np.float32),
        relevant=tuple(frozenset(chain.from_iterable(judged[query_id])) for query_id in query_ids),
        removed_words=np.array([(0, 0)] * len(pairs) + [(q.start, q.end) for _, q in pseudo], np.int64),
        pseudo_query_texts=tuple(query.text for _, query in pseudo),
        negatives=negatives,
    )


def _passages(
    documents: Sequence[Document], document_words: int, passage_words: int
) -> tuple[list[Document], NDArray[np.int64]]:
    """The passages of all documents as documents, and the number of the document of each, int64 (passages,).

    documents: the corpus.
    document_words: words up to which a document is left whole.
    passage_words: most words of a passage; 0 to leave documents whole.
    """
    passages, owners = [], []
    for number, document in enumerate(documents):
        split = split_document(document, document_words, passage_words)
        if len(split.spans) == 1:
            passages.append(document)
        else:
            passages += [document._replace(title="", text=text) for text in split.texts()]
        owners += [number] * len(split.spans)
    return passages, np.array(owners, np.int64)


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
    waiting = rng.permutation(data.judged_pairs if pairs is None else pairs).tolist()
    documents = data.pairs[:, 1].tolist()
    batches: list[NDArray[np.int64]] = []
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
        if len(chosen) < 2 or (batches and 4 * len(chosen) < len(batches[0])):
            break
        batches.append(np.array(chosen))
        waiting = left
    return batches


def what_hinders_learning(data: TrainingSet) -> str | None:
    """Why no batch can hold judged pairs, or without those any pair at all; None if nothing hinders."""
    judged, pseudo = (len(np.unique(rows[:, 1])) for rows in np.split(data.pairs, [data.judged_pairs]))
    rest = "learning from titles and sentences alone" if pseudo > 1 else "nothing is learnt"
    if judged == 1:
        return (
            f"all training pairs have the same document, and a query learns against the documents of other "
            f"pairs: {rest}; add pairs with other documents"
        )
    if not judged and pseudo < 2:
        return f"only one document has a title or sentence to learn from: {rest}; add documents or pairs"
    return None


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
    columns = {int(document): column for column, document in enumerate(documents)}
    for row, query in enumerate(queries):
        # A pseudo-query has one relevant document, its own.
        for document in data.relevant[query] if query < len(data.relevant) else ():
            column = columns.get(document)
            if column is not None and column != row:
                false_negatives[row, column] = True
        if len(negatives):
            # Of other queries a given negative was not judged, and it may be a positive of none.
            given = data.negatives[query] if query < len(data.negatives) else ()
            false_negatives[row, len(positives) :] |= ~np.isin(negatives, given)
    removed_words = np.concatenate((data.removed_words[pairs], np.zeros((len(negatives), 2), np.int64)))
    return Batch(queries, documents, false_negatives, data.grades[pairs], removed_words)


def _given_negatives(
    data: TrainingSet,
    queries: NDArray[np.int64],
    positives: NDArray[np.int64],
    rng: np.random.Generator | None,
) -> NDArray[np.int64]:
    """Rows of given negatives of the queries, without those that are positives in the same batch."""
    there = set(positives.tolist())
    chosen: dict[int, None] = {}
    for query in queries.tolist():
        given = data.negatives[query] if query < len(data.negatives) else ()
        if len(given) > GIVEN_NEGATIVES and rng is not None:
            given = tuple(rng.permutation(given)[:GIVEN_NEGATIVES].tolist())
        chosen.update((row, None) for row in given[:GIVEN_NEGATIVES] if row not in there)
    return np.array(list(chosen), np.int64)


def remove_words(texts: Ragged, removed: NDArray[np.int64]) -> Ragged:
    """The texts without the words [from, to) of each, `removed` int64 (texts, 2)."""
    lengths = texts.lengths()
    positions = np.arange(len(texts.values)) - np.repeat(texts.offsets[:-1], lengths)
    kept = (positions < np.repeat(removed[:, 0], lengths)) | (positions >= np.repeat(removed[:, 1], lengths))
    offsets = np.concatenate(([0], np.cumsum(kept)))[texts.offsets]
    return Ragged(texts.values[kept], offsets)


def feature_weights(data: TrainingSet, size: int) -> NDArray[np.float32]:
    """Inverse document frequency of each of `size` features, float32 (size,), mean 1 over the features seen.

    Counted over the documents and the judged queries. A feature that is in every text has weight 0; one that
    is in none has the weight of the rarest.
    """
    counts = np.zeros(size, np.int64)
    lengths = data.features.lengths()
    total = 0
    for texts, count in ((data.documents, len(data.documents)), (data.queries, len(data.relevant))):
        for start in range(0, count, 1024):
            part = texts.take(np.arange(start, min(start + 1024, count)))
            owners = np.repeat(np.arange(len(part)), part.lengths())
            features = data.features.take(part.values.astype(np.int64))
            keys = np.unique(np.repeat(owners, lengths[part.values]) * size + features.values)
            counts += np.bincount(keys % size, minlength=size)
        total += count
    weights = np.log((total + 1) / (counts + 1))
    return (weights / max(float(weights[counts > 0].mean()), 1e-6)).astype(np.float32)
