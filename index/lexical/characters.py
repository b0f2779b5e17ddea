"""A single Chinese, Japanese or Korean character as one term, whose postings are merged from its tokens'.

In: the sorted tokens of a segment and their postings. Out: the postings of a character. Knows nothing of
queries or scores.

Tokens are pairs of characters, and single ones only where they stand alone. A character begins a token
wherever it stands, unless it ends a run; and it ends one, unless it begins a run. The larger of the two
counts is its tf, or at most the number of its runs too low. A tf part is p = tf / (tf + penalty), where the
penalty depends on the document alone. So p / (1 - p) is tf / penalty, which can be added.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from index.disk.sorted_texts import SortedTexts

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Postings(NamedTuple):
    """Postings of a term or of several.

    rows: int32 (n,), ascending within a term.
    parts: tf parts, float32 (n,).
    """

    rows: NDArray[np.int32]
    parts: NDArray[np.float32]

    def at(self, places: slice | NDArray[np.int64]) -> Postings:
        """Some of these postings."""
        return Postings(self.rows[places], self.parts[places])


def postings_of_character(
    character: str,
    tokens: SortedTexts,
    starts: NDArray[np.integer[Any]],
    postings: Postings,
    count: int,
) -> Postings:
    """The postings of a character, in every document that has it.

    tokens: of the segment.
    starts: int (tokens + 1,), where the postings of each begin.
    postings: of all tokens.
    count: documents of the segment.
    Raises ValueError or IndexError if the arrays do not fit together.
    """
    numbers = tokens.beginning(character)
    begun = postings.at(slice(starts[numbers.start], starts[numbers.stop]))
    ended = postings.at(_places(starts, tokens.ending(character), len(postings.rows)))
    sums = np.maximum(_sums(begun, count), _sums(ended, count))
    rows = np.flatnonzero(sums)
    return Postings(rows.astype(np.int32), (1 - 1 / (1 + sums[rows])).astype(np.float32))


def _sums(postings: Postings, count: int) -> NDArray[np.float64]:
    """Tf / penalty of some postings, added for each document of a segment, float64 (count,)."""
    rows, parts = postings
    if len(rows) and rows.max() >= count:
        raise ValueError("a posting with an impossible number")
    with np.errstate(divide="ignore"):  # a tf of many millions has a part that rounds to 1
        return np.bincount(rows, parts / (1 - parts), count).astype(np.float64, copy=False)


def _places(starts: NDArray[np.integer[Any]], numbers: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """The places of the postings of some tokens, int64 (at most `most`,)."""
    begins = starts[numbers]
    sizes = starts[numbers + 1] - begins
    if len(sizes) and (sizes.min() < 0 or sizes.sum() > most):
        raise ValueError("a token with impossible postings")
    before = np.cumsum(sizes) - sizes
    return np.repeat(begins - before, sizes) + np.arange(sizes.sum())


def joined(lists: Sequence[Postings]) -> Postings:
    """Copies of some postings, one after the other."""
    rows, parts = map(np.concatenate, zip(*lists, strict=True))
    for array in (rows, parts):
        array.flags.writeable = False  # as in files: numba compiles its loops again for other kinds of arrays
    return Postings(rows, parts)
