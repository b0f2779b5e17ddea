"""Snippets: the right stretch, the right words marked, no character lost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import retrieval.text.snippet as snippets
from retrieval.text.snippet import Piece, snippet


def marked(query, text, width=200):
    return [piece.text for piece in snippet(query, text, width) if piece.marked]


def shown(query, text, width=200):
    return "".join(piece.text for piece in snippet(query, text, width))


def test_words_of_the_query_are_marked_where_they_stand():
    assert snippet("list files", "ls - list directory contents") == [
        Piece("ls - ", False),
        Piece("list", True),
        Piece(" directory contents", False),
    ]


@pytest.mark.parametrize(
    ("query", "text", "expected"),
    [
        ("LIST", "List the list", ["List", "list"]),
        ("files", "A file, two filenames, profile", ["file", "filenames"]),
        ("copying", "copy, copies, copying", ["copying"]),
        ("listing", "listings listed list", ["listings"]),
        ("cat", "cat catalog concat", ["cat"]),
        ("a file", "a file and an apple", ["a", "file"]),
        ("启动服务", "如何启动一个服务", ["启动", "服务"]),
        ("数据库", "备份数据库和数据", ["数据库", "数据"]),
        ("猫", "我家的猫", ["猫"]),
        ("养猫", "养猫人的猫", ["养猫"]),
        ("𠮷野家", "去𠮷野家吃饭", ["𠮷野家"]),
        ("docker", "使用Docker容器, dockerized", ["Docker", "dockerized"]),
        ("file", "profile文件file", ["file"]),
        ("RTX4090", "ＲＴＸ４０９０显卡、rtx4090Ti、RTX4060", ["ＲＴＸ４０９０"]),
        ("５Ｇ套餐", "5g套餐：128元", ["5g", "套餐"]),
        ("किताब", "यह किताबें", ["किताबें"]),  # with the vowel sign and the nasal behind the word
        ("cafe", "a cafe\u0301 here", ["cafe\u0301"]),
        ("tar -xzf", "run tar -xzf x", ["tar", "-xzf"]),
        ("c++", "use c++ here", ["c++"]),
        ("AB1234", "AB1299, ab1234, AB12345", ["ab1234"]),
        ("2.13.0", "version 2.13.0, not 2x13y0", ["2.13.0"]),
        ("a.b", "aXb", []),
        ("?!", "what?!", ["?!"]),
        ("zebra", "nothing of it", []),
        ("", "some text", []),
    ],
)
def test_what_is_marked(query, text, expected):
    assert marked(query, text) == expected


def test_white_space_runs_become_one_space():
    assert shown("x", "a\n\n  b\t c ") == "a b c"


def test_a_short_text_is_shown_whole():
    assert shown("nothing", "word " * 30, 200) == ("word " * 30).strip()


def test_empty_text_shows_nothing():
    assert snippet("query", " \n ") == []


def test_a_long_text_shows_where_most_of_the_query_is():
    text = "filler words here. " * 50 + "the needle of the haystack stands. " + "more filler. " * 50
    pieces = snippet("needle haystack", text, 100)
    assert pieces[0] == Piece("… ", False)
    assert pieces[-1] == Piece(" …", False)
    assert marked("needle haystack", text, 100) == ["needle", "haystack"]
    assert len(shown("needle haystack", text, 100)) <= 100 + 4


def test_without_a_match_the_beginning_is_shown():
    text = "first things first. " * 40
    assert shown("absent", text, 80).startswith("first things")
    assert shown("absent", text, 80).endswith(" …")


def test_cuts_fall_between_words():
    text = " ".join(f"word{n}" for n in range(300))
    inner = [p.text for p in snippet("word150", text, 120) if p.text not in ("… ", " …")]
    assert "word150" in inner
    assert set("".join(inner).split()) <= set(text.split())


def inner(query, text, width):
    """What is shown without the ellipses."""
    pieces = snippet(query, text, width)
    return "".join(piece.text for piece in pieces if piece not in (Piece("… ", False), Piece(" …", False)))


def test_chinese_is_cut_behind_punctuation():
    text = (
        "充电时请使用原装充电器，不要使用其他品牌。" * 5
        + "他说：“保修期为两年。”"
        + "屏幕不保修；电池也是，" * 9
    )
    shown_text = inner("保修期", text, 60)
    assert shown_text in text and "保修期" in shown_text
    before, after = text.split(shown_text)[0], text[text.index(shown_text) + len(shown_text) :]
    assert before.endswith(("，", "。", "：")) and shown_text[-1] in "，。；”"
    assert after[0] not in "，。；”"


def test_no_word_is_cut_where_there_are_no_spaces():
    text = "请先安装Kubernetes然后启动服务" * 20 + "最后检查日志" + "请先安装Kubernetes然后启动服务" * 20
    for width in range(60, 110):
        cut = inner("检查日志", text, width)
        assert "检查日志" in cut
        assert cut.count("K") == cut.count("s") == cut.count("Kubernetes")


@pytest.mark.parametrize(
    "characters",
    [
        ["कि", "ता", "बें"],
        ["น้ำ", "ใ", "ส่"],
        ["த", "மி", "ழ்"],
        ["e\u0301"],
        ["👩\u200d💻", "👍\U0001f3fd"],
        ["禰\U000e0100"],
    ],
)
def test_no_character_is_parted_from_its_signs(characters):
    word = "".join(characters)
    bounds = {len("".join(characters[:n])) for n in range(len(characters))}
    text = word * 100 + "页" + word * 100
    for width in range(40, 70):
        left, found, right = inner("页", text, width).partition("页")
        assert found and (-len(left)) % len(word) in bounds and len(right) % len(word) in bounds


def test_a_match_at_the_end_is_shown():
    text = "filler " * 100 + "needle"
    assert marked("needle", text, 60) == ["needle"]
    assert not shown("needle", text, 60).endswith("…")


def test_a_match_longer_than_what_is_shown_is_marked():
    assert snippet("哈哈", "哈" * 500, 60) == [Piece("哈" * 60, True), Piece(" …", False)]


@pytest.mark.parametrize("sign", ["\U0001f3fd", "\u0301"])
def test_signs_are_looked_at_only_where_they_are_shown(monkeypatch, sign):
    looked = []
    parts = snippets._parts_a_character
    monkeypatch.setattr(snippets, "_parts_a_character", lambda text, at: looked.append(at) or parts(text, at))
    assert marked(2 * sign, 2000 * sign, 60)
    assert len(looked) < 1000


def test_a_very_long_word_does_not_break_it():
    assert shown("x" * 500, "x" * 5000, 100)
    assert shown("a" * 100_000, "some text")


def test_only_the_beginning_of_a_very_long_text_is_looked_at(monkeypatch):
    looked = []

    class Watched:
        def finditer(self, text):
            looked.append(len(text))
            return iter(())

    monkeypatch.setattr(snippets, "_pattern", lambda *_: Watched())
    shown("word", " " * 500_000 + "some words " * 1_000_000)
    assert 100_000 < looked[0] <= 1 << 18


def test_a_very_long_text_is_shown_like_its_beginning():
    beginning = "filler words here. " * 5_000 + "the needle of the haystack. " + "more filler. " * 500
    assert snippet("needle haystack", beginning + "more filler. " * 50_000) == snippet(
        "needle haystack", beginning
    )
    assert shown("x", "one" + " " * 300_000 + "two") == "one …"
    assert marked("two", "one " + "x" * 262_137 + " twofold") == []  # half a word is none
    assert marked("保修", "标题 " + "页" * 200_000 + "保修" + "页" * 100_000) == ["保修"]
    assert shown("x", " " * 300_000) == " …"


@given(st.text(max_size=40), st.text(max_size=300), st.integers(1, 120))
def test_pieces_put_together_are_a_stretch_of_the_text(query, text, width):
    pieces = snippet(query, text, width)
    flat = " ".join(text.split())
    start = pieces[1:] if pieces and pieces[0] == Piece("… ", False) and not flat.startswith("… ") else pieces
    stretch = start[:-1] if start and start[-1] == Piece(" …", False) and not flat.endswith(" …") else start
    joined = "".join(piece.text for piece in stretch)
    assert joined in flat
    assert all(piece.text for piece in pieces)
    assert len(joined) <= width or joined == flat
