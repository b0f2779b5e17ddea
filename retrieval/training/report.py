"""The report of a training: one HTML page with its data, settings, learning curves and dev measures.

In: a `TrainingReport`. Out: `training.html`, which needs no other file. Two trainings of the same steps give
the same page except for the seconds. Knows nothing of torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

from index.disk.files import storing, write_atomically
from index.disk.opening import make_folder
from retrieval.html.charts import Bar, Chart, Line, bar_chart, line_chart
from retrieval.html.page import page_template
from retrieval.training.curve import Point

# A folder of its own, because an index copies the files of a model folder but not its folders.
FOLDER = "report"
PAGE = "training.html"

_TEMPLATE = Path(__file__).parent / "templates" / "report.html.j2"

_NEGATIVES = {
    "positive": "cosine with the right document",
    "hardest": "cosine with the hardest negative of the batch",
    "share": "probability that the hardest negative takes",
}


@dataclass(frozen=True)
class TrainingReport:
    """The content of a report."""

    facts: Mapping[str, Any]  # the outcome: tower, parameters, seconds, the epoch whose weights it has
    counts: Mapping[str, int]  # the size of the data: documents, pairs, features
    settings: Mapping[str, Any]  # the values of config and recipe by name
    curve: Sequence[Point]  # means over consecutive steps
    history: Sequence[Mapping[str, float]]  # for each epoch: epoch (from 0), steps so far, loss, dev if any
    best_epoch: int  # from 0; -1 for none
    dev: Mapping[str, float]  # measures on dev


def write_training_report(model: Path, report: TrainingReport) -> Path:
    """Write the page into the folder `report` of a model folder and return its path. Raises StorageError."""
    folder = model / FOLDER
    with storing(folder):
        make_folder(folder)
    write_atomically(folder / PAGE, html(report).encode())
    return folder / PAGE


def html(report: TrainingReport) -> str:
    """The page as text, complete HTML."""
    bars = [(name, [Bar(0, name, value)]) for name, value in report.dev.items() if value <= 1]
    negatives = [_by_step(report, series, *entry) for series, entry in enumerate(_NEGATIVES.items())]
    return page_template(_TEMPLATE).render(
        title="Training report",
        report=report,
        came_out=_shown_values(report.facts),
        counts=_shown_values(report.counts),
        settings=_shown_values(report.settings),
        reached=bar_chart(bars, "Measures on dev"),
        loss=line_chart([_by_step(report, 0, "loss", "loss")], "Loss by step", _best_step(report)),
        dev=_dev_chart(report),
        negatives=negatives,
        negatives_chart=line_chart(negatives, "Cosines and probability by step"),
        rate=line_chart([_by_step(report, 3, "rate", "rate")], "Learning rate by step"),
    )


def _shown_values(values: Mapping[str, Any]) -> dict[str, str]:
    return {name.replace("_", " "): _shown(value) for name, value in values.items()}


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _by_step(report: TrainingReport, series: int, field: str, name: str) -> Line:
    """A field of the curve's points, each at the step at which it ends."""
    steps = accumulate(point.steps for point in report.curve)
    values = [getattr(point, field) for point in report.curve]
    return Line(series, name, list(zip(steps, values, strict=True)))


def _best_step(report: TrainingReport) -> tuple[float, str] | None:
    if not 0 <= report.best_epoch < len(report.history):
        return None
    return report.history[report.best_epoch]["steps"], f"weights of epoch {report.best_epoch + 1}"


def _dev_chart(report: TrainingReport) -> Chart | None:
    points = [(entry["epoch"] + 1, entry["dev"]) for entry in report.history if "dev" in entry]
    best = (
        (report.best_epoch + 1, f"weights of epoch {report.best_epoch + 1}")
        if report.best_epoch >= 0
        else None
    )
    return line_chart([Line(2, "dev nDCG@10", points, dots=True)], "Dev by epoch", best)
