"""Ranges of characters, looked up by their edges, against the patterns of them."""

from __future__ import annotations

import re
import sys

import pytest

from index.lexical.cjk import CJK, COMPATIBILITY, MARKS, edges, is_within

EVERY = "".join(map(chr, range(sys.maxunicode + 1)))


@pytest.mark.parametrize(
    "ranges", [CJK, CJK + MARKS, CJK + COMPATIBILITY, "a-cd-dx-z"], ids=["CJK", "tokens", "words", "ASCII"]
)
def test_a_character_is_within_ranges_if_their_pattern_finds_it(ranges: str) -> None:
    ends = edges(ranges)
    assert "".join(each for each in EVERY if is_within(each, ends)) == "".join(
        re.findall(f"[{ranges}]", EVERY)
    )
