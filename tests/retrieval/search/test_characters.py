"""Wrong characters: the likeliest reading against all readings."""

from __future__ import annotations

import math
from itertools import pairwise, product

import numpy as np
import pytest

from retrieval.search.characters import likeliest
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

    readings = product(
        *(
            [typed, *(other for other in homophones(typed) if any(known(before, other, after)))]
            if not all(known(before, typed, after))
            else [typed]
            for before, typed, after in neighbours
        )
    )
    found = likeliest(run, lambda pair: counts.get(pair, 0))
    assert score(found, run, counts) == pytest.approx(max(score("".join(r), run, counts) for r in readings))


def test_a_run_whose_pairs_are_known_is_not_searched() -> None:
    asked: list[str] = []
    assert likeliest("启动服务", lambda pair: asked.append(pair) or 1) == "启动服务"
    assert asked == ["启动", "动服", "服务"]
