"""Where clicks stand among what was shown, worked by hand, and what is refused before training."""

from __future__ import annotations

import numpy as np
import pytest
from clicked_world import World, at_random, people, the_last

from index.reader import Index
from retrieval.data.clicks.log import Sighting, click_log
from retrieval.learning.doubts import doubts, mean_places
from retrieval.learning.pairs import LearningData, read_learning_data


def learning_of(world: World, log) -> LearningData:
    with Index.open(world.index) as index:
        return read_learning_data(log, list(index.live_documents()), None, 3)


def test_mean_places_of_queries_worked_by_hand():
    log = click_log(
        [
            Sighting("a", "x", 1, 3, 4),
            Sighting("a", "y", 2, 1, 4),
            Sighting("b", "x", 1, 0, 1),
            Sighting("b", "y", 3, 1, 1),
            Sighting("never clicked", "x", 1, 0, 9),
            Sighting("never clicked", "y", 2, 0, 9),
            Sighting("one result", "x", 1, 1, 1),
        ]
    )
    places = mean_places(log)
    np.testing.assert_allclose(places.shown_rank, [1.5, 2.0])
    np.testing.assert_allclose(places.clicked_rank, [1.25, 3.0])
    np.testing.assert_allclose(places.shown_first, [0.5, 0.5])
    np.testing.assert_allclose(places.clicked_first, [0.75, 0.0])


def the_second(ranks: np.ndarray, relevant: np.ndarray) -> np.ndarray:
    return (ranks == 2) * 0.9


def test_clicks_of_people_raise_no_doubts(world: World, tmp_path):
    assert doubts(learning_of(world, world.record(tmp_path / "log.jsonl", people))) == ""


@pytest.mark.parametrize(
    ("behaviour", "rank"),
    [
        (the_last, "clicked at rank 8.00"),
        (the_second, "of what was clicked 0%"),
        (at_random, "clicked at rank 4"),
    ],
)
def test_clicks_that_do_not_fall_with_the_rank_are_doubted(world: World, tmp_path, behaviour, rank: str):
    learning = learning_of(world, world.record(tmp_path / "log.jsonl", behaviour))
    object.__setattr__(learning.counts, "held_out_queries", 100)  # few pairs are another reason
    object.__setattr__(learning.training, "train", {"q": {"d0": 1}})
    reason = doubts(learning)
    assert reason.startswith("the clicks do not look like those of people who read from above: ")
    assert rank in reason


def test_few_clicks_are_too_few(world: World, tmp_path):
    few = World(world.index, world.corpus, dict(list(world.relevant.items())[:60]))
    reason = doubts(learning_of(world, few.record(tmp_path / "log.jsonl", people)))
    assert reason.startswith("too few clicks: ")
    assert reason.endswith("20 are needed to compare two models")


def test_a_log_without_ranks_needs_a_data_set(world: World, tmp_path):
    log = tmp_path / "clicks.csv"
    rows = [f"{query},{document},5\n" for query, document in world.relevant.items()]
    log.write_text(
        "query,doc_id,clicks\n" + "".join(rows + [f"{q},d{n},1\n" for n, q in enumerate(["x", "y"])])
    )
    learning = learning_of(world, log)
    object.__setattr__(learning.counts, "held_out_queries", 100)
    object.__setattr__(learning.training, "train", {"q": {"d0": 1}})
    assert "give --data" in doubts(learning)
