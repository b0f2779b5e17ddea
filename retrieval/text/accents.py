"""Words typed without accents: which words of a sorted list are the same but for accents.

In: a word, and a list that tells its first text from a place on. Out: the texts that are spelt as the word or
as its beginning. Knows nothing of indexes.

The plain form of a letter is its canonical decomposition (NFD of Unicode) without combining marks. Letters
that have none are those of the transform Latin-ASCII of Unicode's CLDR, as far as languages of today write
them. Some letters have a second form, of two letters, which people type where a keyboard lacks them: German
umlauts (DIN 5007-2, the order of telephone books), Danish and Norwegian letters.

The list is walked like a trie, letter by letter, and only where it has texts: that takes some dozens of looks
at it, whatever its size.
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import cache, lru_cache
from typing import NamedTuple

# Latin, Greek, Cyrillic, Armenian, Hebrew and Arabic letters; further Latin and Greek ones.
_LETTERS = (*range(0x00C0, 0x0700), *range(0x1E00, 0x2000))
_WITHOUT_MARKS = {"æ": "ae", "ð": "d", "ø": "o", "þ": "th", "đ": "d", "ħ": "h", "ı": "i", "ł": "l", "œ": "oe"}
_OF_TWO_LETTERS = {"ä": "ae", "ö": "oe", "ü": "ue", "ø": "oe", "å": "aa"}
# Looks at a list for one word. The terms of packages of PyPI, half a million, take at most 76, and a million
# made-up ones with many accents 412. Only a list that was made for it takes more, and then texts are missed.
_MOST_LOOKS = 1000


class Spelt(NamedTuple):
    """A text of a list that is spelt as the beginning of a word.

    rest: plain letters of the word behind it; "" if the text is the whole word.
    """

    text: str
    rest: str


def plain_forms(word: str) -> tuple[str, ...]:
    """How a normalised word is typed without accents: in one way, or in two.

    >>> plain_forms("řešení"), plain_forms("grösse"), plain_forms("tar")
    (('reseni',), ('grosse', 'groesse'), ('tar',))
    """
    if word.isascii():
        return (word,)
    plain = [_plain().get(letter, (letter,)) for letter in word]
    return tuple(dict.fromkeys("".join(forms[which] for forms in plain) for which in (0, -1)))


def spelt_as(
    plain: str,
    first_from: Callable[[str], str | None],
) -> Iterator[Spelt]:
    """The texts of a list that are spelt as a word or its beginning, but for accents.

    plain: one of the `plain_forms` of the word.
    first_from: the first text of the list, by code points, that is not smaller than another; None at its end.
    """
    looks = iter(range(_MOST_LOOKS))

    def walk(begun: str, rest: str, first: str) -> Iterator[Spelt]:
        """first: the first text that begins so."""
        if begun and first == begun:
            yield Spelt(begun, rest)
        for letter, size in _letters_for(rest[:2]):
            further = begun + letter
            if first < further:
                following = None if next(looks, None) is None else first_from(further)
                if following is None or not following.startswith(begun):
                    return
                first = following
            if first.startswith(further):
                yield from walk(further, rest[size:], first)

    yield from walk("", plain, "")


@lru_cache(maxsize=1024)
def _letters_for(plain: str) -> list[tuple[str, int]]:
    """The letters, in order, whose plain form two letters are or begin with, and the length of that form."""
    if not plain:
        return []
    forms = dict.fromkeys((plain[:1], plain))
    found = [(letter, len(form)) for form in forms for letter in _by_plain_form().get(form, ())]
    return sorted([*found, (plain[0], 1)])


@cache
def _by_plain_form() -> dict[str, list[str]]:
    found: defaultdict[str, list[str]] = defaultdict(list)
    for letter, forms in _plain().items():
        for form in forms:
            found[form].append(letter)
    return dict(found)


@cache
def _plain() -> dict[str, tuple[str, ...]]:
    """The plain forms of each letter that is not its own, one or two."""
    found = {}
    for letter in map(chr, _LETTERS):
        if unicodedata.decomposition(letter)[:1] not in ("", "<") or letter in _WITHOUT_MARKS:
            if unicodedata.normalize("NFKC", letter).casefold() != letter or not letter.isalpha():
                continue  # no normalised text has it
            parts = unicodedata.normalize("NFD", letter)
            if all(map(unicodedata.combining, parts[1:])):
                two = _OF_TWO_LETTERS.get(letter) or _OF_TWO_LETTERS.get(parts[0], "")
                found[letter] = tuple(filter(None, (_WITHOUT_MARKS.get(parts[0], parts[0]), two)))
    return found
