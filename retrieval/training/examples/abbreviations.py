"""The abbreviations that texts define, and the words that each stands for.

In: texts. Out: the word of each abbreviation, and the words of its long form. A text defines an abbreviation
in brackets behind its long form, "Machado-Joseph disease (MJD)". The algorithm of Schwartz & Hearst 2003 (A
Simple Algorithm for Identifying Abbreviation Definitions in Biomedical Text) finds which words before the
bracket are the long form. Knows nothing of features or rows.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator

from retrieval.text.words import words

# Two to ten characters. The bracket may go on after a comma or semicolon.
_SHORT_FORM = re.compile(r"[(（]\s*(\w[\w/-]{1,9})\s*[,;)）]")
_WORD = re.compile(r"\w+")
# How many characters before the bracket are read.
_READ_BEFORE = 200
# With fewer capital letters it may be any word.
_LEAST_CAPITALS = 2
# Words are read without regard to case: an abbreviation that is also a word ("ALL", "WHO") has the word's
# row. It is left out if it is written as a word more often than this, as a share of its other occurrences.
_MOST_AS_WORD = 0.1


class Abbreviations:
    """The abbreviations of some texts, found in two readings of all of them."""

    def __init__(self) -> None:
        self._long_forms: defaultdict[str, Counter[tuple[str, ...]]] = defaultdict(Counter)
        self._as_abbreviation: Counter[str] = Counter()
        self._as_word: Counter[str] = Counter()

    def read_definitions(self, text: str) -> None:
        """Read a text for the first time, to find definitions."""
        for short, long in definitions(text):
            found, long_words = words(short), words(long)
            if len(found) == 1 < len(long_words) and found[0] not in long_words:
                self._long_forms[found[0]][tuple(long_words)] += 1

    def read_spellings(self, text: str) -> None:
        """Read a text for the second time, when the definitions of all texts are known."""
        for spelling in _WORD.findall(text):
            word = spelling.casefold()
            if word in self._long_forms:
                as_word = _capitals(spelling) < _LEAST_CAPITALS
                (self._as_word if as_word else self._as_abbreviation)[word] += 1

    def long_forms(self) -> dict[str, tuple[str, ...]]:
        """Each abbreviation with the words of its most frequent long form. Ordinary words are left out."""
        return {
            word: min(forms, key=lambda form: (-forms[form], form))
            for word, forms in sorted(self._long_forms.items())
            if self._as_word[word] <= _MOST_AS_WORD * self._as_abbreviation[word]
        }


def definitions(text: str) -> Iterator[tuple[str, str]]:
    """The abbreviations that a text defines, each with its long form, as they are written.

    >>> list(definitions("Machado-Joseph disease (MJD) is rare (very)."))
    [('MJD', 'Machado-Joseph disease')]
    """
    for match in _SHORT_FORM.finditer(text):
        short = match[1]
        if _capitals(short) < _LEAST_CAPITALS:
            continue
        before = text[max(0, match.start() - _READ_BEFORE) : match.start()].split()
        most_words = min(len(short) + 5, 2 * len(short))
        long = _long_form(short, " ".join(before[-most_words:]))
        if len(long) > len(short) and "(" not in long:
            yield short, long


def _long_form(short: str, before: str) -> str:
    """The shortest end of `before` that begins a word and has the characters of `short` in order.

    Empty if there is none. Characters are matched from the end, each as near to the end as possible.
    """
    place = len(before)
    for number, letter in reversed(list(enumerate(short.casefold()))):
        if not letter.isalnum():
            continue
        place -= 1
        while place >= 0 and not _stands(letter, before, place, starts_word=number == 0):
            place -= 1
        if place < 0:
            return ""
    return before[place:]


def _stands(letter: str, text: str, place: int, starts_word: bool) -> bool:
    if text[place].casefold() != letter:
        return False
    return not (starts_word and place and text[place - 1].isalnum())


def _capitals(word: str) -> int:
    return sum(map(str.isupper, word))
