"""Which documents show their known queries while re-scoring is fitted."""

from __future__ import annotations

import pytest

from index.documents.store import Document
from retrieval.training.examples.dataset import TrainingData
from retrieval.training.fitting.shown_queries import shown_queries


def data(relevant: int, asked_relevant: int, others: int, asked_others: int) -> TrainingData:
    """Documents of which some are relevant for a dev query each; training asked for some of either."""
    names = [f"r{number}" for number in range(relevant)] + [f"o{number}" for number in range(others)]
    asked = [*names[:relevant][:asked_relevant], *names[relevant:][:asked_others]]
    train = {f"t-{name}": {name: 1} for name in asked}
    dev = {f"d-{name}": {name: 1, "o0": 0} for name in names[:relevant]}
    queries = {query: f"text of {query}" for query in (*train, *dev)}
    return TrainingData([Document(name, "", name) for name in names], queries, train, dev)


@pytest.mark.parametrize(
    ("counts", "share"),
    [
        ((1000, 1000, 1000, 1000), 0.5),  # half, so that re-scoring knows documents without
        ((1000, 600, 1000, 1000), 0.5),
        ((1000, 1000, 1000, 200), 0.2),  # no more often than others
        ((1000, 900, 1000, 300), 0.3),
        ((1000, 250, 1000, 220), 0.22),  # all of few
        ((1000, 150, 1000, 250), 0.15),
    ],
)
def test_relevant_and_other_documents_show_queries_equally_often(
    counts: tuple[int, int, int, int], share: float
):
    shown = shown_queries(data(*counts), 0)
    relevant = sum(document.startswith("r") for document in shown)
    assert relevant / counts[0] == pytest.approx(share, abs=0.05)
    assert (len(shown) - relevant) / counts[2] == pytest.approx(share, abs=0.05)
    assert all(texts == (f"text of t-{document}",) for document, texts in shown.items())


def test_dev_queries_for_documents_that_nobody_asked_for_cannot_tell():
    # As in a data set that is split by subject.
    assert shown_queries(data(1000, 50, 1000, 900), 0) == {}
    assert shown_queries(data(1000, 100, 1000, 250), 0) == {}
    assert shown_queries(data(0, 0, 1000, 1000), 0) == {}


def test_few_documents_with_known_queries_cannot_tell():
    assert shown_queries(data(60, 19, 1000, 300), 0) == {}
    assert shown_queries(data(60, 20, 1000, 300), 0) != {}


def test_in_a_small_data_set_half_of_the_documents_are_enough():
    assert shown_queries(data(8, 4, 8, 8), 0) != {}
    assert shown_queries(data(8, 3, 8, 8), 0) == {}


def test_what_is_shown_depends_on_the_seed_alone():
    dataset = data(100, 90, 100, 90)
    assert shown_queries(dataset, 1) == shown_queries(dataset, 1) != shown_queries(dataset, 2)
