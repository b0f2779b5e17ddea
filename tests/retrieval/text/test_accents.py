"""Words that are the same but for accents, against the plain forms of all words."""

from __future__ import annotations

import random
import unicodedata
from itertools import product

import pytest

from index.disk.sorted_texts import sorted_texts
from index.lexical.normalisation import normalise
from retrieval.text.accents import plain_forms, spelt_as


@pytest.mark.parametrize(
    ("word", "forms"),
    [
        ("repertoire", ("repertoire",)),
        ("éléphant", ("elephant",)),
        ("řešení", ("reseni",)),
        ("łódź", ("lodz",)),
        ("điện", ("dien",)),
        ("ışık", ("isik",)),
        ("cœur", ("coeur",)),
        ("für", ("fur", "fuer")),
        ("øre", ("ore", "oere")),
        ("ångström", ("angstrom", "aangstroem")),
        ("ёлка", ("елка",)),
        ("ήλιος", ("ηλιος",)),
        ("l'état", ("l'etat",)),
        ("ß", ("ß",)),  # is ss in every normalised text
        ("文é", ("文e",)),
    ],
)
def test_the_plain_form_of_a_word(word: str, forms: tuple[str, ...]) -> None:
    assert plain_forms(word) == forms


def spelt(word: str, texts: list[str]) -> list[tuple[str, str]]:
    return list(spelt_as(word, sorted_texts(texts).first_from))


def test_beginnings_of_the_word_come_with_what_is_left_of_it() -> None:
    texts = sorted(["", "re", "ré", "rés", "résumé", "résumés", "résume", "rue", "s", "r\u00e9sum\u4e00"])
    assert spelt("resume", texts) == [
        ("re", "sume"),
        ("ré", "sume"),
        ("rés", "ume"),
        ("résume", ""),
        ("résumé", ""),
    ]
    assert spelt("resum", texts) == [("re", "sum"), ("ré", "sum"), ("rés", "um")]
    assert spelt("", texts) == spelt("x", texts) == spelt("resume", []) == []


def test_two_letters_are_one_or_themselves() -> None:
    texts = sorted(["fur", "fuer", "für", "fúer", "füer", "fer"])
    assert [text for text, rest in spelt("fuer", texts) if not rest] == ["fuer", "fúer", "füer", "für"]
    assert [text for text, rest in spelt("fur", texts) if not rest] == ["fur", "für"]


def test_a_list_that_is_made_for_it_is_not_looked_at_for_ever() -> None:
    accented = ("".join(letters) for letters in product("aàáâãäå", repeat=6))
    texts = sorted_texts(sorted(accented))
    looks = []

    def first_from(text: str) -> str | None:
        looks.append(text)
        return texts.first_from(text)

    found = [text for text, rest in spelt_as("a" * 6, first_from) if not rest]
    assert len(looks) == 1000 and found[0] == "a" * 6 and 100 < len(found) < 1000


@pytest.mark.parametrize("letters", ["aeéäæ", "oøöœe", "uüúe", "dđð", "eёе"])
def test_words_are_found_by_every_plain_form_and_by_nothing_else(letters: str) -> None:
    draw = random.Random(0)
    texts = sorted({"".join(draw.choices(letters, k=draw.randint(1, 5))) for _ in range(400)})
    plain = [letter for letter in letters if plain_forms(letter) == (letter,)] + ["a", "o", "u"]
    for size in range(1, 6):
        for typed in {"".join(draw.choices(plain, k=size)) for _ in range(30)}:
            found = {text for text, rest in spelt(typed, texts) if not rest}
            assert found == {text for text in texts if typed in every_form(text)}


def every_form(word: str) -> set[str]:
    """The plain forms of a word, each of its letters in one or the other form."""
    found = {""}
    for letter in word:
        found = {begun + form for begun in found for form in plain_forms(letter)}
    return found


def test_letters_with_a_form_are_decomposed_by_unicode_or_named() -> None:
    for letter in map(chr, range(0x250)):
        base = unicodedata.normalize("NFD", letter)[0]
        if letter.islower() and base.isascii() and normalise(letter) == letter:
            assert plain_forms(letter)[0] == base
