"""Chinese queries as people type them who choose wrong characters, or write in another script.

In: a dictionary of words with their frequencies, such as `jieba/dict.txt` of the package jieba (MIT). Out:
what changes a query. Needs the packages pypinyin (MIT), which knows how 40,000 characters sound, also those
that sound otherwise in some words, and opencc-python-reimplemented (Apache-2.0), which converts whole words.
The engine knows less than either.
"""

from __future__ import annotations

import random
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

# Characters that somebody may choose by mistake, the most frequent.
_CHARACTERS = 3500
_WORD_CHARACTERS = range(2, 5)
# Rarer words are not chosen by mistake.
_LEAST_FREQUENCY = 5


@dataclass(frozen=True)
class Sounds:
    """Characters and words by their sound, with their frequencies."""

    of: Mapping[str, tuple[str, ...]]  # a character or word, its syllables
    alike: Mapping[tuple[str, ...], list[str]]  # syllables, the characters or words that have them
    frequency: Mapping[str, int]

    def other(self, typed: str, draw: random.Random) -> str | None:
        """Another text of the same sound, the more frequent the likelier; None if there is none."""
        others = [each for each in self.alike.get(self.of.get(typed, ()), ()) if each != typed]
        return draw.choices(others, [self.frequency[each] for each in others])[0] if others else None


def read_sounds(dictionary: Path) -> Sounds:
    """The sounds of the characters and words of a dictionary. Lines: word, frequency and more, by spaces."""
    from pypinyin import Style, lazy_pinyin

    frequency: Counter[str] = Counter()
    words = {}
    for line in dictionary.read_text(encoding="utf-8").splitlines():
        word, count, *_ = line.split(" ")
        if not re.fullmatch("[\u4e00-\u9fff]+", word):
            continue
        for character in word:
            frequency[character] += int(count)
        if len(word) in _WORD_CHARACTERS:
            words[word] = int(count)
    common = [character for character, _ in frequency.most_common(_CHARACTERS)]
    of = {each: tuple(lazy_pinyin(each, style=Style.NORMAL)) for each in (*frequency, *words)}
    alike: defaultdict[tuple[str, ...], list[str]] = defaultdict(list)
    for each in (*common, *(word for word, count in words.items() if count >= _LEAST_FREQUENCY)):
        alike[of[each]].append(each)
    return Sounds(of, alike, frequency | words)


def wrong_character(sounds: Sounds) -> Callable[[str, random.Random], str | None]:
    """One character in place of which another of its sound was chosen."""
    return lambda query, draw: _changed(query, list(re.finditer("[\u4e00-\u9fff]", query)), sounds, draw)


def wrong_word(sounds: Sounds) -> Callable[[str, random.Random], str | None]:
    """One word of two to four characters in place of which another of its sound was chosen.

    It may be any word of the dictionary in the query that is not part of a longer one.
    """

    def change(query: str, draw: random.Random) -> str | None:
        found: list[re.Match[str]] = []
        for size in reversed(_WORD_CHARACTERS):
            for match in re.finditer(f"(?=([\u4e00-\u9fff]{{{size}}}))", query):
                inside = any(one.start(1) <= match.start(1) and match.end(1) <= one.end(1) for one in found)
                if match[1] in sounds.of and not inside:
                    found.append(match)
        return _changed(query, sorted(found, key=lambda match: match.start(1)), sounds, draw, 1)

    return change


def traditional() -> Callable[[str, random.Random], str | None]:
    """The query in the traditional characters of Taiwan."""
    from opencc import OpenCC

    converter = OpenCC("s2tw")
    return lambda query, draw: str(converter.convert(query))


def _changed(
    query: str,
    matches: list[re.Match[str]],
    sounds: Sounds,
    draw: random.Random,
    group: int = 0,
) -> str | None:
    """The query with one of some matches changed that has others of its sound; None if none has."""
    draw.shuffle(matches)
    for match in matches:
        other = sounds.other(match[group], draw)
        if other is not None:
            return query[: match.start(group)] + other + query[match.end(group) :]
    return None
