"""Short and simple texts, such as most queries. They are read without the patterns of tokens and words of any
script, which take long to compile.

In: a normalised text. Out: whether it is simple, and the words of the simplest texts. Knows nothing of terms.
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
    """Whether a text is short and consists of ASCII and characters of `CJK`, as most Chinese queries do.

    A pattern can then tell the two apart without a class of all characters of `CJK`.
    """
    return len(text) <= _SHORT and 0 not in [bisect_right(_SIMPLE, each) % 2 for each in text]
