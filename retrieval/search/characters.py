"""Chinese queries: their characters as the documents have them.

In: a query, and how many documents have a pair of characters. Out: the query as it is searched. Knows nothing
of indexes.

A character is read as another if no document has a pair that it makes with a neighbour, for two reasons:

Script   The query is in simplified characters and the documents in traditional ones, or the other way round.
Sound    People type Chinese by its sound and choose among the words that have it. So most wrong characters
         sound as the right ones do (Liu, Lai, Chuang and Lee 2010, Visually and Phonologically Similar
         Characters in Incorrect Simplified Chinese Words: 83 %).

Of all readings of a run the likeliest is taken, by a noisy channel: each pair of neighbours adds the
logarithm of how many documents have it, and each character that is read otherwise costs a constant. The
search is that of Viterbi.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from functools import cache
from itertools import pairwise

from retrieval.text.homophones import homophones
from retrieval.text.variants import variants

# What one wrong character costs. With 3, more of them are put right (on the dev split of tldr-zh 80 % in
# place of 69 %), but of the queries as people wrote them 1.6 % in place of .8 % are read otherwise.
_WRONG = 4.0
# With more pairs that no document has, wrong characters are not the reason.
_MOST_PAIRS = 8
# What another form of the same character costs: only that the documents have it must be told.
_SAME = 0.5
# Added to the number of documents: a pair that none has is not impossible.
_UNSEEN = 0.5
# Longer queries are texts, which nobody typed.
LONGEST_QUERY = 256
# Of a character with more others, only those that documents have beside a neighbour are looked at.
_FEW_OTHERS = 6


def read_characters(query: str, documents_with: Callable[[str], int]) -> str:
    """The query as it is searched. Japanese and Korean ones stay as they are.

    query: of at most `LONGEST_QUERY` characters.
    documents_with: how many documents have a term. A pair of characters is one.
    """
    if _not_chinese().search(query):
        return query
    count = cache(documents_with)
    query = _run().sub(lambda run: _likeliest(run[0], variants, _SAME, count), query)
    pairs = [before + after for run in _run().findall(query) for before, after in pairwise(run)]
    if sum(count(pair) == 0 for pair in pairs) > _MOST_PAIRS:
        return query
    return _run().sub(lambda run: _likeliest(run[0], _of_the_same_sound, _WRONG, count), query)


def _of_the_same_sound(character: str) -> str:
    """The homophones of a character in both scripts."""
    others = "".join(map(homophones, character + variants(character)))
    return others + "".join(map(variants, others))


def _likeliest(
    run: str,
    others_of: Callable[[str], str],
    cost: float,
    documents_with: Callable[[str], int],
) -> str:
    """The likeliest reading of a run.

    others_of: what a character may be read as.
    cost: of each that is read otherwise.
    """
    # The best reading of the run so far that ends with each character, and its score.
    readings = {"": (0.0, "")}
    for before, typed, after in zip(["", *run[:-1]], run, [*run[1:], ""], strict=True):
        readings = {
            read: _extended(readings, read, 0.0 if read == typed else cost, documents_with)
            for read in typed + _others(before, typed, after, others_of, documents_with)
        }
    return max(readings.values())[1]


def _others(
    before: str,
    typed: str,
    after: str,
    others_of: Callable[[str], str],
    documents_with: Callable[[str], int],
) -> str:
    """What a character may be read as, if a pair of it is unknown.

    before, after: its neighbours; empty at the ends of a run.
    """

    def known(character: str) -> tuple[bool, bool]:
        """Whether its pairs are known. At an end the neighbour may be wrong too, and nothing tells."""
        return (
            not before or documents_with(before + character) > 0,
            not after or documents_with(character + after) > 0,
        )

    if all(known(typed)):
        return ""
    others = others_of(typed)
    return others if len(others) <= _FEW_OTHERS else "".join(other for other in others if any(known(other)))


def _extended(
    readings: dict[str, tuple[float, str]],
    read: str,
    cost: float,
    documents_with: Callable[[str], int],
) -> tuple[float, str]:
    """The best of some readings with one character more, and its score.

    readings: with their scores, by their last characters.
    read: the character.
    cost: of reading it.
    """
    return max(
        (score - cost + (math.log(documents_with(last + read) + _UNSEEN) if last else 0.0), text + read)
        for last, (score, text) in readings.items()
    )


@cache
def _run() -> re.Pattern[str]:
    """The pattern of a run of Chinese characters that can have others. One of all takes 4 ms to compile."""
    return re.compile("[\u3400-\u4dbf\u4e00-\u9fff]{2,}")


@cache
def _not_chinese() -> re.Pattern[str]:
    """The pattern of kana and Hangul: Chinese sounds say nothing of Japanese and Korean."""
    return re.compile("[\u3040-\u30ff\uac00-\ud7af]")
