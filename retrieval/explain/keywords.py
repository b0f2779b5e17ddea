"""Which words the cells of an LSTM picked (Palangi et al. 2016, section on automatic keyword detection).

Take the ten cells whose output at the end of the text is largest, and follow each back over the words: where
its output jumped, it detected the word. Do so from left to right and from right to left. A word that more
than four of the ten detected both ways is a keyword. The first word of a direction is left out there, because
every cell leaves zero at it: the text's first word is judged from the right alone, its last from the left.

In: the outputs y(t). Out: the cells and their words. The paper does not say how large a jump must be; here it
is half of the cell's largest, which needs no scale, and lets a cell pick several words.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

CELLS = 10
KEYWORD_CELLS = 5  # more than 4
_JUMP = 0.5


class ActiveCell(NamedTuple):
    """A cell among the most active: its number, its output at the end, and the places of the words it
    detected.
    """

    cell: int
    output: float
    words: list[int]


def active_cells(output: NDArray[np.float64], backwards: bool = False) -> list[ActiveCell]:
    """The most active cells and what they detected, most active first.

    output: y(t), float64 (words, cells), in the text's order. backwards: it was read from the right.
    """
    if backwards:
        mirrored = active_cells(output[::-1])
        return [
            cell._replace(words=sorted(len(output) - 1 - place for place in cell.words)) for cell in mirrored
        ]
    jumps = np.abs(np.diff(output, axis=0))  # (words - 1, cells); row t is the jump at word t + 1
    order = np.argsort(-np.abs(output[-1]), kind="stable")[:CELLS]
    found = []
    for cell in order.tolist():
        jump = jumps[:, cell]
        large = np.flatnonzero((jump > 0) & (jump >= _JUMP * jump.max(initial=0.0))) + 1
        found.append(ActiveCell(cell, float(output[-1, cell]), large.tolist()))
    return found


def counts(cells: Sequence[ActiveCell], length: int) -> list[int]:
    """How many of the cells detected each of the text's `length` words."""
    found = np.zeros(length, int)
    for cell in cells:
        found[cell.words] += 1
    return [int(count) for count in found]


def is_keyword(votes: Sequence[int | None]) -> bool:
    """Whether enough cells picked a word in each direction that judged it; None: that one did not."""
    judged = [vote for vote in votes if vote is not None]
    return bool(judged) and min(judged) >= KEYWORD_CELLS
