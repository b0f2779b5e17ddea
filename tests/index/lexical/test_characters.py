"""A query of a single Chinese, Japanese or Korean character finds what has it, though tokens are pairs."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from index.errors import CorruptError
from index.lexical import bm25 as bm25_module
from index.lexical.bm25 import K1, B, Bm25, Terms, weigh
from index.lexical.postings import Lengths, write_bm25
from index.lexical.tokens import lexical_tokens

# Han of three and of four bytes, kana, Hangul, and a mark of repetition.
CHARACTERS = "药店吃𠮷カの물고々"
TEXTS = [
    "药店",
    "我要吃药。药 grep",
    "药",
    "药药药",
    "吃什么",
    "",
    "the 犬は水を飲む",
    "물고기 pie",
    "𠮷野家 x药y",
]


def write(folder: Path, texts: Sequence[str]) -> Bm25:
    write_bm25(folder, texts)
    return Bm25(folder, len(texts))


def plain(bm25: Bm25, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every posting is scored by numpy, as in a small segment."""


def large(bm25: Bm25, monkeypatch: pytest.MonkeyPatch) -> None:
    """Documents are passed over, as in a large segment."""
    monkeypatch.setattr(bm25_module, "_FEW_DOCUMENTS", 0)


def compiled(bm25: Bm25, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every posting is scored in a compiled loop."""
    bm25.compile()
    assert bm25._compiled is not None


Way = Callable[[Bm25, pytest.MonkeyPatch], None]
ways = pytest.mark.parametrize("way", [plain, large, compiled])


def scores_of(bm25: Bm25, query: str) -> dict[int, float]:
    found = bm25.search(weigh([bm25], query).by_segment, max(1, bm25.count))
    return {
        row: score
        for row, score in zip(found.rows[0].tolist(), found.scores[0].tolist(), strict=True)
        if row >= 0
    }


def tf_of(character: str, text: str) -> int:
    """How often a character stands in a text, each run's last or each run's first left out."""
    runs = re.findall(r"[\u3005\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7af\U00020000-\U0003ffff]+", text)
    alone = sum(run == character for run in runs)
    long = [run for run in runs if len(run) > 1]
    return alone + max(
        sum(run[:-1].count(character) for run in long), sum(run[1:].count(character) for run in long)
    )


def by_formula(query: str, texts: Sequence[str]) -> dict[int, float]:
    """BM25 in float64, a single character of the query counted by `tf_of`."""
    documents = [lexical_tokens(text) for text in texts]
    average = max(sum(map(len, documents)) / len(documents), 1e-9)
    scores = dict.fromkeys(range(len(texts)), 0.0)
    for term, weight in Counter(lexical_tokens(query)).items():
        single = len(term) == 1 and term >= "\u3005"
        counts = [
            tf_of(term, text) if single else document.count(term)
            for text, document in zip(texts, documents, strict=True)
        ]
        df = sum(map(bool, counts))
        idf = weight * math.log(1 + (len(texts) - df + 0.5) / (df + 0.5))
        for row, tf in enumerate(counts):
            scores[row] += idf * tf / (tf + K1 * (1 - B + B * len(documents[row]) / average))
    return {row: score for row, score in scores.items() if score}


def random_texts(count: int, seed: int = 0) -> list[str]:
    """Words of frequent and rare characters, some of one character, with words of Latin letters between."""
    generator = np.random.default_rng(seed)
    characters = [chr(0x4E00 + number) for number in range(60)] + list(CHARACTERS)
    shares = 1 / np.arange(1, len(characters) + 1)
    shares /= shares.sum()
    return [
        " ".join(
            "".join(generator.choice(characters, generator.integers(1, 8), p=shares))
            + str(generator.choice(["", " tar", "x", "。"]))
            for _ in range(generator.integers(1, 6))
        )
        for _ in range(count)
    ]


QUERIES = ["药", "店 吃", "用tar查", "一 丁 药店 tar", "药 药 の 々", "물", "𠮷 x", "カ zebra"]


@ways
@pytest.mark.parametrize(
    ("query", "rows"),
    [
        ("药", {0, 1, 2, 3, 8}),
        ("吃", {1, 4}),
        ("店", {0}),
        ("犬", {6}),
        ("の", set()),
        ("물", {7}),
        ("고", {7}),
        ("기", {7}),
        ("𠮷", {8}),
        ("G药", {0, 1, 2, 3, 8}),
    ],
)
def test_every_document_with_the_character_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: Way, query: str, rows: set[int]
):
    bm25 = write(tmp_path / "lexical", TEXTS)
    way(bm25, monkeypatch)
    assert scores_of(bm25, query).keys() == rows
    assert set(np.flatnonzero(bm25.having(weigh([bm25], query).by_segment[0]))) == rows


def test_a_letter_that_is_no_such_character_is_the_whole_word(tmp_path: Path):
    bm25 = write(tmp_path / "lexical", ["x", "xx", "é", "éa", "ꀀ", "ꀀꀁ"])
    assert [list(scores_of(bm25, query)) for query in ("x", "é", "ꀀ")] == [[0], [2], [4]]


@ways
@pytest.mark.parametrize("query", QUERIES)
def test_scores_are_those_of_the_formula(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: Way, query: str
):
    texts = random_texts(300)
    bm25 = write(tmp_path / "lexical", texts)
    way(bm25, monkeypatch)
    found = scores_of(bm25, query)
    assert found == pytest.approx(by_formula(query, texts), rel=1e-4)
    rows = np.random.default_rng(1).permutation(len(texts))
    (terms,) = weigh([bm25], query).by_segment
    scores, _ = bm25.match(terms, rows)
    assert scores.tolist() == pytest.approx([found.get(row, 0) for row in rows.tolist()], rel=1e-5)


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.text(CHARACTERS + "a 。", max_size=9), min_size=1, max_size=6),
    st.text(CHARACTERS + "a ", max_size=9),
)
def test_no_score_exceeds_the_weight_and_no_share_one(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], query: str
):
    bm25 = write(tmp_path_factory.mktemp("any") / "lexical", texts)
    weighed = weigh([bm25], query)
    scores, weights = bm25.match(weighed.by_segment[0], np.arange(len(texts)))
    assert weighed.words == len(set(lexical_tokens(query)))
    assert (scores <= weights * (1 + 1e-5)).all()
    assert (weights <= weighed.weight * (1 + 1e-5)).all()
    assert dict(enumerate(scores.tolist())) == pytest.approx(
        dict.fromkeys(range(len(texts)), 0.0) | by_formula(query, texts), rel=1e-4, abs=1e-6
    )


def test_the_character_weighs_as_one_word_of_all_documents_that_have_it(tmp_path: Path):
    bm25 = write(tmp_path / "lexical", TEXTS)
    weighed = weigh([bm25], "药 店 药 missing 犭")
    idf = {df: math.log(1 + (len(TEXTS) - df + 0.5) / (df + 0.5)) for df in (0, 1, 5)}
    assert weighed.weight == pytest.approx(2 * idf[5] + idf[1] + 2 * idf[0])
    assert weighed.words == 4
    (terms,) = weighed.by_segment
    scores, weights = bm25.match(terms, np.array([2, 0, 4]))
    assert weights.tolist() == pytest.approx([2 * idf[5], 2 * idf[5] + idf[1], 0])
    assert scores[2] == 0
    # One row a term, single characters last: apart from that the order is the query's.
    (terms,) = weigh([bm25], "药 grep 店").by_segment
    parts = bm25.parts(terms, np.array([0, 1]))
    assert (parts > 0).tolist() == [[False, True], [True, True], [True, False]]


@pytest.mark.parametrize("k", [1, 10, 3000])
@pytest.mark.parametrize("share", [1.0, 0.3])
def test_all_ways_rank_alike_to_the_last_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, k: int, share: float
):
    bm25 = write(tmp_path / "lexical", random_texts(1500))
    allowed = np.random.default_rng(2).random(bm25.count) < share if share < 1 else None
    queries = [weigh([bm25], query).by_segment[0] for query in QUERIES]
    first = bm25.search(queries, k, allowed)
    assert (first.rows[:, 0] >= 0).sum() >= 7
    for way in (large, compiled):
        way(bm25, monkeypatch)
        found = bm25.search(queries, k, allowed)
        assert np.array_equal(first.rows, found.rows)
        assert np.array_equal(first.scores, found.scores)


def test_compiled_loops_are_not_compiled_again(tmp_path: Path):
    loops = pytest.importorskip("index.lexical.compiled")
    bm25 = write(tmp_path / "lexical", TEXTS)
    bm25.compile()
    before = len(loops._best.signatures), len(loops._match.signatures)
    (terms,) = weigh([bm25], "药 grep").by_segment
    bm25.search([terms], 3)
    bm25.match(terms, np.arange(3))
    assert (len(loops._best.signatures), len(loops._match.signatures)) == before


def test_segments_score_as_if_they_were_one(tmp_path: Path):
    texts = random_texts(300)
    whole = write(tmp_path / "whole", texts)
    total = write_bm25(tmp_path / "unused", texts)
    segments = []
    for name, some in (("first", texts[:200]), ("second", texts[200:]), ("third", ["only latin"])):
        own = write_bm25(tmp_path / f"{name}-alone", some)
        rest = Lengths(total.documents - own.documents, total.tokens - own.tokens)
        write_bm25(tmp_path / name, some, rest)
        segments.append(Bm25(tmp_path / name, len(some)))
    for query in QUERIES:
        parts = segments[:2]
        weighed, expected = weigh(parts, query), weigh([whole], query)
        assert (weighed.weight, weighed.words) == (pytest.approx(expected.weight), expected.words)
        found = [
            bm25.match(terms, np.arange(bm25.count))[0]
            for bm25, terms in zip(parts, weighed.by_segment, strict=True)
        ]
        scores = dict.fromkeys(range(300), 0.0) | scores_of(whole, query)
        assert np.concatenate(found).tolist() == pytest.approx(list(scores.values()), rel=1e-5)
    by_segment = weigh(segments, "药").by_segment
    assert [bool(terms.characters) for terms in by_segment] == [True, True, False]
    assert not segments[2].having(by_segment[2]).any()


def test_queries_without_a_single_character_read_the_files_and_copy_nothing(tmp_path: Path):
    bm25 = write(tmp_path / "lexical", TEXTS)
    for query in ("grep pie", "药店 吃药", "x é"):
        (terms,) = weigh([bm25], query).by_segment
        stored, same = bm25._with_characters(terms)
        assert same is terms
        assert stored is bm25._postings
    assert bm25._characters == {}
    assert bm25._with_characters([])[0] is bm25._postings  # a plain list, as a test passes it
    assert Terms().characters == {}


def test_only_the_first_characters_of_a_long_query_are_looked_for_in_pairs(tmp_path: Path):
    many = [chr(0x4E00 + number) for number in range(20)]
    bm25 = write(tmp_path / "lexical", [f"{one}药" for one in many] + many[-2:])
    found = scores_of(bm25, " ".join(many))
    assert found.keys() == {*range(16), 20, 21}
    assert weigh([bm25], " ".join(many)).words == 20


def test_no_more_characters_are_looked_for_than_can_be_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Otherwise the postings of all would be merged anew for each step of each search."""
    monkeypatch.setattr(bm25_module, "_MOST_MERGED", 3)
    bm25 = write(tmp_path / "lexical", ["甲药", "甲店", "乙药", "乙店", "丙药", "丙"])
    assert scores_of(bm25, "甲 乙 丙").keys() == {0, 1, 2, 3, 5}
    assert bm25._characters.keys() == {"甲", "乙"}


def test_what_is_remembered_is_bounded_and_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    bm25 = write(tmp_path / "lexical", random_texts(100))
    expected = [scores_of(bm25, query) for query in QUERIES]
    assert len(bm25._characters) > 5
    assert bm25.postings_of_character("药") is bm25.postings_of_character("药")
    monkeypatch.setattr(bm25_module, "_KNOWN_POSTINGS", 0)
    assert [scores_of(bm25, query) for query in QUERIES] == expected
    bm25._characters.clear()
    assert [scores_of(bm25, query) for query in QUERIES] == expected
    assert len(bm25._characters) == 1


@ways
def test_a_document_of_one_character_millions_of_times_has_a_finite_score(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: Way
):
    bm25 = write(tmp_path / "lexical", ["药 店", "吃"])
    parts = np.array([1.0, 0.9999999], "<f4")[[0, 1, 1]]  # as a tf of many millions is stored
    (tmp_path / "lexical" / "weights.f32").write_bytes(parts.tobytes())
    bm25 = Bm25(tmp_path / "lexical", 2)
    way(bm25, monkeypatch)
    for query in "药店吃":
        (score,) = scores_of(bm25, query).values()
        assert score == pytest.approx(math.log(2), rel=1e-5)


@ways
@pytest.mark.parametrize("row", [99, len(TEXTS), -1, -99, 2**31 - 1, -(2**31)])
def test_row_beyond_the_corpus_is_corruption(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: Way, row: int
):
    bm25 = write(tmp_path / "lexical", TEXTS)
    path = tmp_path / "lexical" / "rows.i32"
    path.write_bytes(np.full(path.stat().st_size // 4, row, "<i4").tobytes())
    way(bm25, monkeypatch)
    with pytest.raises(CorruptError, match="damaged"):
        weigh([Bm25(tmp_path / "lexical", len(TEXTS))], "药")


@pytest.mark.parametrize("name", ["starts.i64", "term_starts.i64", "terms.utf8", "weights.f32"])
def test_damage_is_told_or_harms_nobody(tmp_path: Path, name: str):
    write(tmp_path / "lexical", random_texts(100))
    path = tmp_path / "lexical" / name
    content = path.read_bytes()
    told = 0
    for seed in range(60):
        generator = np.random.default_rng(seed)
        damaged = bytearray(content)
        for at in generator.integers(0, len(content) - 8, 20).tolist():  # not the last number
            damaged[at] = int(generator.integers(256))
        path.write_bytes(damaged)
        try:
            bm25 = Bm25(tmp_path / "lexical", 100)
            assert scores_of(bm25, "药 tar 一").keys() <= set(range(100))
        except CorruptError:
            told += 1
    assert told or name in ("terms.utf8", "weights.f32")
