"""Wrong characters and words of the same sound, with a dictionary and sounds made up here."""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks.chinese_typing import Sounds, read_sounds, wrong_character, wrong_word

SYLLABLES = {"转": "zhuan", "专": "zhuan", "换": "huan", "患": "huan", "文": "wen", "件": "jian"}
LINES = ["转换 50 v", "专患 9 n", "专换 2 n", "文件 70 n", "转换文件 8 n", "T恤 9 n", "件 3 q"]


@pytest.fixture
def sounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sounds:
    def lazy_pinyin(text: str, style: object) -> Sequence[str]:
        return [SYLLABLES[character] for character in text]

    fake = SimpleNamespace(Style=SimpleNamespace(NORMAL=0), lazy_pinyin=lazy_pinyin)
    monkeypatch.setitem(sys.modules, "pypinyin", fake)
    (tmp_path / "dict.txt").write_text("\n".join(LINES))
    return read_sounds(tmp_path / "dict.txt")


def test_sounds_are_of_characters_and_words_of_chinese_alone(sounds: Sounds) -> None:
    assert sounds.of.keys() == {*SYLLABLES, "转换", "专患", "专换", "文件", "转换文件"}
    assert sounds.of["转换"] == ("zhuan", "huan")
    assert sounds.frequency["转"] == 58
    assert sounds.alike["zhuan", "huan"] == ["转换", "专患"]  # 专换 is too rare to be chosen by mistake


def test_one_character_is_changed_to_another_of_its_sound(sounds: Sounds) -> None:
    changed = {wrong_character(sounds)("转换文件 x", random.Random(seed)) for seed in range(30)}
    assert changed == {"专换文件 x", "转患文件 x"}
    assert wrong_character(sounds)("文件 x", random.Random(0)) is None


def test_one_word_that_is_not_part_of_a_longer_one_is_changed(sounds: Sounds) -> None:
    changed = {wrong_word(sounds)("把转换 x", random.Random(seed)) for seed in range(30)}
    assert changed == {"把专患 x"}
    assert {wrong_word(sounds)("专换", random.Random(seed)) for seed in range(30)} == {"转换", "专患"}
    assert wrong_word(sounds)("转换文件", random.Random(0)) is None
    assert wrong_word(sounds)("files", random.Random(0)) is None
