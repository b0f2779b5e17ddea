"""What a model learns from: numbered queries and documents and which belong together, in batches.

In: documents, queries, qrels. Out: batches of row numbers. Beside the pairs that are given, each document has
spans of its own (`retrieval.training.pseudo_queries`) that it is paired with while they are left out of it. Knows nothing of
towers or losses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from index.documents.store import Document
from index.errors import InputError
from retrieval.data.queries import Qrels
from retrieval.text.vocabulary import Lexicon, Ragged, Vocabulary, ragged
from retrieval.text.words import document_text
from retrieval.training.pseudo_queries import document_spans

Rows = NDArray[np.int64]

# Spans are drawn to fill an epoch up to this many pairs. Where pairs are few the documents must teach; where
# they are many they know better, and spans only get in their way.
FULL_EPOCH = 8_000


@dataclass(frozen=True)
class TrainingSet:
    """Tokenised texts and the pairs among them.

    documents, queries: word ids into `features`; the given queries come first, then the spans. pairs: int64
        (pairs, 2), query row and document row; the given ones first, then those of the spans, which are in
        the order of their documents. grades: float32 (pairs,), positive.
    relevant: for each given query row its document rows. cuts: int64 (pairs, 2), the words [from, to) of the
        document that a pair leaves out. span_texts: of each span.
    """

    documents: Ragged
    queries: Ragged
    features: Ragged
    pairs: Rows
    grades: NDArray[np.float32]
    relevant: tuple[frozenset[int], ...]
    cuts: Rows
    span_texts: tuple[str, ...]

    @property
    def given(self) -> int:
        """How many of the pairs are given."""
        return len(self.pairs) - len(self.span_texts)


@dataclass(frozen=True)
class Batch:
    """Rows to score against each other: document i is the positive of query i, and no document occurs twice.

    queries: int64 (n,), documents: int64 (m,), m >= n. known: bool (n, m), other relevant documents of a
        query. weights: float32 (n,). cuts: int64 (m, 2), the words of each document to leave out.
    """

    queries: Rows
    documents: Rows
    known: NDArray[np.bool_]
    weights: NDArray[np.float32]
    cuts: Rows


def training_set(
    documents: Sequence[Document],
    queries: Mapping[str, str],
    qrels: Qrels,
    vocabulary: Vocabulary,
    query_words: int,
    document_words: int,
) -> TrainingSet:
    """Number the texts, the pairs of qrels and the spans; grades of 0 and below are no pairs.

    Raises InputError if there are judgements but no pair among them, or neither pairs nor spans.
    """
    lexicon = Lexicon(vocabulary)
    rows = {document.id: row for row, document in enumerate(documents)}
    judged = {query: {rows[d]: g for d, g in grades.items() if g > 0} for query, grades in qrels.items()}
    names = [query for query, grades in judged.items() if grades]
    if qrels and not names:
        raise InputError("no query has a relevant document to learn from; add pairs to qrels/train.tsv")
    pairs = [(row, document) for row, query in enumerate(names) for document in judged[query]]
    grades = [judged[names[row]][document] for row, document in pairs]
    texts = [lexicon.word_ids(document_text(d.title, d.text), document_words) for d in documents]
    spans = [
        (row, span)
        for row, (document, words) in enumerate(zip(documents, texts, strict=True))
        for span in document_spans(document, words, lexicon)
    ]
    if not pairs and not spans:
        raise InputError("no document has a title or sentence to learn from; add pairs to qrels/train.tsv")
    questions = [lexicon.word_ids(queries[name], query_words) for name in names]
    return TrainingSet(
        documents=ragged(texts),
        queries=ragged(questions + [span.words[:query_words] for _, span in spans]),
        features=lexicon.features(),
        pairs=np.array(pairs + [(len(names) + n, row) for n, (row, _) in enumerate(spans)], np.int64),
        grades=np.array(grades + [1] * len(spans), np.float32),
        relevant=tuple(frozenset(judged[name]) for name in names),
        cuts=np.array([(0, 0)] * len(pairs) + [(span.start, span.end) for _, span in spans], np.int64),
        span_texts=tuple(span.text for _, span in spans),
    )


def draw(data: TrainingSet, rng: np.random.Generator) -> Rows:
    """The spans of an epoch, each of another document, as rows of `data.pairs`."""
    owners, first, count = np.unique(data.pairs[data.given :, 1], return_index=True, return_counts=True)
    some = rng.permutation(len(owners))[: max(0, FULL_EPOCH - data.given)]
    return data.given + first[some] + rng.integers(count[some])


def plan(data: TrainingSet, size: int, rng: np.random.Generator, pairs: Rows | None = None) -> list[Rows]:
    """Every pair once in random order, as rows of `data.pairs`, at most `size` a batch and no document twice
    in one.

    pairs: which ones, the given ones by default.

    A pair whose document is in the batch already waits for a later one. So the last batches hold only pairs
    of a few popular documents; those less than a quarter as large as the first are left out of this round:
    with so few negatives they would teach little, and cost a step each.
    """
    waiting = rng.permutation(data.given if pairs is None else pairs).tolist()
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
        # A span is of one document alone.
        for document in data.relevant[query] if query < len(data.relevant) else ():
            column = columns.get(document)
            if column is not None and column != row:
                known[row, column] = True
    return Batch(queries, documents, known, data.grades[chosen], data.cuts[chosen])


def cut(texts: Ragged, cuts: Rows) -> Ragged:
    """Texts without the words [from, to) of each, `cuts` int64 (texts, 2); each keeps at least one."""
    lengths = texts.lengths()
    places = np.arange(len(texts.values)) - np.repeat(texts.offsets[:-1], lengths)
    kept = (places < np.repeat(cuts[:, 0], lengths)) | (places >= np.repeat(cuts[:, 1], lengths))
    offsets = np.concatenate(([0], np.cumsum(kept)))[texts.offsets]
    return Ragged(texts.values[kept], offsets)


def feature_weights(data: TrainingSet, size: int) -> NDArray[np.float32]:
    """Inverse document frequency of each of `size` features over documents and given queries, float32, mean
    1 over the features seen.

    A feature in every text weighs nothing, one never seen as much as the rarest.
    """
    counts = np.zeros(size, np.int64)
    lengths = data.features.lengths()
    total = 0
    for texts, count in ((data.documents, len(data.documents)), (data.queries, len(data.relevant))):
        for start in range(0, count, 1024):
            some = texts.take(np.arange(start, min(start + 1024, count)))
            owners = np.repeat(np.arange(len(some)), some.lengths())
            features = data.features.take(some.values.astype(np.int64))
            keys = np.unique(np.repeat(owners, lengths[some.values]) * size + features.values)
            counts += np.bincount(keys % size, minlength=size)
        total += count
    weights = np.log((total + 1) / (counts + 1))
    return (weights / max(float(weights[counts > 0].mean()), 1e-6)).astype(np.float32)
