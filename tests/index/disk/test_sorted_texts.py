"""Sorted texts are found by bisection, whatever their script."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from index.disk.sorted_texts import sorted_texts

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=8)


@given(st.sets(ANY_TEXT, max_size=20), st.lists(ANY_TEXT, max_size=5))
def test_each_text_has_its_place_in_the_order_of_code_points_and_others_have_none(texts, others):
    ordered = sorted(texts)
    found = sorted_texts(ordered)
    assert len(found) == len(texts)
    assert found.all() == ordered
    assert [found.number(text) for text in ordered] == list(range(len(ordered)))
    assert all(found.number(text) is None for text in others if text not in texts)
