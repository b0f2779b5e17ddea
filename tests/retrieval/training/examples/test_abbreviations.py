from __future__ import annotations

import pytest

from retrieval.training.examples.abbreviations import Abbreviations, definitions


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Machado-Joseph disease (MJD) is rare.", [("MJD", "Machado-Joseph disease")]),
        ("a purchase order (PO, old: slip)", [("PO", "purchase order")]),
        ("the tyrosine kinase inhibitors (TKIs)", [("TKIs", "tyrosine kinase inhibitors")]),
        # "a" and "l" from one word, the first letter only at the start of a word
        ("this all acute leukaemia (ALL)", [("ALL", "all acute leukaemia")]),
        ("采购 purchase order（PO）", [("PO", "purchase order")]),
        ("an order (see below), one capital (Po), nothing before: (XQZ)", []),
        # Words further off than a definition reaches
        ("purchase " + "x " * 8 + "order (PO)", []),
    ],
)
def test_what_a_text_defines(text, expected):
    assert list(definitions(text)) == expected


def read(*texts):
    found = Abbreviations()
    for text in texts:
        found.read_definitions(text)
    for text in texts:
        found.read_spellings(text)
    return found.long_forms()


def test_the_most_frequent_long_form_counts_and_of_equal_ones_the_first_by_name():
    purchase, post = "a purchase order (PO)", "the Post Office (PO)"
    assert read(purchase, post, purchase) == {"po": ("purchase", "order")}
    assert read(purchase, post) == {"po": ("post", "office")}


def test_an_abbreviation_that_is_written_like_a_word_is_left_out():
    defined = "acute leukaemia (AL)"
    assert read(defined, *["an AL"] * 9, "al") == {"al": ("acute", "leukaemia")}
    assert read(defined, *["an AL"] * 8, "al") == {}


def test_a_long_form_of_several_words_without_the_abbreviation_counts():
    assert read("antibodies (AntiBo)", "bad PO purchase order (PO)", "type two DNA (D-2)") == {
        "po": ("purchase", "order")
    }
