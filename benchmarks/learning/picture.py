"""The picture of the rounds: nDCG@10 on test after every round of use, between no pairs and all pairs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.common import ROOT
from benchmarks.panels import panels

PICTURE = ROOT / "docs" / "images" / "learning.svg"
_COLOURS = {"hybrid": "#1f5fbf", "dense": "#c2571a"}


def draw(result: Mapping[str, Any], path: Path = PICTURE) -> None:
    """Draw the rounds of every data set in a result, side by side. A full dot is a round that published."""
    parts = {
        name.removeprefix("rounds "): part for name, part in result.items() if name.startswith("rounds ")
    }
    with panels(list(parts), path, "rounds of use") as axes:
        for axis, part in zip(axes, parts.values(), strict=True):
            rows = part["rounds"]
            numbers = [row["round"] for row in rows]
            for mode, colour in _COLOURS.items():
                values = [row["test"][mode] for row in rows]
                axis.plot(numbers, values, color=colour, label=mode)
                for number, value, row in zip(numbers, values, rows, strict=True):
                    face = colour if row.get("published", True) else "white"
                    axis.plot(number, value, "o", color=colour, markerfacecolor=face, markersize=5)
                if "supervised" in part:
                    axis.axhline(part["supervised"]["test"][mode], color=colour, linestyle=":", linewidth=1)
