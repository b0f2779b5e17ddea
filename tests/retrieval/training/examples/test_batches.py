"""Batches: which pairs are in a step, and which documents a query is not scored against."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from index.documents.store import Document
from retrieval.text.vocabulary import Vocabulary, ragged
from retrieval.training.examples.batches import (
    GIVEN_NEGATIVES,
    draw_pseudo_queries,
    make_batch,
    plan_batches,
    remove_words,
    what_hinders_learning,
)
from retrieval.training.examples.training_set import TrainingSet, training_set

VOCABULARY = Vocabulary(("#ca", "cat"), 5)
DOCUMENTS = [Document("d1", "cat", "sat"), Document("d2", "", "dog"), Document("d3", "", "a b c d")]
QUERIES = {"q1": "a cat", "q2": "dog", "q3": "nobody asked", "q4": "bad"}


def make(qrels, query_words=10, document_words=10):
    return training_set(DOCUMENTS, QUERIES, qrels, VOCABULARY, query_words, document_words)


def lists(texts):
    """A ragged array as lists."""
    return [texts[row].tolist() for row in range(len(texts))]


def from_pairs(pairs, documents=None):
    """A training set of one-word texts from (query, document) rows."""
    pairs = np.array(pairs, np.int64).reshape(-1, 2)
    relevant = [frozenset(pairs[pairs[:, 0] == q, 1].tolist()) for q in range(pairs[:, 0].max() + 1)]
    count = documents or int(pairs[:, 1].max()) + 1
    return TrainingSet(
        documents=ragged([[row] for row in range(count)]),
        owners=np.arange(count),
        queries=ragged([[0] for _ in relevant]),
        features=ragged([[0] for _ in range(count)]),
        pairs=pairs,
        grades=np.ones(len(pairs), np.float32),
        relevant=ragged([sorted(rows) for rows in relevant]),
        negatives=ragged([[] for _ in relevant]),
        removed_words=np.zeros((len(pairs), 2), np.int64),
        abbreviations=np.zeros(0, np.int64),
        long_forms=ragged([]),
        judged_pairs=len(pairs),
    )


# The title and two sentences are pseudo-queries; the second sentence lies half beyond the limit of words.
PAGE = Document("p", "List files", "Shows a folder. With all sizes told. More.")
NOTE = Document("n", "", "One two three. Four five six.")


def test_an_epoch_draws_one_pseudo_query_of_each_document():
    data = training_set([PAGE, NOTE, DOCUMENTS[1]], {"q": "cat"}, {"q": {"n": 1}}, VOCABULARY, 8, 20)
    drawn = [draw_pseudo_queries(data, np.random.default_rng(seed)) for seed in range(40)]
    assert {tuple(sorted(data.pairs[rows, 1].tolist())) for rows in drawn} == {(0, 1)}
    assert {int(row) for rows in drawn for row in rows} == set(range(1, len(data.pairs)))


def test_pseudo_queries_fill_an_epoch_that_pairs_leave_room_in(monkeypatch):
    pages = [Document(f"d{n}", f"title {n}", "some text") for n in range(40)]

    def drawn(pairs):
        qrels = {f"q{n}": {f"d{n}": 1} for n in range(pairs)}
        data = training_set(pages, dict.fromkeys(qrels, "x"), qrels, VOCABULARY, 8, 8)
        return len(draw_pseudo_queries(data, np.random.default_rng(0)))

    monkeypatch.setattr("retrieval.training.examples.batches.FULL_EPOCH", 30)
    assert [drawn(pairs) for pairs in (0, 1, 20, 29, 40)] == [30, 29, 10, 1, 0]


def test_the_batch_of_a_pseudo_query_masks_no_document_and_removes_words_of_its_own():
    data = training_set([PAGE, NOTE], {"q": "cat"}, {"q": {"n": 1, "p": 1}}, VOCABULARY, 8, 20)
    batch = make_batch(data, np.array([0, 3]))
    assert batch.documents.tolist() == [1, 0]
    assert batch.false_negatives.tolist() == [[False, True], [False, False]]
    assert batch.removed_words.tolist() == [[0, 0], data.removed_words[3].tolist()]
    assert data.removed_words[3].tolist() != [0, 0]


def test_remove_words_leaves_the_words_before_and_after():
    texts = ragged([[1, 2, 3, 4], [5], [6, 7, 8]])
    left = remove_words(texts, np.array([[1, 3], [0, 0], [1, 9]]))
    assert [left.take(np.array([row])).values.tolist() for row in range(3)] == [[1, 4], [5], [6]]


PAIRS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=40, unique=True)


@given(PAIRS, st.integers(1, 10), st.integers(0, 3))
def test_planned_batches_hold_every_pair_once_and_no_document_twice(pairs, size, seed):
    data = from_pairs(pairs)
    batches = plan_batches(data, size, np.random.default_rng(seed))
    taken = [int(row) for rows in batches for row in rows]
    assert len(taken) == len(set(taken))
    for rows in batches:
        assert 2 <= len(rows) <= size
        assert len(set(data.pairs[rows, 1].tolist())) == len(rows)
    left = set(range(len(pairs))) - set(taken)
    # What is left out could not have made a batch of two documents, nor one a quarter as large as the first.
    documents_left = len({pairs[row][1] for row in left})
    assert size == 1 or documents_left <= 1 or 4 * documents_left < len(batches[0])


def test_plan_depends_on_the_generator_alone():
    data = from_pairs([(n, n) for n in range(50)])
    first, again, other = (plan_batches(data, 8, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert [rows.tolist() for rows in first] == [rows.tolist() for rows in again]
    assert [rows.tolist() for rows in first] != [rows.tolist() for rows in other]
    assert [len(rows) for rows in first] == [8] * 6 + [2]


def planned_in_one_list(pairs, size, rng):
    """The same plan from a list of all pairs, which is copied for every batch."""
    waiting, batches = rng.permutation(len(pairs)).tolist(), []
    while waiting:
        chosen: dict[int, int] = {}
        for pair in waiting:
            if len(chosen) < size:
                chosen.setdefault(pairs[pair][1], pair)
        if len(chosen) < 2 or (batches and 4 * len(chosen) < len(batches[0])):
            break
        batches.append(list(chosen.values()))
        waiting = [pair for pair in waiting if pair not in batches[-1]]
    return batches


@given(PAIRS, st.integers(2, 6), st.integers(0, 3))
def test_pairs_that_wait_come_first_in_the_next_batch(pairs, size, seed):
    planned = plan_batches(from_pairs(pairs), size, np.random.default_rng(seed))
    expected = planned_in_one_list(pairs, size, np.random.default_rng(seed))
    assert [batch.tolist() for batch in planned] == expected


def test_pairs_of_one_document_are_spread_over_batches():
    data = from_pairs([(n, 0) for n in range(3)] + [(n, n) for n in range(1, 9)])
    batches = plan_batches(data, 4, np.random.default_rng(0))
    assert sum((data.pairs[rows, 1] == 0).sum() for rows in batches) <= len(batches)


def test_a_single_document_plans_nothing_and_is_told():
    data = from_pairs([(0, 0), (1, 0)])
    assert plan_batches(data, 4, np.random.default_rng(0)) == []
    assert "all training pairs have the same document" in (what_hinders_learning(data) or "")
    assert what_hinders_learning(from_pairs([(0, 0), (1, 1)])) is None


def test_batch_masks_a_querys_other_relevant_documents():
    data = from_pairs([(0, 0), (0, 2), (1, 1), (2, 2)])
    batch = make_batch(data, np.array([0, 2, 3]))
    assert batch.queries.tolist() == [0, 1, 2]
    assert batch.documents.tolist() == [0, 1, 2]
    assert batch.false_negatives.tolist() == [
        [False, False, True],
        [False, False, False],
        [False, False, False],
    ]
    assert batch.weights.tolist() == [1, 1, 1]


def test_batch_with_one_query_twice_masks_both_ways():
    batch = make_batch(from_pairs([(0, 0), (0, 1)]), np.array([0, 1]))
    assert batch.false_negatives.tolist() == [[False, True], [True, False]]


def test_batch_carries_the_grades_of_its_pairs():
    data = make({"q1": {"d1": 2}, "q2": {"d2": 3}})
    assert make_batch(data, np.array([1, 0])).weights.tolist() == [3, 2]


def test_given_negatives_stand_behind_the_positives_and_are_masked_where_relevant():
    data = make({"q1": {"d1": 1, "d3": 0}, "q2": {"d2": 1, "d3": 2, "d1": -1}})
    assert lists(data.negatives) == [[2], [0]]
    assert data.pairs.tolist() == [[0, 0], [1, 1], [1, 2]]
    batch = make_batch(data, np.array([0, 1]))
    # d1 is a negative of q2 and already there; d3 is a negative of q1 and relevant to q2.
    assert batch.documents.tolist() == [0, 1, 2]
    assert batch.false_negatives.tolist() == [[False, False, False], [False, False, True]]
    assert batch.removed_words.tolist() == [[0, 0]] * 3
    assert batch.weights.tolist() == [1, 1]


def test_a_given_negative_counts_for_its_own_query_alone():
    data = make({"q1": {"d1": 1, "d3": 0}, "q2": {"d2": 1}})
    batch = make_batch(data, np.array([0, 1]))
    assert batch.documents.tolist() == [0, 1, 2]
    assert batch.false_negatives.tolist() == [[False, False, False], [False, False, True]]


def test_of_many_given_negatives_some_are_drawn_and_in_time_all():
    pages = [Document(f"d{n}", "", "x") for n in range(20)]
    qrels = {"q": {f"d{n}": int(n == 0) for n in range(20)}}
    data = training_set(pages, {"q": "x"}, qrels, VOCABULARY, 4, 4)
    drawn = [make_batch(data, np.array([0]), np.random.default_rng(n)).documents.tolist() for n in range(60)]
    assert {len(documents) for documents in drawn} == {1 + GIVEN_NEGATIVES}
    assert {row for documents in drawn for row in documents} == set(range(20))
    assert make_batch(data, np.array([0])).documents.tolist() == [0, 1, 2, 3, 4]


@given(PAIRS, st.integers(0, 3))
def test_masked_documents_are_those_of_the_judgements(pairs, seed):
    data = from_pairs(pairs)
    for rows in plan_batches(data, 5, np.random.default_rng(seed)):
        batch = make_batch(data, rows)
        for i, query in enumerate(batch.queries.tolist()):
            for j, document in enumerate(batch.documents.tolist()):
                assert batch.false_negatives[i, j] == (i != j and (query, document) in set(pairs))
