"""Unicode normalisation of text, for the tokens of BM25 and the words of the towers.

In: any text. Out: the text normalised and case folded, in time proportional to its length. Knows nothing of
words.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from itertools import pairwise, takewhile

# The Stream-Safe Text Format of UAX 15. Normalisation sorts every run of combining marks, and CPython does it
# by insertion: a run of n takes n^2 steps. No language needs more than a few marks in a row.
_LONGEST_RUN = 30
_GRAPHEME_JOINER = "\u034f"

# A longer run has at least this many characters: a mark decomposes to at most two marks, and the letter
# before the run ends with at most three. All marks match \W except the half-width voicing marks of kana.
_FEWEST = 14
_SUSPECT = rf"[\W\uff9e\uff9f]{{{_FEWEST},}}"


def normalise(text: str) -> str:
    """NFKC and case folding; the typographic apostrophe becomes ASCII.

    Runs of more than 30 combining marks are broken first (see `stream_safe`).
    """
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFKC", stream_safe(text)).casefold().replace("\u2019", "'")


def stream_safe(text: str) -> str:
    """The text with U+034F, the combining grapheme joiner, within runs of more than 30 combining marks.

    Runs are counted after decomposition (NFKD), as UAX 15 says. A text without such a run is returned
    unchanged.
    """
    if any(map(_is_mark, set(text[::_FEWEST]))):  # every long run has a character in this sample
        return re.sub(_SUSPECT, _broken, text)
    return text


def _is_mark(character: str) -> bool:
    return _marks(character)[0]


@lru_cache(maxsize=1024)
def _marks(character: str) -> tuple[bool, int]:
    """After decomposition: whether a character begins with a combining mark, and how many it ends with."""
    classes = [unicodedata.combining(part) for part in unicodedata.normalize("NFKD", character)]
    return classes[0] > 0, len(list(takewhile(bool, reversed(classes))))


def _broken(match: re.Match[str]) -> str:
    """The matched text, which may hold a long run of marks, with a joiner wherever a run grows too long."""
    stretch = match[0]
    count = _marks(match.string[match.start() - 1])[1] if match.start() else 0
    cuts = [0]
    for at, (is_mark, marks) in enumerate(map(_marks, stretch)):
        if not is_mark:
            count = 0
        elif count + marks > _LONGEST_RUN:
            cuts.append(at)
            count = 0
        count += marks
    return _GRAPHEME_JOINER.join(stretch[start:end] for start, end in pairwise([*cuts, len(stretch)]))
