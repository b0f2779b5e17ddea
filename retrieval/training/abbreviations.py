"""The abbreviations that texts define, and the words that each stands for.

In: texts. Out: the word of each abbreviation, and the words of its long form. A text defines one in brackets
behind its long form, "Machado-Joseph disease (MJD)"; which words before the bracket belong to it is found as
Schwartz & Hearst 2003 do (A Simple Algorithm for Identifying Abbreviation Definitions in Biomedical Text).
Knows nothing of features or rows.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator

from retrieval.text.words import words

# From two to ten characters; behind a comma or semicolon the bracket may go on.
_SHORT_FORM = re.compile(r"[(（]\s*(\w[\w/-]{1,9})\s*[,;)）]")
_WORD = re.compile(r"\w+")
# Before the bracket as many characters are read.
_READ_BEFORE = 200
# With fewer capital letters it may be any word.
_LEAST_CAPITALS = 2
# Words are read without regard to case: an abbreviation that is also a word ("ALL", "WHO") has the word's
# row. It is left out if it is written as a word more often than this, as a share of its other occurrences.
_MOST_AS_WORD = 0.1


class Abbreviations:
    """What two readings of all texts tell of their abbreviations."""

    def __init__(self) -> None:
        self._long_forms: defaultdict[str, Counter[tuple[str, ...]]] = defaultdict(Counter)
        self._as_abbreviation: Counter[str] = Counter()
        self._as_word: Counter[str] = Counter()

    def read_definitions(self, text: str) -> None:
        """The first reading of a text."""
        for short, long in definitions(text):
            found, long_words = words(short), words(long)
            if len(found) == 1 < len(long_words) and found[0] not in long_words:
                self._long_forms[found[0]][tuple(long_words)] += 1

    def read_spellings(self, text: str) -> None:
        """The second reading of a text, when the definitions of all are known."""
        for spelling in _WORD.findall(text):
            word = spelling.casefold()
            if word in self._long_forms:
                as_word = _capitals(spelling) < _LEAST_CAPITALS
                (self._as_word if as_word else self._as_abbreviation)[word] += 1

    def long_forms(self) -> dict[str, tuple[str, ...]]:
        """Word to the words of its most frequent long form, of those that are not ordinary words as well."""
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
    """The shortest end of `before` with the characters of `short` in order, the first as a word's first.

    Empty if there is none. Found from the end, each character as near to it as can be.
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
