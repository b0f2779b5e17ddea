"""Positives of long documents: which passage, and that a resumed training keeps its choice."""

import numpy as np
import pytest

from index.documents.store import Document
from retrieval.text.vocabulary import learn_vocabulary
from retrieval.training.examples.batches import make_batch
from retrieval.training.examples.positives import candidate_passages, has_choice, with_nearest_positives
from retrieval.training.examples.training_set import TrainingSet, training_set

LONG = Document("long", "", "cat dog cat dog. boat sail boat sail. tree leaf tree leaf.")
SHORT = Document("short", "", "house door")
OTHER = Document("other", "", "tea cup tea cup. meal plate meal plate.")
QUERIES = {"q1": "a leaf", "q2": "the door", "q3": "a cup"}
QRELS = {"q1": {"long": 2, "other": 0}, "q2": {"short": 1}, "q3": {"other": 1, "long": 1}}


@pytest.fixture(scope="module")
def data() -> TrainingSet:
    documents = [LONG, SHORT, OTHER]
    texts = [document.text for document in documents]
    vocabulary = learn_vocabulary(texts, buckets=7, min_count=1)
    return training_set(documents, QUERIES, QRELS, vocabulary, 8, 5, passage_words=5)


def test_every_passage_is_a_text_and_the_first_is_the_positive(data: TrainingSet):
    assert data.owners.tolist() == [0, 0, 0, 1, 2, 2]
    assert len(data.documents) == 6
    assert data.pairs[:4].tolist() == [[0, 0], [1, 3], [2, 4], [2, 0]]
    assert data.grades[:4].tolist() == [2, 1, 1, 1]


def test_all_passages_of_a_document_are_judged_as_it_is(data: TrainingSet):
    assert [data.relevant[query].tolist() for query in range(3)] == [[0, 1, 2], [3], [4, 5, 0, 1, 2]]
    assert data.negatives[0].tolist() == [4, 5]
    batch = make_batch(data, np.array([1, 3]))
    assert not batch.false_negatives[0, 1]  # the long document is no answer to q2
    assert not batch.false_negatives[1, 0]


def test_the_nearest_passage_becomes_the_positive(data: TrainingSet):
    assert has_choice(data)
    assert candidate_passages(data).tolist() == [0, 1, 2, 3, 4, 5]
    passages = np.eye(6, dtype=np.float32)
    queries = np.float32([[0, 0.1, 0.9, 0, 1, 1], [1, 1, 1, 0, 1, 1], [0, 0.2, 0.1, 1, 0.3, 0.4]])
    chosen = with_nearest_positives(data, queries, passages)
    assert chosen.pairs[:4].tolist() == [[0, 2], [1, 3], [2, 5], [2, 1]]
    assert chosen.pairs[4:].tolist() == data.pairs[4:].tolist()
    batch = make_batch(chosen, np.array([0, 2]))
    assert batch.documents[:2].tolist() == [2, 5]


def test_short_documents_leave_no_choice(data: TrainingSet):
    vocabulary = learn_vocabulary(["house door"], buckets=7, min_count=1)
    short = training_set([SHORT], {"q": "door"}, {"q": {"short": 1}}, vocabulary, 8, 5, passage_words=5)
    assert not has_choice(short)
