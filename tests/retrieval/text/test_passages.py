"""Passages: what they cover, how long they are, where they are cut."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index.dense.passages import Span
from retrieval.text.passages import passage_texts, passages
from retrieval.text.words import words

SENTENCE = "one two three four five six seven eight nine ten."


def texts(text: str, spans: list[Span]) -> list[str]:
    return [text[start:end] for start, end in spans]


def test_short_document_is_one_passage_of_its_whole_text():
    assert passages("a title", " two words ", 8, 8) == [Span(0, 11)]
    assert passages("", "", 8, 8) == [Span(0, 0)]


def test_passages_are_whole_sentences_and_overlap_by_a_quarter():
    text = " ".join(SENTENCE for _ in range(10))
    spans = passages("", text, 50, 63)  # 12 words are for the context
    assert texts(text, spans)[0] == " ".join([SENTENCE] * 5)
    assert [start // 50 for start, _ in spans] == [0, 4, 5]
    assert spans[-1].end == len(text)


def test_passages_may_be_shorter_than_what_is_left_whole():
    text = " ".join(SENTENCE for _ in range(4))
    assert passages("", text, 40, 25) == [Span(0, len(text))]
    assert len(passages("", text, 39, 25)) == 2


def test_a_passage_ends_with_its_paragraph():
    text = "\n\n".join(" ".join([SENTENCE] * count) for count in (2, 1, 3, 1, 1))
    parts = texts(text, passages("", text, 50, 50))
    assert [part.count("one") for part in parts] == [2, 1, 3, 1, 1]


def test_short_paragraphs_share_a_passage():
    text = "\n\n".join(f"item {number}" for number in range(40))
    parts = texts(text, passages("", text, 50, 50))
    assert parts[0] == "\n\n".join(f"item {number}" for number in range(5))
    assert max(len(words(part)) for part in parts) == 10


def test_the_tower_reads_a_passage_after_the_title_and_the_topic_of_its_paragraph():
    text = "About pumps. " + " ".join([SENTENCE] * 9) + "\n\nAbout wells. " + " ".join([SENTENCE] * 9)
    read = passage_texts("Water", text, passages("Water", text, 50, 50), 50)
    topics = [part.split(" one ")[0] for part in read]
    assert topics == ["Water About pumps."] * 3 + ["Water About wells."] * 3
    assert passage_texts("Water", "short", [Span(0, 5)], 40) == ["Water short"]


def test_a_long_title_leaves_room_for_the_passage():
    text = " ".join(SENTENCE for _ in range(9))
    spans = passages("zz " * 500, text, 40, 40)
    assert spans == passages("zz " * 10, text, 40, 40)
    assert [part.count("zz ") for part in passage_texts("zz " * 500, text, spans, 40)] == [8] * len(spans)


def test_chinese_and_lines_end_sentences():
    text = "启动服务。停止服务！\n查看状态\n重启"
    assert texts(text, passages("", text, 10, 10)) == ["启动服务。停止服务！", "查看状态\n重启"]


def test_a_sentence_longer_than_a_passage_is_cut_at_white_space():
    text = " ".join(f"word{number}" for number in range(100))
    parts = texts(text, passages("", text, 30, 30))
    assert max(len(words(part)) for part in parts) <= 30
    assert {word for part in parts for word in part.split()} == set(text.split())


def test_a_closing_quotation_mark_stays_with_its_sentence():
    text = "他说：“启动服务。”停止服务！"
    assert texts(text, passages("", text, 8, 8)) == ["他说：“启动服务。”", "停止服务！"]


def test_a_long_chinese_sentence_is_cut_behind_a_comma():
    text = "先安装驱动再启动服务，" * 20
    parts = texts(text, passages("", text, 30, 30))
    assert len(parts) > 1 and {part[0] for part in parts} == {"先"} and {part[-1] for part in parts} == {"，"}


@pytest.mark.parametrize("text", ["x" * 5000, "启" * 500, "a. " * 400, "\n" * 400 + "end of it " * 30])
def test_odd_texts_end_and_are_covered(text: str):
    spans = passages("", text, 16, 16)
    covered = np.zeros(len(text), bool)
    for start, end in spans:
        covered[start:end] = True
    assert all(covered[at] or text[at].isspace() for at in range(len(text)))


def test_a_short_paragraph_before_the_last_one_is_in_a_passage():
    text = "\n\n".join((SENTENCE, "A short one.", SENTENCE))
    assert texts(text, passages("", text, 15, 18)) == [SENTENCE, f"A short one.\n\n{SENTENCE}"]


def test_the_last_passage_does_not_begin_before_the_one_before_it():
    text = "one one one two. one two. one ten.\n\n one"
    assert texts(text, passages("", text, 8, 8)) == [
        "one one one two. one two.",
        "one ten.",
        "one ten.\n\n one",
    ]


@pytest.mark.parametrize("text", ["㌖", "one ㌖ two. ㌖", "㌖㌖\n\n㌖ three"])
def test_a_character_of_more_words_than_a_passage_has_room_for_is_a_passage(text: str):
    """One character that is six words (NFKC), after a title of such ones, which leaves room for one word."""
    spans = passages("㌖" * 9, text, 8, 8)
    covered = "".join(" " if not any(s <= at < e for s, e in spans) else c for at, c in enumerate(text))
    assert covered.split() == text.split()


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            ["one", "two.", "三。", "4.5", "a&&b", "six\n", "", "\t", "x-y!", "\u3000", "ten.\n\n"]
        )
    ),
    st.integers(8, 20),
    st.sampled_from(["", "title", "a rather long title of nine words, more or less"]),
)
def test_passages_cover_the_text_and_fit(parts: list[str], limit: int, title: str):
    text = " ".join(parts)
    spans = passages(title, text, limit, limit)
    assert spans == sorted(set(spans))
    assert len({end for _, end in spans}) == len(spans)
    covered = "".join(" " if not any(s <= at < e for s, e in spans) else c for at, c in enumerate(text))
    assert covered.split() == text.split()
    if len(spans) > 1:
        read = passage_texts(title, text, spans, limit)
        assert max(len(words(part)) for part in read) <= limit


def test_a_text_without_an_end_of_a_sentence_gives_each_passage_its_first_words():
    text = "word " * 200_000
    spans = passages("", text, 40, 40)
    texts = passage_texts("", text, spans, 40)
    assert len(texts) > 5000  # in the square of their number this would take an hour
    assert texts[-1].split() == ["word"] * (8 + len(text[spans[-1].start : spans[-1].end].split()))
