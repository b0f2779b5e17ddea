"""Characters that sound alike."""

from __future__ import annotations

import pytest

from retrieval.text.homophones import _FIRST, _of_syllable, homophones


def test_every_frequent_character_is_of_one_syllable() -> None:
    syllables = [_of_syllable(number) for number in range(1, len(_FIRST) + 1)]
    every = "".join(syllables)
    assert len(_FIRST) == 396
    assert [syllable[0] for syllable in syllables] == list(_FIRST)
    assert len(every) == len(set(every)) == 3755
    codes = [character.encode("gb2312") for character in every]
    assert codes == sorted(codes)
    assert (every[0], every[-1]) == ("啊", "座")


@pytest.mark.parametrize(
    ("character", "others"),
    [
        ("转", "专砖撰赚篆"),
        ("女", ""),
        ("略", "掠"),
        ("虐", "疟"),
        ("率", "驴吕铝侣旅履屡缕虑氯律滤绿"),
        ("啊", "阿"),
        ("座", "昨左佐柞做作坐"),
        ("贼", ""),  # its syllable has no other
    ],
)
def test_the_others_of_a_syllable(character: str, others: str) -> None:
    assert homophones(character) == others


@pytest.mark.parametrize("character", ["轉", "鑫", "a", "ア", "，", "é", "😀", "\ud800"])
def test_other_characters_have_none(character: str) -> None:
    assert homophones(character) == ""
