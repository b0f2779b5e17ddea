"""Wrong characters: the likeliest reading against all readings."""

from __future__ import annotations

import math
from itertools import pairwise, product

import numpy as np
import pytest

from retrieval.search.characters import _likeliest, read_characters
from retrieval.text.homophones import homophones


def score(run: str, typed: str, counts: dict[str, int]) -> float:
    pairs = sum(math.log(counts.get(before + after, 0) + 0.5) for before, after in pairwise(run))
    return pairs - 4 * sum(read != character for read, character in zip(run, typed, strict=True))


@pytest.mark.parametrize("seed", range(20))
def test_no_reading_is_likelier(seed: int) -> None:
    generator = np.random.default_rng(seed)
    characters = "三桑搔日戎您" + homophones("三") + homophones("桑")[:2] + homophones("日")
    pairs = ["".join(generator.choice(list(characters), 2)) for _ in range(60)]
    counts = dict(zip(pairs, generator.integers(1, 500, 60).tolist(), strict=True))
    run = "".join(generator.choice(list(characters), 5))
    neighbours = list(zip(["", *run[:-1]], run, [*run[1:], ""], strict=True))

    def known(before: str, read: str, after: str) -> list[bool]:
        return [not before or before + read in counts, not after or read + after in counts]

    def others(before: str, typed: str, after: str) -> list[str]:
        alike = homophones(typed)
        if all(known(before, typed, after)):
            return []
        return [each for each in alike if len(alike) <= 6 or any(known(before, each, after))]

    readings = product(*([typed, *others(before, typed, after)] for before, typed, after in neighbours))
    found = _likeliest(run, homophones, 4, lambda pair: counts.get(pair, 0))
    assert score(found, run, counts) == pytest.approx(max(score("".join(r), run, counts) for r in readings))


def test_of_a_query_whose_pairs_are_known_only_these_are_looked_up() -> None:
    asked: list[str] = []
    assert read_characters("启动服务 nginx 服", lambda pair: asked.append(pair) or 1) == "启动服务 nginx 服"
    assert asked == ["启动", "动服", "服务"]


@pytest.mark.parametrize(
    ("typed", "documents", "meant"),
    [
        ("啓動一個指定的活動", "启动一个指定的活动", "启动一个指定的活动"),
        ("启动一个指定的活动", "啟動一個指定的活動", "啟動一個指定的活動"),
        ("啓動一個指定的活動", "啟動一個指定的活動", "啟動一個指定的活動"),  # Hong Kong and Taiwan
        ("理发 发展", "理髮 發展", "理髮 發展"),  # one simplified character for two others
        ("启动一个指定的活动", "啟動 活動", "啟動一个指定的活動"),  # the others say nothing
        ("將意圖專換為地址", "将意图转换为地址", "将意图转换为地址"),  # and a wrong one
        ("將意圖專換為地址", "將意圖轉換為地址", "將意圖轉換為地址"),
        ("将意图专换为地址", "將意圖轉換為地址", "將意圖轉換為地址"),
    ],
)
def test_a_query_is_read_in_the_script_of_the_documents(typed: str, documents: str, meant: str) -> None:
    pairs = {before + after for before, after in pairwise(documents)}
    assert read_characters(typed, lambda pair: 9 * (pair in pairs)) == meant
