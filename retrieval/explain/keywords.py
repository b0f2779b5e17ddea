"""Keyword detection by the cells of an LSTM (Palangi et al. 2016, automatic keyword detection).

In: the outputs y(t). Out: the most active cells and the words that each of them detected.

1. Take the ten cells whose output is largest at the end of the text.
2. A cell detects a word where its output jumps.
3. Do this from left to right and from right to left.
4. A word is a keyword if more than four of the ten cells detect it in both directions.

Every cell starts from zero, so the first word of a direction is not judged in that direction. The first word
of the text is judged from the right only, and its last word from the left only.

The paper does not say how large a jump must be. Here it is half of the largest jump of the cell: this needs
no scale, and a cell can detect several words.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

CELLS = 10
KEYWORD_CELLS = 5  # more than 4
_LARGE_JUMP = 0.5  # of the cell's largest jump


class ActiveCell(NamedTuple):
    """One of the most active cells."""

    cell: int  # its number
    output: float  # y at the end of the text
    words: list[int]  # the places of the words that it detected


def active_cells(output: NDArray[np.float64], backwards: bool = False) -> list[ActiveCell]:
    """The most active cells and what they detected, most active first.

    output: float64 (words, cells), y(t) in the order of the text.
    backwards: whether the LSTM read the text from the right.
    """
    if backwards:
        mirrored = active_cells(output[::-1])
        return [
            cell._replace(words=sorted(len(output) - 1 - place for place in cell.words)) for cell in mirrored
        ]
    jumps = np.abs(np.diff(output, axis=0))  # (words - 1, cells); row t is the jump at word t + 1
    order = np.argsort(-np.abs(output[-1]), kind="stable")[:CELLS]
    cells = []
    for cell in order.tolist():
        jump = jumps[:, cell]
        large = np.flatnonzero((jump > 0) & (jump >= _LARGE_JUMP * jump.max(initial=0.0))) + 1
        cells.append(ActiveCell(cell, float(output[-1, cell]), large.tolist()))
    return cells


def detection_counts(cells: Sequence[ActiveCell], length: int) -> list[int]:
    """For each word of a text of `length` words, how many of the cells detected it."""
    counts = np.zeros(length, int)
    for cell in cells:
        counts[cell.words] += 1
    return [int(count) for count in counts]


def is_keyword(counts: Sequence[int | None]) -> bool:
    """Whether enough cells detected a word in every direction that judges it.

    counts: the detections of the word in each direction; None where the direction does not judge it.
    """
    judged = [count for count in counts if count is not None]
    return bool(judged) and min(judged) >= KEYWORD_CELLS
