"""Words that a misspelt word may mean, of sorted texts.

In: sorted texts and a word. Out: those that the word begins, and those that a single edit behind its first
letter makes of it: a letter left out, added or changed, or two neighbours swapped. Knows nothing of queries.

Before the place of the edit the two words are the same, and from the second letter behind it on. So for each
place only the texts with that beginning are looked at, and of those only the ones with that end are read.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from index.disk.sorted_texts import SortedTexts

# Bytes of a letter, at most: so much longer or shorter an edit makes a word.
_LONGEST_LETTER = 4


class Similar(NamedTuple):
    """Numbers of similar texts, int64.

    begun: of those that a word begins.
    edited: of those that are one edit away.
    """

    begun: NDArray[np.int64]
    edited: NDArray[np.int64]


class SimilarTerms(NamedTuple):
    """Similar terms, and how many documents have each; fields as of `Similar`."""

    begun: dict[str, int]
    edited: dict[str, int]


def similar_to(word: str, texts: SortedTexts) -> Similar:
    """The texts that are similar to a word, which is none of them.

    word: letters.
    Raises ValueError or IndexError if the arrays of the texts do not fit together.
    """
    edit, found = _one_edit(word), set[int]()
    size, within = len(word.encode()), range(len(texts))
    for at in range(1, len(word) + 1):
        within = texts.beginning(word[:at], within)
        likely = texts.ending(word[at + 2 :], within)
        longer = texts.starts[likely + 1] - texts.starts[likely] - size
        likely = likely[np.abs(longer) <= _LONGEST_LETTER]
        each = zip(likely.tolist(), texts.at(likely), strict=True)
        found.update(number for number, text in each if edit.fullmatch(text))
    return Similar(np.array(within, np.int64), np.array(sorted(found), np.int64))


def similar_terms(term: str, terms: SortedTexts, starts: NDArray[np.integer[Any]]) -> SimilarTerms:
    """The terms that are similar to one, which is none of them.

    terms: the terms.
    starts: int (terms + 1,), where the postings of each begin.
    Raises as `similar_to`.
    """
    parts = []
    for numbers in similar_to(term, terms):
        counts = starts[numbers + 1] - starts[numbers]
        parts.append(dict(zip(terms.at(numbers), counts.tolist(), strict=True)))
    return SimilarTerms(*parts)


def _one_edit(word: str) -> re.Pattern[str]:
    """The pattern of what one edit behind the first letter makes of a word."""
    edited = []
    for at in range(1, len(word) + 1):
        before, letter, after = word[:at], word[at : at + 1], word[at + 1 :]
        # Another letter or none in its place, one more before it, and swapped with the next one.
        edited += [
            f"{before}.?{after}",
            f"{before}.{letter}{after}",
            f"{before}{after[:1]}{letter}{after[1:]}",
        ]
    return re.compile("|".join(edited))
