"""Short texts, such as queries, that are read without the patterns for any text, which take long to compile.

In: a normalised text. Out: whether it is such a text, and the words of the simplest. Knows nothing of terms.
"""

from __future__ import annotations

from bisect import bisect_right

from index.lexical.cjk import CJK, edges

# Characters of a short text.
_SHORT = 64

_SIMPLE = edges(f"\0-\x7f{CJK}")


def plain_words(text: str) -> list[str]:
    """The words of a short text of ASCII that consists of letters, digits and spaces; none of another one."""
    if len(text) <= _SHORT and text.replace(" ", "").isalnum():
        return text.split()
    return []


def is_simple(text: str) -> bool:
    """Whether a text is short, and ASCII apart from characters of `CJK`. Most queries with some are such.

    For the pattern that reads it, a character is then of CJK if it is not of ASCII, and a letter if it is.
    """
    return len(text) <= _SHORT and 0 not in [bisect_right(_SIMPLE, each) % 2 for each in text]
