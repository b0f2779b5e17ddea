"""Characters that are the same one, simplified and traditional."""

from __future__ import annotations

import unicodedata
from importlib.resources import files

import pytest

from retrieval.text.variants import variants


@pytest.mark.parametrize(
    ("character", "others"),
    [
        ("国", "國"),
        ("國", "国"),
        ("发", "發髮"),
        ("髮", "发發"),
        ("啓", "启啟"),
        ("乾", "干幹榦"),
        ("中", ""),
        ("a", ""),
        ("ア", ""),
        ("", ""),
    ],
)
def test_the_other_forms(character: str, others: str) -> None:
    assert set(variants(character)) == set(others)


def test_each_is_a_form_of_its_other_forms() -> None:
    lines = files("retrieval.text").joinpath("variants.txt").read_text(encoding="utf-8").split()
    characters = set("".join(lines))
    assert len(lines) == len({line[0] for line in lines}) > 2700
    for character in characters:
        assert unicodedata.normalize("NFKC", character) == character  # so that a token can have it
        assert character not in variants(character)
        assert all(character in variants(other) for other in variants(character))
