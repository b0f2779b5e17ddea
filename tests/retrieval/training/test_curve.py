"""The learning curve of a training: what a step records, and that memory is bounded without losing a mean."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from retrieval.training.curve import MAX_POINTS, Point, add_point
from retrieval.training.loss import HardNegativeStatistics, hard_negative_statistics


def step(loss):
    return Point(1, loss, 0.0, 0.0, 0.0, 0.0)


@pytest.mark.parametrize("steps", [1, MAX_POINTS, MAX_POINTS + 1, 3 * MAX_POINTS + 7, 20 * MAX_POINTS + 1])
def test_the_curve_stays_short_and_keeps_the_mean_of_all_steps(steps):
    losses = np.random.default_rng(steps).random(steps)
    curve = []
    for loss in losses:
        add_point(curve, step(loss))
        assert len(curve) <= MAX_POINTS
    assert sum(point.steps for point in curve) == steps
    mean = sum(point.steps * point.loss for point in curve) / steps
    assert mean == pytest.approx(losses.mean())


def test_points_are_means_of_consecutive_steps():
    curve = []
    for number in range(MAX_POINTS + 3):
        add_point(curve, step(float(number)))
    assert curve[0] == step(0.5)._replace(steps=2)
    assert [point.steps for point in curve[-2:]] == [2, 1]
    assert curve[-1].loss == MAX_POINTS + 2


def test_every_value_is_averaged():
    curve = [Point(2, 1.0, 2.0, 3.0, 4.0, 5.0), Point(1, 10.0, 20.0, 30.0, 40.0, 50.0)]
    add_point(curve, Point(1, 20.0, 40.0, 60.0, 80.0, 100.0))
    assert curve[1:] == [Point(2, 15.0, 30.0, 45.0, 60.0, 75.0)]


def unit(*angles):
    return torch.tensor([[np.cos(np.radians(a)), np.sin(np.radians(a))] for a in angles])


def test_hard_negative_statistics_worked_by_hand():
    # Cosines: query 0 with documents 1, .5, 0; query 1 with documents .5, 1, cos 30.
    queries, documents = unit(0, 60), unit(0, 60, 90)
    nothing = torch.zeros(2, 3, dtype=torch.bool)
    near = np.cos(np.radians(30))
    weights = np.exp(2 * np.array([[1, 0.5, 0], [0.5, 1, near]]))
    shares = weights / weights.sum(1, keepdims=True)
    assert hard_negative_statistics(queries, documents, 2.0, nothing) == pytest.approx(
        (1, (0.5 + near) / 2, (shares[0, 1] + shares[1, 2]) / 2)
    )


def test_relevant_documents_are_no_negatives():
    queries, documents = unit(0, 60), unit(0, 60, 90)
    false_negatives = torch.tensor([[False, True, True], [False, False, True]])
    found = hard_negative_statistics(queries, documents, 2.0, false_negatives)
    # Query 0 has no negative left; query 1 has document 0.
    assert found.hardest == pytest.approx(0.5)
    assert found.share == pytest.approx(np.exp(1) / (np.exp(1) + np.exp(2)))


def test_without_negatives_their_statistics_are_zero():
    only = unit(30)
    assert hard_negative_statistics(only, only, 20.0, torch.zeros(1, 1, dtype=torch.bool)) == pytest.approx(
        (1, 0, 0)
    )
    assert isinstance(
        hard_negative_statistics(only, only, 20.0, torch.zeros(1, 1, dtype=torch.bool)),
        HardNegativeStatistics,
    )
