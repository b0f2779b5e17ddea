"""One form for all the ways in which Unicode can spell a text: what both tokenisers read.

In: any text. Out: the text normalised and case folded, in time proportional to its length.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from itertools import pairwise, takewhile

# The Stream-Safe Text Format of UAX 15. Normalising sorts every run of combining marks, and CPython does so
# by insertion: a run of n takes n^2 steps. No language needs more than a few in a row.
_LONGEST_RUN = 30
_GRAPHEME_JOINER = "\u034f"

# A longer run takes at least so many characters in a row: a mark decomposes to two at most, and a letter
# before it ends with three at most. All marks are \W but for the half-width voicing marks of kana.
_FEWEST = 14
_SUSPECT = re.compile(rf"[\W\uff9e\uff9f]{{{_FEWEST},}}")


def normalise(text: str) -> str:
    """NFKC, case folding, and the typographic apostrophe made plain.

    Runs of more than 30 combining marks are broken first, as `stream_safe` tells.
    """
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFKC", stream_safe(text)).casefold().replace("\u2019", "'")


def stream_safe(text: str) -> str:
    """The text with U+034F, the combining grapheme joiner, within runs of more than 30 combining marks.

    Runs are counted as they are after decomposition (NFKD), as UAX 15 has it. A text without such a run comes
    back as it is.
    """
    if any(map(_is_mark, set(text[::_FEWEST]))):  # every run of that length has a part in this
        return _SUSPECT.sub(_broken, text)
    return text


def _is_mark(character: str) -> bool:
    return _marks(character)[0]


@lru_cache(maxsize=1024)
def _marks(character: str) -> tuple[bool, int]:
    """Whether a character begins with a combining mark after decomposition, and how many it ends with."""
    classes = [unicodedata.combining(part) for part in unicodedata.normalize("NFKD", character)]
    return classes[0] > 0, len(list(takewhile(bool, reversed(classes))))


def _broken(match: re.Match[str]) -> str:
    """A stretch that may hold a long run of marks, with a joiner wherever a run would grow too long."""
    stretch = match[0]
    count = _marks(match.string[match.start() - 1])[1] if match.start() else 0
    cuts = [0]
    for at, (goes_on, marks) in enumerate(map(_marks, stretch)):
        if not goes_on:
            count = 0
        elif count + marks > _LONGEST_RUN:
            cuts.append(at)
            count = 0
        count += marks
    return _GRAPHEME_JOINER.join(stretch[start:end] for start, end in pairwise([*cuts, len(stretch)]))
