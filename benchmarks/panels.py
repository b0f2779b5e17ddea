"""Charts side by side, one a data set, as an SVG file that is the same for the same figures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def panels(names: Sequence[str], path: Path, across: str) -> Iterator[Sequence[Any]]:
    """An axis for each data set to draw on within the block, at the end of which the file is written.

    names: of the data sets, the titles.
    path: of the SVG file.
    across: what the horizontal axes are.
    """
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    matplotlib.rcParams["svg.hashsalt"] = path.stem
    figure, axes = plt.subplots(1, len(names), figsize=(5.2 * len(names), 3.6), squeeze=False)
    yield axes[0]
    for axis, name in zip(axes[0], names, strict=True):
        axis.set_title(name)
        axis.set_xlabel(across)
        axis.set_ylabel("nDCG@10 on test")
        axis.legend(frameon=False, loc="lower right")
        axis.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
