"""Sorted texts are found by bisection, whatever their script."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from index.disk.sorted_texts import sorted_texts

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=8)


@given(st.sets(st.text("aé药𠮷\0", max_size=3), max_size=20))
def test_texts_are_found_by_their_last_character(texts):
    found = sorted_texts(sorted(texts))
    for character in "aé药𠮷\0ê荮":  # the last two end in a byte that another does
        expected = [number for number, text in enumerate(sorted(texts)) if text.endswith(character)]
        assert found.ending(character).tolist() == expected


@given(st.sets(ANY_TEXT, max_size=20), st.lists(ANY_TEXT, max_size=5))
def test_each_text_has_its_place_in_the_order_of_code_points_and_others_have_none(texts, others):
    ordered = sorted(texts)
    found = sorted_texts(ordered)
    assert len(found) == len(texts)
    assert found.all() == ordered
    assert [found.number(text) for text in ordered] == list(range(len(ordered)))
    assert all(found.number(text) is None for text in others if text not in texts)
    for text in [*ordered, *others]:
        assert found.first_from(text) == next((each for each in ordered if each >= text), None)
