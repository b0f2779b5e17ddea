"""Similar words, against every word that an edit makes."""

from __future__ import annotations

import random

import numpy as np
import pytest

from index.disk.sorted_texts import sorted_texts
from index.lexical.similar import similar_terms, similar_to


def edits(word: str, letters: str) -> set[str]:
    """All words that one edit behind the first letter makes, without the word."""
    found = set()
    for at in range(1, len(word) + 1):
        before, after = word[:at], word[at:]
        found |= {before + letter + after for letter in letters}
        if after:
            found |= {before + letter + after[1:] for letter in letters} | {before + after[1:]}
        if len(after) > 1:
            found.add(before + after[1] + after[0] + after[2:])
    return found - {word}


@pytest.mark.parametrize("letters", ["abc", "aä", "бвäx", "aç𝔞"])
def test_similar_words_are_all_that_an_edit_makes(letters: str) -> None:
    draw = random.Random(0)
    words = {"".join(draw.choices(letters, k=draw.randint(1, 8))) for _ in range(600)}
    for word in sorted(words)[::7]:
        others = sorted(words - {word})
        texts = sorted_texts(others)
        found = similar_to(word, texts)
        assert texts.at(found.begun) == [other for other in others if other.startswith(word)]
        assert set(texts.at(found.edited)) == edits(word, letters) & set(others)


def test_terms_come_with_how_many_documents_have_them() -> None:
    terms = sorted_texts(["cat", "cats", "catt", "coat"])
    found = similar_terms("catz", terms, np.array([0, 5, 6, 8, 9]))
    assert found == ({}, {"cat": 5, "cats": 1, "catt": 2})
    assert similar_terms("ca", terms, np.array([0, 5, 6, 8, 9])) == (
        {"cat": 5, "cats": 1, "catt": 2},
        {"cat": 5},
    )


def test_of_very_many_terms_the_most_frequent_are_told() -> None:
    """Thousands of codes may begin with the same letters, and a reader types them one by one."""
    names = sorted(f"part{number}" for number in range(1000))
    counts = np.full(1000, 2)
    counts[[7, 400, 999]] = 5, 4, 3
    found = similar_terms("part", sorted_texts(names), np.cumsum([0, *counts]))
    assert len(found.begun) == 100
    assert {names[7]: 5, names[400]: 4, names[999]: 3}.items() < found.begun.items()
    assert (
        list(found.begun)[3:]
        == [name for name in names if name not in (names[7], names[400], names[999])][:97]
    )


@pytest.mark.parametrize("word", ["a", "m", "zz"])
def test_without_texts_nothing_is_similar(word: str) -> None:
    assert [len(numbers) for numbers in similar_to(word, sorted_texts([]))] == [0, 0]
