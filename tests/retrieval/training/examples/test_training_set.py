"""Numbering of a data set: texts as words and features, pairs of the judgements and of pseudo-queries."""

from __future__ import annotations

import numpy as np
import pytest

from index.documents.store import Document
from index.errors import InputError
from retrieval.text.vocabulary import Vocabulary
from retrieval.training.examples.training_set import training_set

VOCABULARY = Vocabulary(("#ca", "cat"), 5)
DOCUMENTS = [Document("d1", "cat", "sat"), Document("d2", "", "dog"), Document("d3", "", "a b c d")]
QUERIES = {"q1": "a cat", "q2": "dog", "q3": "nobody asked", "q4": "bad"}


def make(qrels, query_words=10, document_words=10):
    return training_set(DOCUMENTS, QUERIES, qrels, VOCABULARY, query_words, document_words)


def spell(data, texts):
    """The features of each word of each text."""
    return [
        [data.features.take(np.array([word])).values.tolist() for word in texts.take(np.array([row])).values]
        for row in range(len(texts))
    ]


def lists(texts):
    """A ragged array as lists."""
    return [texts[row].tolist() for row in range(len(texts))]


def test_texts_become_words_and_words_features():
    data = make({"q1": {"d1": 1}, "q2": {"d2": 2}})
    assert spell(data, data.documents) == [
        [VOCABULARY.features(word) for word in text] for text in (["cat", "sat"], ["dog"], list("abcd"))
    ]
    assert spell(data, data.queries) == [
        [VOCABULARY.features(word) for word in text] for text in (["a", "cat"], ["dog"])
    ]


def test_pairs_grades_and_relevant_rows_follow_the_judgements():
    data = make({"q2": {"d3": 1, "d2": 3}, "q1": {"d1": 2}})
    assert data.pairs.tolist() == [[0, 2], [0, 1], [1, 0]]
    assert data.grades.tolist() == [1, 3, 2]
    assert lists(data.relevant) == [[2, 1], [0]]


def test_grades_of_zero_and_below_are_no_pairs():
    data = make({"q1": {"d1": 1, "d2": 0, "d3": -1}, "q4": {"d1": 0}})
    assert data.pairs.tolist() == [[0, 0]]
    assert len(data.queries) == 1


def test_texts_are_cut_to_their_sides_number_of_words():
    data = make({"q1": {"d3": 1}}, query_words=1, document_words=3)
    assert data.queries.lengths().tolist() == [1]
    assert data.documents.lengths().tolist() == [2, 1, 3]


@pytest.mark.parametrize("qrels", [{"q1": {"d1": 0}}, {"q1": {}}])
def test_judgements_without_a_pair_are_told(qrels):
    with pytest.raises(InputError, match=r"no query has a relevant document .*train\.tsv"):
        make(qrels)


def test_without_pairs_and_pseudo_queries_there_is_nothing_to_learn_from():
    with pytest.raises(InputError, match=r"no document has a title or sentence .*train\.tsv"):
        training_set(DOCUMENTS[1:], {}, {}, VOCABULARY, 10, 10)


# The title and two sentences are pseudo-queries; the second sentence lies half beyond the limit of words.
PAGE = Document("p", "List files", "Shows a folder. With all sizes told. More.")
NOTE = Document("n", "", "One two three. Four five six.")


def test_pseudo_queries_follow_the_judged_pairs_and_are_removed_from_their_documents():
    data = training_set([PAGE, NOTE], {"q": "which files"}, {"q": {"n": 2}}, VOCABULARY, 3, 8)
    assert data.judged_pairs == 1
    assert data.pairs.tolist() == [[0, 1], [1, 0], [2, 0], [3, 0], [4, 1], [5, 1]]
    assert data.removed_words.tolist() == [[0, 0], [0, 2], [2, 5], [5, 9], [0, 3], [3, 6]]
    assert data.grades.tolist() == [2, 1, 1, 1, 1, 1]
    assert lists(data.relevant) == [[1]]
    assert data.queries.lengths().tolist() == [2, 2, 3, 3, 3, 3]
    list_files = data.documents.take(np.array([0])).values[:2]
    assert data.queries.take(np.array([1])).values.tolist() == list_files.tolist()
