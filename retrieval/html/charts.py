"""Small charts as SVG text that an HTML page carries inline.

In: numbers and labels, not yet escaped. Out: one `<svg>` element. It takes its colours from the page, by the
classes `s0` to `s5` for series, `l0` to `l5` for their lines, and `axis`, `whisker`, `win` and `lose`, so
that one chart serves light, dark and paper.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_WIDTH = 720
_LEFT, _RIGHT = 150, 60
_BAR, _GAP = 15, 12
SERIES = 6

# What a reader sees that knows no style sheets, such as a picture viewer; a page overrides them by class.
_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")
_AXIS = 'class="axis" fill="none" stroke="#ccc"'


class Bar(NamedTuple):
    """A value from 0 to 1 with the interval around it; series says which colour."""

    series: int
    name: str
    value: float
    low: float | None = None
    high: float | None = None


def bar_chart(groups: Sequence[tuple[str, Sequence[Bar]]], title: str) -> str:
    """Horizontal bars under a label a group, on an axis from 0 to 1."""
    parts = []
    top = 8.0
    for label, bars in groups:
        middle = top + len(bars) * _BAR / 2 + 4
        parts.append(f'<text x="{_LEFT - 10}" y="{middle:.1f}" text-anchor="end">{escape(label)}</text>')
        for bar in bars:
            parts.append(_bar(bar, top))
            top += _BAR
        top += _GAP
    axis = "".join(_tick(share / 4, top) for share in range(5))
    return _svg(axis + "".join(parts), top + 22, title)


def key_colour(series: int) -> str:
    """Attributes that give an SVG shape the colour of a series."""
    return f'class="s{series % SERIES}" fill="{_COLOURS[series % SERIES]}"'


def _bar(bar: Bar, top: float) -> str:
    end = _x(bar.value)
    shown = end
    whisker = ""
    if bar.low is not None and bar.high is not None:
        middle = top + (_BAR - 3) / 2
        shown = max(end, _x(bar.high))
        whisker = (
            f'<path class="whisker" stroke="#000" d="M{_x(bar.low):.1f} {middle:.1f}H{_x(bar.high):.1f}"/>'
        )
    return (
        f'<rect {key_colour(bar.series)} x="{_LEFT}" y="{top:.1f}" width="{max(0.5, end - _LEFT):.1f}" '
        f'height="{_BAR - 3}"><title>{escape(bar.name)}: {bar.value:.4f}</title></rect>{whisker}'
        f'<text class="value" x="{shown + 5:.1f}" y="{top + _BAR - 5:.1f}">{bar.value:.3f}</text>'
    )


def _x(value: float) -> float:
    return _LEFT + min(1.0, max(0.0, value)) * (_WIDTH - _LEFT - _RIGHT)


def _tick(value: float, bottom: float) -> str:
    x = _x(value)
    return (
        f'<path {_AXIS} d="M{x:.1f} 2V{bottom:.1f}"/>'
        f'<text class="value" x="{x:.1f}" y="{bottom + 14:.1f}" text-anchor="middle">{value:g}</text>'
    )


def difference_chart(differences: NDArray[np.float64], title: str) -> str:
    """Differences query by query, float64 (n,) from -1 to 1, from the largest win to the largest loss."""
    height, inner = 180, _WIDTH - _LEFT - _RIGHT
    ordered = np.sort(differences)[::-1]
    # A point a pixel is as much as can be seen.
    picked = ordered[np.linspace(0, len(ordered) - 1, min(len(ordered), inner)).astype(int)]
    step = inner / len(picked)

    def area(values: NDArray[np.float64], name: str, colour: str) -> str:
        middle = height / 2
        points = [f"M{_LEFT} {middle}"]
        for place, value in enumerate(values):
            points.append(f"V{middle - value * (middle - 8):.1f}H{_LEFT + (place + 1) * step:.1f}")
        return f'<path class="{name}" fill="{colour}" d="{"".join(points)}V{middle}Z"/>'

    def label(value: float) -> str:
        y = height / 2 - value * (height / 2 - 8)
        shown = f"{value:+g}" if value else "0"
        return (
            f'<path {_AXIS} d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}"/>'
            f'<text class="value" x="{_LEFT - 10}" y="{y + 4:.1f}" text-anchor="end">{shown}</text>'
        )

    axes = "".join(label(value) for value in (1.0, 0.5, 0.0, -0.5, -1.0))
    return _svg(
        axes + area(picked.clip(0), "win", _COLOURS[2]) + area(picked.clip(None, 0), "lose", _COLOURS[5]),
        height,
        title,
    )


def _svg(content: str, height: float, title: str) -> str:
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height:.0f}" role="img" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>{content}</svg>"
    )


class Line(NamedTuple):
    """Points joined in order, each a whole number and a value. series: which colour. dots: mark each."""

    series: int
    name: str
    points: Sequence[tuple[float, float]]
    dots: bool = False


def line_chart(lines: Sequence[Line], title: str, marked: tuple[float, str] | None = None) -> str:
    """Lines on axes as wide as their points. marked: a place on the x axis and what it is called."""
    shown = [line for line in lines if line.points]
    if not shown:
        return ""
    height, bottom = 200, 176
    xs, ys = zip(*(point for line in shown for point in line.points), strict=True)
    scale_x = _scale(min(xs), max(xs), _LEFT, _WIDTH - _RIGHT)
    scale_y = _scale(min(ys), max(ys), bottom, 10)
    parts = [
        f'<path {_AXIS} d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}"/>'
        f'<text class="value" x="{_LEFT - 10}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>'
        for value, y in ((value, scale_y(value)) for value in ticks(min(ys), max(ys)))
    ]
    parts += [
        f'<text class="value" x="{scale_x(value):.1f}" y="{bottom + 18}" text-anchor="middle">'
        f"{value:,g}</text>"
        for value in ticks(min(xs), max(xs))
        if value.is_integer()
    ]
    if marked is not None:
        x = scale_x(marked[0])
        left = x > _WIDTH / 2
        parts.append(
            f'<path class="whisker" stroke="#000" stroke-dasharray="3 3" d="M{x:.1f} 10V{bottom}"/>'
            f'<text class="value" x="{x + (-5 if left else 5):.1f}" y="{bottom - 6}" '
            f'text-anchor="{"end" if left else "start"}">{escape(marked[1])}</text>'
        )
    parts += [_line(line, scale_x, scale_y) for line in shown]
    return _svg("".join(parts), height, title)


def _line(line: Line, scale_x: Callable[[float], float], scale_y: Callable[[float], float]) -> str:
    number = line.series % SERIES
    places = [(scale_x(x), scale_y(y)) for x, y in line.points]
    path = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
    dots = "".join(
        f'<circle {key_colour(number)} cx="{x:.1f}" cy="{y:.1f}" r="3.5">'
        f"<title>{escape(line.name)}: {value:.4g}</title></circle>"
        for (x, y), (_, value) in zip(places, line.points, strict=True)
        if line.dots or len(places) == 1
    )
    return (
        f'<path class="l{number}" fill="none" stroke="{_COLOURS[number]}" stroke-width="1.6" '
        f'd="M{path}"><title>{escape(line.name)}</title></path>{dots}'
    )


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
