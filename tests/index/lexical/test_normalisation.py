"""Normalising: runs of combining marks stay short, and everything else stays as it was."""

from __future__ import annotations

import re
import sys
import unicodedata
from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.lexical import normalisation, tokens
from index.lexical.normalisation import normalise, stream_safe
from retrieval.text import words as tower_text

REAL_NORMALIZE = unicodedata.normalize
JOINER = "\u034f"
# Marks of one and of two parts, of category Mn and Lm; letters that end with none, one and three.
RUNS = st.lists(
    st.tuples(
        st.sampled_from("\u0301\u0316\u0344\u0f73\u0f81\uff9e\u3099\u094d\U0001d165aᾂé中 \uff76"),
        st.integers(1, 40),
    ),
    max_size=8,
).map(lambda parts: "".join(character * count for character, count in parts))


def longest_run(text: str) -> int:
    """Combining marks in a row after decomposition."""
    classes = (unicodedata.combining(part) > 0 for part in REAL_NORMALIZE("NFKD", text))
    return max((len(list(run)) for is_mark, run in groupby(classes) if is_mark), default=0)


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("a" + "\u0301" * 30, "a" + "\u0301" * 30),
        ("a" + "\u0301" * 31, "a" + "\u0301" * 30 + JOINER + "\u0301"),
        ("\u0301" * 61 + "b", "\u0301" * 30 + JOINER + "\u0301" * 30 + JOINER + "\u0301b"),
        ("é" + "\u0316" * 30, "é" + "\u0316" * 29 + JOINER + "\u0316"),  # é ends with a mark of its own
        ("\u0344" * 16, "\u0344" * 15 + JOINER + "\u0344"),  # two marks each
        ("ᾂ" + "\u0344" * 14, "ᾂ" + "\u0344" * 13 + JOINER + "\u0344"),  # the shortest stretch: 3 + 14 * 2
        ("\uff76" + "\uff9e" * 31, "\uff76" + "\uff9e" * 30 + JOINER + "\uff9e"),
        ("-" * 100 + "\u0301" * 31, "-" * 100 + "\u0301" * 30 + JOINER + "\u0301"),
        ("中" + "—" * 40 + "文", "中" + "—" * 40 + "文"),
    ],
)
def test_long_runs_of_marks_are_broken_by_a_joiner(text: str, safe: str):
    assert stream_safe(text) == safe


@given(RUNS)
def test_runs_are_never_longer_than_thirty_and_nothing_else_changes(text: str):
    safe = stream_safe(text)
    assert longest_run(safe) <= 30
    assert stream_safe(safe) == safe
    assert safe.replace(JOINER, "") == text
    assert safe == text or longest_run(text) > 30


@pytest.mark.parametrize("tokens_of", [tokens.lexical_tokens, tower_text.words])
def test_both_tokenisers_normalise_no_long_run(tokens_of, monkeypatch: pytest.MonkeyPatch):
    seen = []

    def watched(form: str, text: str) -> str:
        seen.append(longest_run(text))
        return REAL_NORMALIZE(form, text)

    monkeypatch.setattr(unicodedata, "normalize", watched)
    assert tokens_of("a" + "\u0301\u0316" * 50)
    assert 0 < max(seen) <= 30


def test_every_mark_of_this_unicode_version_is_recognised():
    """What `stream_safe` takes for granted: how long decompositions are, and how a stretch is found."""
    for character in map(chr, range(sys.maxunicode + 1)):
        classes = [unicodedata.combining(part) for part in unicodedata.normalize("NFKD", character)]
        if all(classes):
            assert len(classes) <= 2
            assert re.fullmatch(normalisation._SUSPECT, character * normalisation._FEWEST)
        elif any(classes):
            assert not classes[0]
            assert longest_run(character) <= 3


@given(st.text(max_size=40))
def test_ordinary_text_is_normalised_as_unicode_has_it(text: str):
    assert normalise(text) == unicodedata.normalize("NFKC", text).casefold().replace("\u2019", "'")
