"""The learning curve of a training, step by step, in bounded memory.

In: one `Point` for each step. Out: at most `MAX_POINTS` points, each the mean over consecutive steps. Plain
numbers, which a checkpoint holds as JSON. Knows nothing of models.
"""

from __future__ import annotations

from typing import NamedTuple

MAX_POINTS = 400


class Point(NamedTuple):
    """Means over `steps` consecutive steps."""

    steps: int
    loss: float
    rate: float  # learning rate
    positive: float  # cosine of a query with its positive
    hardest: float  # cosine of a query with its hardest in-batch negative
    share: float  # softmax probability of the hardest negative


def add_point(curve: list[Point], point: Point) -> None:
    """Append a step to the curve, in place. If there are too many points, merge every two into one."""
    if curve and curve[-1].steps < curve[0].steps:
        curve[-1] = _merged(curve[-1], point)
        return
    curve.append(point)
    if len(curve) > MAX_POINTS:
        pairs = zip(curve[:-1:2], curve[1::2], strict=True)
        rest = curve[len(curve) // 2 * 2 :]
        curve[:] = [_merged(first, second) for first, second in pairs] + rest


def _merged(first: Point, second: Point) -> Point:
    steps = first.steps + second.steps
    means = [(a * first.steps + b * second.steps) / steps for a, b in zip(first[1:], second[1:], strict=True)]
    return Point(steps, *means)
