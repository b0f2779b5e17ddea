"""An explanation as a picture: shares, weights and the gates of the most active cells, word by word.

In: an `Explanation`. Out: a PNG file. matplotlib is imported when a picture is drawn, not before.
"""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from index.disk.files import write_atomically
from retrieval.explain.shares import Explained, Explanation
from retrieval.explain.trace import Cells

if TYPE_CHECKING:
    from matplotlib.figure import SubFigure

_WORDS = 64  # as many as a picture can hold
_FONTS = (
    "DejaVu Sans",
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Source Han Sans SC",
    "WenQuanYi Zen Hei",
    "WenQuanYi Micro Hei",
    "Droid Sans Fallback",
    "PingFang SC",
    "Hiragino Sans GB",
    "Microsoft YaHei",
    "SimHei",
)


class Panel(NamedTuple):
    """One heat map: values (rows, words), their colours, and a label for each row."""

    name: str
    values: NDArray[np.float64]
    colours: str
    low: float
    high: float
    rows: list[str]


def write_heatmap(path: Path, explanation: Explanation) -> None:
    """Draw the query and, if there is one, the document, and write the PNG. Raises StorageError."""
    write_atomically(path, png(explanation))


def png(explanation: Explanation) -> bytes:
    """The picture's bytes."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    texts = [("query", explanation.query)]
    if explanation.document is not None:
        texts.append((f"document {explanation.document_id}", explanation.document))
    drawn = [(name, text, panels(text)) for name, text in texts]
    heights = [1.6 + sum(0.35 + 0.2 * len(panel.values) for panel in shown) for _, _, shown in drawn]
    longest = max(min(len(text.words), _WORDS) for _, text in texts)
    with mpl.rc_context({"font.family": _fonts(), "font.size": 8}), warnings.catch_warnings():
        # Where no font has a letter, a box stands for it: that is to be seen, and no reason to speak.
        warnings.filterwarnings("ignore", "Glyph .* missing")
        figure = Figure((3.2 + 0.3 * max(12, longest), sum(heights)), dpi=110, layout="constrained")
        parts = figure.subfigures(len(drawn), 1, height_ratios=heights, squeeze=False)[:, 0]
        for part, (name, text, shown) in zip(parts, drawn, strict=True):
            part.suptitle(_title(name, text, explanation), fontsize=9, x=0.01, ha="left")
            # Words are as wide in a short text as in a long one beside it.
            _draw(part, text, shown, max(12, longest))
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png")
    return buffer.getvalue()


def panels(text: Explained) -> list[Panel]:
    """What is shown of a text: its shares, attention's weights, and the LSTM's gates left to right."""
    shares = np.array([[word.share for word in text.words]])
    top = max(float(np.abs(shares).max()), 1e-9)
    found = [Panel("share", shares, "RdBu_r", -top, top, [""])]
    weights = text.reading.joined.weights
    if weights is not None:
        found.append(Panel("weight", weights[None], "viridis", 0, 1, [""]))
    traces = text.reading.left_to_right
    if traces is not None:
        found += _gates(traces, [cell.cell for cell in text.cells["left_to_right"]])
    return found


def _gates(traces: Cells, cells: list[int]) -> list[Panel]:
    """The gates and outputs of these cells, most active first."""
    rows = [str(cell) for cell in cells]
    gates = {"input gate": traces.input, "forget gate": traces.forget, "output gate": traces.output_gate}
    found = [Panel(name, gate[:, cells].T, "viridis", 0, 1, rows) for name, gate in gates.items()]
    outputs = traces.output[:, cells].T
    top = max(float(np.abs(outputs).max()), 1e-9)
    return [*found, Panel("output y(t)", outputs, "RdBu_r", -top, top, rows)]


def _title(name: str, text: Explained, explanation: Explanation) -> str:
    cosine = "" if explanation.cosine is None else f", cosine {explanation.cosine:.3f}"
    cut = f", first {_WORDS} of {len(text.words)} words" if len(text.words) > _WORDS else ""
    return f"{name} ({explanation.tower}{cosine}{cut}); keywords in bold"


def _draw(part: SubFigure, text: Explained, shown: list[Panel], width: int) -> None:
    axes = part.subplots(
        len(shown), 1, sharex=True, squeeze=False, height_ratios=[1 + len(panel.values) for panel in shown]
    )[:, 0]
    for axis, panel in zip(axes, shown, strict=True):
        image = axis.imshow(
            panel.values[:, :_WORDS], panel.colours, vmin=panel.low, vmax=panel.high, aspect="auto"
        )
        axis.set_xlim(-0.5, width - 0.5)
        axis.spines[["top", "right", "bottom"]].set_visible(False)
        axis.set_ylabel(panel.name, rotation=0, ha="right", va="center")
        axis.set_yticks(range(len(panel.rows)), panel.rows, fontsize=5)
        part.colorbar(image, ax=axis, pad=0.01)
    _label_words(axes[-1], text)


def _label_words(axis: Any, text: Explained) -> None:
    words = text.words[:_WORDS]
    # A dollar sign would begin a formula.
    axis.set_xticks(range(len(words)), [word.word.replace("$", r"\$") for word in words], rotation=90)
    for label, word in zip(axis.get_xticklabels(), words, strict=True):
        if word.keyword:
            label.set_fontweight("bold")


def _fonts() -> list[str]:
    """Those of the fonts that are installed: letters missing in the first are taken from the next."""
    from matplotlib.font_manager import fontManager

    installed = set(fontManager.get_font_names())
    return [font for font in _FONTS if font in installed]
