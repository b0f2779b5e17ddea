"""Explanations: shares against the cosine of the search, counts against the cells, text and JSON."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from index.errors import InputError
from retrieval.explain.keywords import detection_counts
from retrieval.explain.shares import TextExplanation, WordExplanation, explain
from retrieval.explain.text import highlighted, strongest, to_json, word_table
from retrieval.indexing.build import build
from retrieval.model.config import ModelConfig
from retrieval.model.folder import read_model
from retrieval.search.retriever import Retriever

DOCUMENTS = {"d0": "list the files of a folder, files by size", "d1": "copy a folder", "d2": "启动服务"}
QUERY = "show files by size"
ATTENTION = ModelConfig("lstm", 8, 12, 8, "attention")
SUMS = [
    ATTENTION,
    ModelConfig("bag", 8, 4, 6),
    ModelConfig("cnn", 8, 4, 8, "attention", tie="none"),
]
OTHERS = [
    ModelConfig("dnn", 8, 4, 6),
    ModelConfig("cnn", 0, 12, 6, "max"),
    ModelConfig("lstm", 0, 4, 4, "last", tie="none"),
]


def name(config):
    return f"{config.tower}-{config.pooling}"


@pytest.fixture
def index(tmp_path, random_model):
    """Builds an index of DOCUMENTS under a random model of a config."""

    def make(config):
        random_model(config, texts=list(DOCUMENTS.values())).save(tmp_path / "m")
        lines = [json.dumps({"_id": id_, "text": text}) for id_, text in DOCUMENTS.items()]
        (tmp_path / "c.jsonl").write_text("\n".join(lines))
        build(tmp_path / "c.jsonl", tmp_path / "m", tmp_path / "i")
        return tmp_path / "i"

    return make


def shares(text):
    return [word.share for word in text.words]


@pytest.mark.parametrize("config", SUMS, ids=name)
def test_shares_of_either_side_sum_to_the_cosine_of_the_search(index, config):
    folder = index(config)
    explanation = explain(folder, QUERY, "d0")
    with Retriever.open(folder) as retriever:
        scores = {hit.id: hit.score for hit in retriever.search(QUERY, 3, "dense")}
    assert explanation.exact
    assert explanation.cosine == pytest.approx(scores["d0"], abs=3e-4)
    assert sum(shares(explanation.query)) == pytest.approx(explanation.cosine, abs=1e-12)
    assert sum(shares(explanation.document)) == pytest.approx(explanation.cosine, abs=1e-12)


@pytest.mark.parametrize("config", SUMS, ids=name)
def test_pairs_are_the_largest_and_say_where_the_shares_come_from(index, config):
    explanation = explain(index(config), "files folder", "d1")  # 2 x 3 words: every pair is among the ten
    pairs = {(pair.query, pair.document): pair.share for pair in explanation.pairs}
    assert pairs.keys() == {(q, d) for q in ("files", "folder") for d in ("copy", "a", "folder")}
    assert list(pairs.values()) == sorted(pairs.values(), reverse=True)
    for word in explanation.query.words:
        expected = sum(share for (query, _), share in pairs.items() if query == word.word)
        assert word.share == pytest.approx(expected, abs=1e-12)


def test_a_pair_counts_every_place_of_its_words(index):
    explanation = explain(index(SUMS[1]), "files", "d0")
    contributions = explanation.document.trace.composition.contributions
    places = [place for place, word in enumerate(explanation.document.words) if word.word == "files"]
    embedding = explanation.query.trace.composition.embedding
    lengths = np.linalg.norm(embedding) * np.linalg.norm(explanation.document.trace.composition.embedding)
    (pair,) = [pair for pair in explanation.pairs if pair.document == "files"]
    assert len(places) == 2
    assert pair.share == pytest.approx(float(contributions[places].sum(0) @ embedding / lengths))


@pytest.mark.parametrize("config", OTHERS, ids=name)
def test_other_towers_are_explained_by_leaving_words_out(index, config):
    folder = index(config)
    explanation = explain(folder, QUERY, "d0")
    model = read_model(folder.parent / "m")
    document = model.encoder("document").encode([DOCUMENTS["d0"]])[0]
    words = QUERY.split()
    left = [" ".join(words[:place] + words[place + 1 :]) for place in range(len(words))]
    whole, *without = model.encoder("query").encode([QUERY, *left]) @ document
    assert not explanation.exact
    assert explanation.pairs == ()
    np.testing.assert_allclose(shares(explanation.query), whole - np.array(without), atol=1e-5)


def test_a_single_word_is_the_whole_match(index):
    explanation = explain(index(OTHERS[0]), "files", "d0")
    assert shares(explanation.query) == [pytest.approx(explanation.cosine)]


def test_a_query_alone_is_compared_with_itself(index):
    folder = index(ATTENTION)
    for place in (folder, folder.parent / "m"):
        explanation = explain(place, QUERY)
        assert explanation.cosine is explanation.document is explanation.document_id is None
        assert explanation.pairs == ()
        assert sum(shares(explanation.query)) == pytest.approx(1)


def test_words_have_the_weights_and_detections_of_the_lstm(index):
    text = explain(index(ATTENTION), QUERY).query
    np.testing.assert_array_equal([word.weight for word in text.words], text.trace.composition.weights)
    assert {way: len(cells) for way, cells in text.cells.items()} == {
        "left_to_right": 10,
        "right_to_left": 10,
    }
    from_left = detection_counts(text.cells["left_to_right"], 4)
    from_right = detection_counts(text.cells["right_to_left"], 4)
    assert from_left[0] == from_right[-1] == 0
    assert [word.left_to_right for word in text.words] == [None, *from_left[1:]]
    assert [word.right_to_left for word in text.words] == [*from_right[:-1], None]
    votes = zip([9, *from_left[1:]], [*from_right[:-1], 9], strict=True)
    assert [word.keyword for word in text.words] == [min(vote) > 4 for vote in votes]


def test_words_have_the_windows_that_won_in_a_cnn(index):
    text = explain(index(OTHERS[1]), QUERY).query
    composition = text.trace.composition
    best = sorted(range(12), key=lambda feature: -composition.pooled[feature])[:10]
    expected = [sum(composition.winners[feature] == place for feature in best) for place in range(4)]
    assert [word.pooled for word in text.words] == expected
    assert sum(expected) == 10
    assert text.cells == {}


def test_the_bag_has_shares_only(index):
    word = explain(index(SUMS[1]), "files unheard").query.words[1]
    assert word == WordExplanation("unheard", False, word.share)


def test_what_cannot_be_explained_is_refused_in_a_line(index):
    folder = index(SUMS[1])
    with pytest.raises(InputError, match="a model holds no documents; give an index"):
        explain(folder.parent / "m", QUERY, "d0")
    with pytest.raises(InputError, match="no document has the id 'd9'"):
        explain(folder, QUERY, "d9")
    with pytest.raises(InputError, match="the query is empty"):
        explain(folder, " \n")
    with pytest.raises(InputError):
        explain(folder.parent / "nowhere", QUERY)


def test_json_has_every_word_and_pair(index):
    explanation = explain(index(ATTENTION), QUERY, "d0")
    content = json.loads(json.dumps(to_json(explanation), allow_nan=False))
    assert content.keys() == {"tower", "pooling", "exact", "cosine", "query", "document", "pairs", "ranking"}
    assert (content["tower"], content["pooling"], content["exact"]) == ("lstm", "attention", True)
    assert content["query"]["text"] == QUERY
    assert content["document"]["id"] == "d0"
    assert [word["word"] for word in content["query"]["words"]] == QUERY.split()
    assert content["query"]["words"][0].keys() == {
        "word", "known", "share", "weight", "left_to_right", "right_to_left", "pooled", "keyword",
    }  # fmt: skip
    assert content["query"]["cells"]["left_to_right"][0].keys() == {"cell", "output", "words"}
    assert content["pairs"][0] == explanation.pairs[0]._asdict()
    assert to_json(explain(index(ATTENTION), QUERY))["document"] is None


def explained(text, words):
    return TextExplanation(text, [WordExplanation(word, True, share) for word, share in words], {}, None)


def marked(text, words):
    return "".join(f"<{p.text}>" if p.marked else p.text for p in highlighted(explained(text, words)))


def test_strongest_words_have_half_the_largest_share():
    words = [("a", 0.4), ("b", 0.2), ("c", 0.19), ("d", -0.4)]
    assert strongest(explained("a b c d", words)) == {0, 1}
    assert strongest(explained("a b", [("a", -0.1), ("b", 0.0)])) == set()


def test_highlights_stand_where_the_words_stand():
    assert marked("The  Files, of files!", [("the", 0), ("files", 0), ("of", 0), ("files", 1)]) == (
        "The Files, of <files>!"
    )
    assert marked("启动服务", [("启动", 0), ("动服", 0), ("服务", 1), ("务", 0)]) == "启动<服务>"
    assert marked("İx size", [("i̇x", 0), ("size", 1)]) == "i̇x <size>"  # folding made a letter longer


def test_only_words_of_cjk_share_a_letter_with_the_next():
    assert marked("ꀀꀁ ꀁ", [("ꀀꀁ", 0), ("ꀁ", 1)]) == "ꀀꀁ <ꀁ>"  # Yi is written with blanks


def test_highlights_end_where_the_tower_stopped_reading():
    assert marked("one two three four", [("one", 1), ("two", 0)]) == "<one> two … (read no further)"
    assert marked("one two.", [("one", 1), ("two", 0)]) == "<one> two."


def test_of_a_very_long_text_no_more_is_read_than_shown(monkeypatch):
    read = []
    monkeypatch.setattr(
        "retrieval.explain.text.normalise", lambda text: read.append(len(text)) or text.lower()
    )
    found = marked("One two three " * 100_000, [("one", 1), ("two", 0), ("three", 0)])
    assert found == "<One> two three … (read no further)"
    assert read[0] <= 1 << 18


def lines(text):
    return ["".join(piece.text for piece in line) for line in word_table(text)]


def test_table_has_bars_as_long_as_shares():
    printed = lines(explained("a b c 启动", [("a", 0.4), ("b", 0.2), ("c", -0.1), ("启动", 0.0)]))
    assert printed[0].split() == ["word", "share"]
    assert [line.split()[1] for line in printed[1:]] == ["+0.400", "+0.200", "-0.100", "+0.000"]
    assert [line.count("█") for line in printed[1:]] == [24, 12, 0, 0]
    assert printed[3].count("░") == 6
    assert printed[4].startswith("启动 ")  # two letters as wide as four


def test_signs_above_a_letter_take_no_column():
    printed = lines(explained("abcdef हिन्दी", [("abcdef", 0.4), ("हिन्दी", 0.2)]))
    assert printed[1].startswith("abcdef   +0.400")
    assert printed[2].startswith("हिन्दी    +0.200")  # six characters in five columns


def test_table_of_a_long_text_keeps_the_largest_shares_in_order():
    words = [(f"w{number}", number % 20 / 100) for number in range(40)]
    printed = lines(explained(" ".join(word for word, _ in words), words))
    assert len(printed) == 18
    assert printed[-1] == "... and 24 words of smaller shares"
    places = [int(re.match(r"w(\d+)", line)[1]) for line in printed[1:-1]]
    assert places == sorted(places) == [*range(12, 20), *range(32, 40)]


def test_table_shows_what_applies_to_the_tower(index):
    assert lines(explain(index(ATTENTION), QUERY).query)[0].split() == [
        "word", "share", "weight", "cells", ">", "<",
    ]  # fmt: skip
    assert lines(explain(index(OTHERS[1]), QUERY).query)[0].split() == ["word", "share", "windows"]
    assert lines(explain(index(SUMS[1]), QUERY).query)[1].endswith("(unseen)")
