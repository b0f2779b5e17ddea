"""The course of a training: what a step records, and that memory is bounded without losing a mean."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from retrieval.training.curve import MOST, Point, add
from retrieval.training.loss import Hardness, hardness


def step(loss):
    return Point(1, loss, 0.0, 0.0, 0.0, 0.0)


@pytest.mark.parametrize("steps", [1, MOST, MOST + 1, 3 * MOST + 7, 20 * MOST + 1])
def test_the_curve_stays_short_and_keeps_the_mean_of_all_steps(steps):
    losses = np.random.default_rng(steps).random(steps)
    curve = []
    for loss in losses:
        add(curve, step(loss))
        assert len(curve) <= MOST
    assert sum(point.steps for point in curve) == steps
    mean = sum(point.steps * point.loss for point in curve) / steps
    assert mean == pytest.approx(losses.mean())


def test_points_are_means_of_consecutive_steps():
    curve = []
    for number in range(MOST + 3):
        add(curve, step(float(number)))
    assert curve[0] == step(0.5)._replace(steps=2)
    assert [point.steps for point in curve[-2:]] == [2, 1]
    assert curve[-1].loss == MOST + 2


def test_every_value_is_averaged():
    curve = [Point(2, 1.0, 2.0, 3.0, 4.0, 5.0), Point(1, 10.0, 20.0, 30.0, 40.0, 50.0)]
    add(curve, Point(1, 20.0, 40.0, 60.0, 80.0, 100.0))
    assert curve[1:] == [Point(2, 15.0, 30.0, 45.0, 60.0, 75.0)]


def unit(*angles):
    return torch.tensor([[np.cos(np.radians(a)), np.sin(np.radians(a))] for a in angles])


def test_hardness_worked_by_hand():
    # Cosines: query 0 with documents 1, .5, 0; query 1 with documents .5, 1, cos 30.
    queries, documents = unit(0, 60), unit(0, 60, 90)
    nothing = torch.zeros(2, 3, dtype=torch.bool)
    near = np.cos(np.radians(30))
    weights = np.exp(2 * np.array([[1, 0.5, 0], [0.5, 1, near]]))
    shares = weights / weights.sum(1, keepdims=True)
    assert hardness(queries, documents, 2.0, nothing) == pytest.approx(
        (1, (0.5 + near) / 2, (shares[0, 1] + shares[1, 2]) / 2)
    )


def test_relevant_documents_are_no_negatives():
    queries, documents = unit(0, 60), unit(0, 60, 90)
    known = torch.tensor([[False, True, True], [False, False, True]])
    found = hardness(queries, documents, 2.0, known)
    # Query 0 has no negative left; query 1 has document 0.
    assert found.hardest == pytest.approx(0.5)
    assert found.share == pytest.approx(np.exp(1) / (np.exp(1) + np.exp(2)))


def test_without_negatives_hardness_is_nothing():
    only = unit(30)
    assert hardness(only, only, 20.0, torch.zeros(1, 1, dtype=torch.bool)) == pytest.approx((1, 0, 0))
    assert isinstance(hardness(only, only, 20.0, torch.zeros(1, 1, dtype=torch.bool)), Hardness)
