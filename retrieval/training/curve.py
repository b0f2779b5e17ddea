"""The course of a training, step by step, in bounded memory.

In: one `Point` a step. Out: at most `MOST` points, each the mean over a run of consecutive steps. Plain
numbers: a checkpoint holds them as JSON.
"""

from __future__ import annotations

from typing import NamedTuple

MOST = 400


class Point(NamedTuple):
    """Means over `steps` consecutive steps.

    rate: the optimiser's. positive, hardest: cosine of a query with its document, and with the nearest other
    document of the batch that is not relevant. share: the probability that the softmax gives to that one.
    """

    steps: int
    loss: float
    rate: float
    positive: float
    hardest: float
    share: float


def add(curve: list[Point], point: Point) -> None:
    """Append a step to the curve, in place; where there are too many points, every two become one."""
    if curve and curve[-1].steps < curve[0].steps:
        curve[-1] = _merged(curve[-1], point)
        return
    curve.append(point)
    if len(curve) > MOST:
        pairs = zip(curve[:-1:2], curve[1::2], strict=True)
        rest = curve[len(curve) // 2 * 2 :]
        curve[:] = [_merged(first, second) for first, second in pairs] + rest


def _merged(first: Point, second: Point) -> Point:
    steps = first.steps + second.steps
    means = [(a * first.steps + b * second.steps) / steps for a, b in zip(first[1:], second[1:], strict=True)]
    return Point(steps, *means)
