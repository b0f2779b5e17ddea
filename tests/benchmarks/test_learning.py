"""The simulated people of benchmarks.learning: what they click, worked by hand, and what is written down."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.learning import people
from retrieval.data.clicks.recorded import read_recorded
from retrieval.data.clicks.summary import summary_of
from retrieval.data.dataset import Dataset
from retrieval.search.retriever import Retriever

RANKS = np.array([1, 2, 4])
RELEVANT = np.array([False, True, False])


def test_chances_of_a_click():
    np.testing.assert_allclose(people.people(RANKS, RELEVANT), [0.1, 0.45, 0.025])
    np.testing.assert_allclose(people.at_random(RANKS, RELEVANT), [0.2, 0.2, 0.2])
    np.testing.assert_allclose(people.at_random_from_above(RANKS, RELEVANT), [0.5, 0.25, 0.125])
    np.testing.assert_allclose(people.the_second(np.arange(1, 4), RELEVANT), [0, 1, 0])
    np.testing.assert_allclose(people.the_last(np.arange(1, 4), RELEVANT), [0, 0, 1])


def test_what_is_recorded_can_be_read(made, tmp_path):
    dataset, log = Dataset(made.data), tmp_path / "clicks.jsonl"
    asked = people.some_queries(dataset, "train", 1, 2)
    assert list(asked) == ["q1", "q3", "q5", "q7"]
    with Retriever.open(made.index) as retriever:
        searches, clicks = people.record(log, retriever, dataset, asked, people.Visits(people.the_last, 5))
    read = read_recorded(log)
    assert (summary_of(log).searches, read.log.clicks.sum()) == (searches, clicks)
    assert searches == clicks > 0
    assert set(read.log.queries) <= {dataset.queries[query] for query in asked}
    assert read.log.impressions.sum() == pytest.approx(read.rows)
