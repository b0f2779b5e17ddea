"""The picture of the rounds: nDCG@10 on test after every round of use, between no pairs and all pairs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.common import ROOT

PICTURE = ROOT / "docs" / "images" / "learning.svg"
_COLOURS = {"hybrid": "#1f5fbf", "dense": "#c2571a"}


def draw(result: Mapping[str, Any], path: Path = PICTURE) -> None:
    """Draw the rounds of every data set in a result, side by side. A full dot is a round that published."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    matplotlib.rcParams["svg.hashsalt"] = "learning"
    parts = {
        name.removeprefix("rounds "): part for name, part in result.items() if name.startswith("rounds ")
    }
    figure, axes = plt.subplots(1, len(parts), figsize=(5.2 * len(parts), 3.6), squeeze=False)
    for axis, (name, part) in zip(axes[0], parts.items(), strict=True):
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
        axis.set_title(name)
        axis.set_xlabel("rounds of use")
        axis.set_ylabel("nDCG@10 on test")
        axis.legend(frameon=False, loc="lower right")
        axis.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
