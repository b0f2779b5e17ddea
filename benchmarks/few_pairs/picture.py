"""The picture of the curves: nDCG@10 on test over the number of training pairs, one panel a data set."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from pathlib import Path
from typing import Any

from benchmarks.common import ROOT
from benchmarks.panels import panels

PICTURE = ROOT / "docs" / "images" / "few-pairs.svg"
_COLOURS = {"final": "#1f5fbf", "dense": "#c2571a"}


def draw(sets: Mapping[str, Any], path: Path = PICTURE) -> None:
    """Draw the mean over the draws, each draw as a dot, and BM25 as a line."""
    with panels(list(sets), path, "training pairs") as axes:
        for axis, measured in zip(axes, sets.values(), strict=True):
            rows = sorted(measured["rows"], key=lambda row: inf if row["pairs"] == "all" else row["pairs"])
            places = range(len(rows))
            for ranking, colour in _COLOURS.items():
                axis.plot(places, [row[ranking] for row in rows], color=colour, label=ranking)
                for place, row in enumerate(rows):
                    values = [each[ranking] for each in row["draws"]]
                    axis.plot([place] * len(values), values, "o", color=colour, markersize=4)
            axis.axhline(rows[0]["BM25"], color="grey", linestyle=":", linewidth=1, label="BM25")
            axis.set_xticks(places, [f"{row['pairs']:,}" if row["pairs"] != "all" else "all" for row in rows])
