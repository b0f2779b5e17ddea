"""The geometry of small charts, which `draw` of templates/charts.svg.j2 turns into SVG.

In: numbers and labels. Out: a `Chart`, in units of its view box. Knows nothing of markup. Series are numbered
from 0; the style sheet gives each a colour.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_WIDTH = 720
# The plot area, between the labels on the left and the values on the right.
_LEFT, _RIGHT = 150, 660
_BAR, _GAP, _SPACE = 12, 12, 3  # height of a bar, and what is left free below a group and below a bar


class Bar(NamedTuple):
    """A value from 0 to 1 and, where both ends are known, the interval around it."""

    series: int
    name: str
    value: float
    low: float | None = None
    high: float | None = None


class Line(NamedTuple):
    """Points (x, y) joined in order; x is a whole number."""

    series: int
    name: str
    points: Sequence[tuple[float, float]]
    dots: bool = False  # whether to mark each point; a single point is always marked


class Mark(NamedTuple):
    """A text at a place, and the straight line that it belongs to."""

    x: float
    y: float
    text: str
    anchor: str = "start"  # which end of the text is at x, as SVG's text-anchor has it
    path: str = ""  # SVG path of the line; empty for none


class BarShape(NamedTuple):
    """A bar in its place; its mark is the value, with the interval as its line."""

    bar: Bar
    x: float
    y: float
    width: float
    height: float
    mark: Mark


class Curve(NamedTuple):
    """A line in its place: its SVG path, and the x, y and value of each point that is marked."""

    line: Line
    path: str
    dots: Sequence[tuple[float, float, float]]


@dataclass(frozen=True)
class Chart:
    """Everything that is drawn, in the order in which it is drawn."""

    title: str
    height: float
    grid: Sequence[Mark]
    groups: Sequence[tuple[Mark, Sequence[BarShape]]] = ()
    areas: Mapping[str, str] = field(default_factory=dict)  # "win" and "lose" to an SVG path
    marked: Mark | None = None
    curves: Sequence[Curve] = ()
    width: float = _WIDTH


def bar_chart(groups: Sequence[tuple[str, Sequence[Bar]]], title: str) -> Chart:
    """Horizontal bars in labelled groups, on an axis from 0 to 1."""
    shapes = []
    pitch = _BAR + _SPACE
    top = 8.0
    for name, bars in groups:
        label = Mark(_LEFT - 10, top + len(bars) * pitch / 2 + 4, name, "end")
        shapes.append((label, [_bar_shape(bar, top + row * pitch) for row, bar in enumerate(bars)]))
        top += len(bars) * pitch + _GAP
    grid = [
        Mark(_x(value), top + 14, f"{value:g}", "middle", f"M{_x(value):.1f} 2V{top:.1f}")
        for value in (0, 0.25, 0.5, 0.75, 1)
    ]
    return Chart(title, top + 22, grid, groups=shapes)


def _bar_shape(bar: Bar, top: float) -> BarShape:
    end = right = _x(bar.value)
    whisker = ""
    if bar.low is not None and bar.high is not None:
        right = max(end, _x(bar.high))
        whisker = f"M{_x(bar.low):.1f} {top + _BAR / 2:.1f}H{_x(bar.high):.1f}"
    mark = Mark(right + 5, top + _BAR - 2, f"{bar.value:.3f}", path=whisker)
    return BarShape(bar, _LEFT, top, max(0.5, end - _LEFT), _BAR, mark)


def _x(value: float) -> float:
    return _LEFT + min(1.0, max(0.0, value)) * (_RIGHT - _LEFT)


def difference_chart(differences: NDArray[np.float64], title: str) -> Chart:
    """Differences query by query, from the largest win to the largest loss.

    differences: float64 (n,), from -1 to 1.
    """
    height, inner = 180, _RIGHT - _LEFT
    ordered = np.sort(differences)[::-1]
    # A point a pixel is as much as can be seen.
    picked = ordered[np.linspace(0, len(ordered) - 1, min(len(ordered), inner)).astype(int)]
    step = inner / len(picked)
    middle = height / 2

    def y(value: float) -> float:
        return middle - value * (middle - 8)

    def area(values: NDArray[np.float64]) -> str:
        steps = [f"V{y(value):.1f}H{_LEFT + (n + 1) * step:.1f}" for n, value in enumerate(values)]
        return f"M{_LEFT} {middle}{''.join(steps)}V{middle}Z"

    grid = [_horizontal(y(value), f"{value:+g}" if value else "0") for value in (1.0, 0.5, 0.0, -0.5, -1.0)]
    return Chart(title, height, grid, areas={"win": area(picked.clip(0)), "lose": area(picked.clip(None, 0))})


def _horizontal(y: float, text: str) -> Mark:
    return Mark(_LEFT - 10, y + 4, text, "end", f"M{_LEFT} {y:.1f}H{_RIGHT}")


def line_chart(lines: Sequence[Line], title: str, marked: tuple[float, str] | None = None) -> Chart | None:
    """Lines on axes as wide as their points; None if no line has a point.

    lines: those without points are left out.
    title: what a reader hears who does not see the chart.
    marked: a place on the x axis, and what it is called.
    """
    drawn = [line for line in lines if line.points]
    if not drawn:
        return None
    height, bottom = 200, 176
    xs, ys = zip(*(point for line in drawn for point in line.points), strict=True)
    scale_x = _scale(min(xs), max(xs), _LEFT, _RIGHT)
    scale_y = _scale(min(ys), max(ys), bottom, 10)
    grid = [_horizontal(scale_y(value), f"{value:g}") for value in ticks(min(ys), max(ys))]
    grid += [
        Mark(scale_x(value), bottom + 18, f"{value:,g}", "middle")
        for value in ticks(min(xs), max(xs))
        if value.is_integer()
    ]
    mark = None if marked is None else _vertical(scale_x(marked[0]), bottom, marked[1])
    return Chart(title, height, grid, marked=mark, curves=[_curve(line, scale_x, scale_y) for line in drawn])


def _vertical(x: float, bottom: float, text: str) -> Mark:
    """A line from top to bottom, its text on the side that has more room."""
    path = f"M{x:.1f} 10V{bottom}"
    if x > _WIDTH / 2:
        return Mark(x - 5, bottom - 6, text, "end", path)
    return Mark(x + 5, bottom - 6, text, "start", path)


def _curve(line: Line, scale_x: Callable[[float], float], scale_y: Callable[[float], float]) -> Curve:
    dots = [(scale_x(x), scale_y(y), y) for x, y in line.points]
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y, _ in dots)
    return Curve(line, path, dots if line.dots or len(dots) == 1 else ())


def _scale(low: float, high: float, start: float, stop: float) -> Callable[[float], float]:
    """Values to places; a single value lies in the middle."""
    if high <= low:
        return lambda value: (start + stop) / 2
    return lambda value: start + (value - low) / (high - low) * (stop - start)


def ticks(low: float, high: float) -> list[float]:
    """About four round values from `low` to `high`, one at least.

    >>> ticks(0, 33), ticks(0.35, 0.534)
    ([0.0, 10.0, 20.0, 30.0], [0.35, 0.4, 0.45, 0.5])
    """
    if high <= low:
        return [float(low)]
    widest = (high - low) / 3
    power = 10.0 ** math.floor(math.log10(widest))
    # log10 rounds: the power may be a hair above the width that it was taken from.
    step = power * max(times for times in (1, 2, 5) if times * power <= widest * (1 + 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    # Through a string, or 3 * 0.1 would show its rounding.
    return [float(f"{number * step:.10g}") for number in range(first, last + 1)]
