"""An explanation as a picture: shares, attention weights and gates of the most active cells, word by word.

In: a `MatchExplanation`. Out: a PNG file. Knows nothing of models.
matplotlib is imported only when a picture is drawn.
"""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from index.disk.output import write_output
from retrieval.explain.shares import MatchExplanation, TextExplanation
from retrieval.explain.trace import CellStates

if TYPE_CHECKING:
    from matplotlib.figure import SubFigure

_MAX_WORDS = 64
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
    """One heat map."""

    name: str
    values: NDArray[np.float64]  # (rows, words)
    colours: str  # name of a matplotlib colour map
    low: float  # value of its first colour
    high: float  # value of its last colour
    labels: list[str]  # one for each row


def write_heatmap(path: Path, explanation: MatchExplanation) -> None:
    """Write the picture of the query and, if there is one, of the document. Raises StorageError."""
    write_output(path, png(explanation))


def png(explanation: MatchExplanation) -> bytes:
    """The picture as the bytes of a PNG file."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    texts = [("query", explanation.query)]
    if explanation.document is not None:
        texts.append((f"document {explanation.document_id}", explanation.document))
    sections = [(name, text, panels(text)) for name, text in texts]
    heights = [1.6 + sum(0.35 + 0.2 * len(panel.values) for panel in rows) for _, _, rows in sections]
    width = max(12, *(min(len(text.words), _MAX_WORDS) for _, text in texts))
    with mpl.rc_context({"font.family": _fonts(), "font.size": 8}), warnings.catch_warnings():
        # A letter that no font has is drawn as a box: the user sees it and needs no warning.
        warnings.filterwarnings("ignore", "Glyph .* missing")
        figure = Figure((3.2 + 0.3 * width, sum(heights)), dpi=110, layout="constrained")
        subfigures = figure.subfigures(len(sections), 1, height_ratios=heights, squeeze=False)[:, 0]
        for subfigure, (name, text, rows) in zip(subfigures, sections, strict=True):
            subfigure.suptitle(_title(name, text, explanation), fontsize=9, x=0.01, ha="left")
            # One width for all texts, so that words are as wide in a short text as in a long one.
            _draw(subfigure, text, rows, width)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png")
    return buffer.getvalue()


def panels(text: TextExplanation) -> list[Panel]:
    """The heat maps of a text: shares, attention weights, and the gates of the LSTM from left to right."""
    shares = np.array([[word.share for word in text.words]])
    top = max(float(np.abs(shares).max()), 1e-9)
    text_panels = [Panel("share", shares, "RdBu_r", -top, top, [""])]
    weights = text.trace.composition.weights
    if weights is not None:
        text_panels.append(Panel("weight", weights[None], "viridis", 0, 1, [""]))
    states = text.trace.left_to_right
    if states is not None:
        text_panels += _gate_panels(states, [cell.cell for cell in text.cells["left_to_right"]])
    return text_panels


def _gate_panels(states: CellStates, cells: list[int]) -> list[Panel]:
    """The gates and outputs of these cells, most active first."""
    labels = [str(cell) for cell in cells]
    gates = {"input gate": states.input, "forget gate": states.forget, "output gate": states.output_gate}
    gate_panels = [Panel(name, gate[:, cells].T, "viridis", 0, 1, labels) for name, gate in gates.items()]
    outputs = states.output[:, cells].T
    top = max(float(np.abs(outputs).max()), 1e-9)
    return [*gate_panels, Panel("output y(t)", outputs, "RdBu_r", -top, top, labels)]


def _title(name: str, text: TextExplanation, explanation: MatchExplanation) -> str:
    cosine = "" if explanation.cosine is None else f", cosine {explanation.cosine:.3f}"
    cut = f", first {_MAX_WORDS} of {len(text.words)} words" if len(text.words) > _MAX_WORDS else ""
    return f"{name} ({explanation.tower}{cosine}{cut}); keywords in bold"


def _draw(subfigure: SubFigure, text: TextExplanation, rows: list[Panel], width: int) -> None:
    axes = subfigure.subplots(
        len(rows), 1, sharex=True, squeeze=False, height_ratios=[1 + len(panel.values) for panel in rows]
    )[:, 0]
    for axis, panel in zip(axes, rows, strict=True):
        image = axis.imshow(
            panel.values[:, :_MAX_WORDS], panel.colours, vmin=panel.low, vmax=panel.high, aspect="auto"
        )
        axis.set_xlim(-0.5, width - 0.5)
        axis.spines[["top", "right", "bottom"]].set_visible(False)
        axis.set_ylabel(panel.name, rotation=0, ha="right", va="center")
        axis.set_yticks(range(len(panel.labels)), panel.labels, fontsize=5)
        subfigure.colorbar(image, ax=axis, pad=0.01)
    _label_words(axes[-1], text)


def _label_words(axis: Any, text: TextExplanation) -> None:
    words = text.words[:_MAX_WORDS]
    # matplotlib would take a dollar sign for the start of a formula.
    axis.set_xticks(range(len(words)), [word.word.replace("$", r"\$") for word in words], rotation=90)
    for label, word in zip(axis.get_xticklabels(), words, strict=True):
        if word.keyword:
            label.set_fontweight("bold")


def _fonts() -> list[str]:
    """The installed fonts of `_FONTS`; matplotlib takes a letter from the first font that has it."""
    from matplotlib.font_manager import fontManager

    installed = set(fontManager.get_font_names())
    return [font for font in _FONTS if font in installed]
