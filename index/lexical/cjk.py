"""Chinese, Japanese and Korean characters: scripts without spaces between words, read in pairs of characters.

Ranges for character classes of regular expressions. The tokens of BM25 and the words of the towers both use
`CJK`, and each adds other ranges. A change here changes tokens and words: indexes and models made before
would no longer match the same texts.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

# Kana, Han with its extensions, Hangul. NFKC turns half-width forms into these.
CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\U00020000-\U0003ffff"

# Marks that stand for a character: repetition (as in 人々), "closed", and a zero.
MARKS = "\u3005-\u3007"

# Han characters of older standards. NFKC turns all but twelve of them into characters of `CJK`.
COMPATIBILITY = "\uf900-\ufaff"

# Closes a quotation or a parenthesis; it belongs to the sentence before it. No token or word has any.
CLOSING = "”’」』）》】"


def edges(ranges: str) -> list[str]:
    """Where each range of a character class begins and ends, for `is_within`. ranges: as of `CJK`."""
    firsts, lasts = ranges[::3], ranges[2::3]
    return sorted([*firsts, *(chr(ord(last) + 1) for last in lasts)])


def is_within(character: str, edges: Sequence[str]) -> bool:
    """Whether a character is in the ranges with these `edges`. A pattern of them takes 20 ms to compile."""
    return bisect_right(edges, character) % 2 == 1
