"""A training as one HTML page: what it learned from, how it went, and what it reached.

In: a `Course`. Out: `training.html`, which needs nothing beside itself. Two trainings that took the same
steps give the same page but for the seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import accumulate
from pathlib import Path
from typing import Any

from index.disk.files import storing, write_atomically
from retrieval.html.charts import Bar, Line, bar_chart, key_colour, line_chart
from retrieval.html.page import page, section, table
from retrieval.training.curve import Point

# In a folder of its own, which an index leaves out when it takes a model in.
FOLDER = "report"
PAGE = "training.html"

_NEGATIVES = {
    "positive": "cosine with the right document",
    "hardest": "cosine with the hardest negative of the batch",
    "share": "probability that the hardest negative takes",
}


@dataclass(frozen=True)
class Course:
    """What a report tells. facts: what came out (tower, parameters, seconds). counts: what was learned from.

    settings: the config's and the recipe's values by name. curve: the course by steps. history: an entry an
    epoch, with `epoch` (from 0), `steps` (all so far), `loss` and, if there was a dev split, `dev`.
    best_epoch: from 0, -1 for none. dev: the kept weights' measures on dev.
    """

    facts: Mapping[str, Any]
    counts: Mapping[str, int]
    settings: Mapping[str, Any]
    curve: Sequence[Point]
    history: Sequence[Mapping[str, float]]
    best_epoch: int
    dev: Mapping[str, float]


def write_training_report(model: Path, course: Course) -> Path:
    """Write the page into the folder `report` of a model folder; returns its path.

    Raises StorageError.
    """
    folder = model / FOLDER
    with storing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / PAGE, html(course).encode())
    return folder / PAGE


def html(course: Course) -> str:
    """The page as text."""
    sections = [
        _values(course.facts),
        section("Reached on dev", _reached(course)) if course.dev else "",
        section(
            "Loss, by step", line_chart([_by_step(course, 0, "loss")], "Loss by step", _best_step(course))
        ),
        section("Dev nDCG@10, by epoch", _dev_chart(course)) if _dev_points(course) else "",
        section("How hard the negatives were, by step", _negatives_chart(course)),
        section("Learning rate, by step", line_chart([_by_step(course, 3, "rate")], "Learning rate by step")),
        section("Epochs", _epochs(course)),
        section("Learned from", _values(course.counts)),
        section("Settings", _values(course.settings)),
    ]
    return page("Training report", sections)


def _values(values: Mapping[str, Any]) -> str:
    items = "".join(
        f"<div><dt>{escape(name.replace('_', ' '))}</dt><dd>{escape(_shown(value))}</dd></div>"
        for name, value in values.items()
    )
    return f"<dl>{items}</dl>"


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return (
        f"{value:,}" if isinstance(value, int) else f"{value:g}" if isinstance(value, float) else str(value)
    )


def _reached(course: Course) -> str:
    rows = [[f"{value:.4f}" for value in course.dev.values()]]
    bars = [(name, [Bar(0, name, value)]) for name, value in course.dev.items() if value <= 1]
    return table(map(escape, course.dev), rows) + bar_chart(bars, "Measures on dev")


def _steps(course: Course) -> list[int]:
    """The step at which each point of the curve ends."""
    return list(accumulate(point.steps for point in course.curve))


def _by_step(course: Course, series: int, name: str) -> Line:
    values = [getattr(point, name) for point in course.curve]
    return Line(series, name, list(zip(_steps(course), values, strict=True)))


def _best_step(course: Course) -> tuple[float, str] | None:
    if not 0 <= course.best_epoch < len(course.history):
        return None
    return course.history[course.best_epoch]["steps"], f"best epoch: {course.best_epoch + 1}"


def _dev_points(course: Course) -> list[tuple[float, float]]:
    return [(entry["epoch"] + 1, entry["dev"]) for entry in course.history if "dev" in entry]


def _dev_chart(course: Course) -> str:
    best = (course.best_epoch + 1, f"best epoch: {course.best_epoch + 1}") if course.best_epoch >= 0 else None
    return line_chart([Line(2, "dev nDCG@10", _dev_points(course), dots=True)], "Dev by epoch", best)


def _negatives_chart(course: Course) -> str:
    lines = [_by_step(course, series, name) for series, name in enumerate(_NEGATIVES)]
    keys = "".join(
        f'<p class="note"><span class="key"><svg viewBox="0 0 10 10"><rect {key_colour(series)} width="10" '
        f'height="10"/></svg></span>{words}</p>'
        for series, words in enumerate(_NEGATIVES.values())
    )
    return keys + line_chart(lines, "Cosines and probability by step")


def _epochs(course: Course) -> str:
    rows = []
    for entry in course.history:
        cells = [f"{entry['epoch'] + 1:.0f}", f"{entry['steps']:,.0f}", f"{entry['loss']:.4f}"]
        cells.append(f"{entry['dev']:.4f}" if "dev" in entry else "")
        best = entry["epoch"] == course.best_epoch
        rows.append([f"<b>{cell}</b>" for cell in cells] if best else cells)
    return table(["Epoch", "Steps", "Loss", "Dev nDCG@10"], rows)
