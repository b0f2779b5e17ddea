from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from index.disk import merged_texts
from index.disk.merged_texts import TextBlocks
from index.disk.sorted_texts import sorted_texts

BLOCKS = [["b", "a", "启动"], [], ["c", "b", "é", "", "z"], ["a"]]


def stored(folder: Path, blocks: list[list[str]]) -> TextBlocks:
    found = TextBlocks(folder)
    for texts in blocks:
        found.add(texts)
    return found


def test_a_block_is_sorted_and_says_where_each_text_went(tmp_path: Path):
    blocks = TextBlocks(tmp_path)
    assert blocks.add(["b", "a", "启动", "B"]).tolist() == [2, 1, 3, 0]
    assert blocks.texts(0).all() == ["B", "a", "b", "启动"]
    assert blocks.order(0).tolist() == [3, 1, 0, 2]
    assert blocks.sizes == [4]


@pytest.mark.parametrize("at_once", [1, 4, 8, 1000])
def test_blocks_are_merged_part_by_part(tmp_path: Path, at_once: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(merged_texts, "_MERGED_AT_ONCE", at_once)
    blocks = stored(tmp_path, BLOCKS)
    every: list[str] = []
    for texts, parts in blocks.merged():
        for block, numbers in enumerate(parts):
            blocks.note(block, len(every) + numbers)
        every += texts
    assert every == ["", "a", "b", "c", "z", "é", "启动"]
    for block, texts in enumerate(BLOCKS):
        assert [every[number] for number in blocks.noted(block)] == sorted(texts)


def test_parts_are_small_however_many_blocks_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(merged_texts, "_MERGED_AT_ONCE", 100)
    chance = random.Random(0)
    given = [list({f"w{chance.randrange(10_000)}" for _ in range(400)}) for _ in range(10)]
    parts = [(len(texts), sum(map(len, numbers))) for texts, numbers in stored(tmp_path, given).merged()]
    assert sum(distinct for distinct, _ in parts) == len(set().union(*given))
    assert max(total for _, total in parts) < 250


def test_no_blocks_have_no_texts(tmp_path: Path):
    assert list(TextBlocks(tmp_path).merged()) == []
    assert [texts for texts, _ in stored(tmp_path, [[]]).merged()] == [[]]


def test_texts_between_numbers_and_how_many_come_before_a_text():
    texts = sorted_texts(["a", "b", "bb", "é", "\ud800", "启"][:4])
    assert texts.between(1, 3) == ["b", "bb"]
    assert texts.between(2, 2) == []
    assert [texts.smaller(one) for one in ("", "a", "ab", "bb", "c", "é", "启")] == [0, 0, 1, 2, 3, 3, 4]
    assert np.array_equal(texts.starts, [0, 1, 2, 4, 6])
