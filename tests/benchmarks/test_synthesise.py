"""The properties that made documents share with real ones, counted here by other means than in the benchmark.

Real texts are drawn from the process that they are held to follow, with words that have favourite neighbours.
Documents are made from the first half of them; what comes is compared with what half and whole really have.
"""

from __future__ import annotations

import gzip
import json
import math
import random
from collections import Counter, defaultdict
from itertools import pairwise

import numpy as np
import pytest

from benchmarks.scale import synthesise
from index.numbering import Numbering

DOCUMENTS = 6000
HALF = DOCUMENTS // 2
DISCOUNT = 0.6


def words(text):
    return [word.casefold() for word in synthesise._WORD.findall(text)]


class PitmanYor:
    """Draws: a new value with probability (t + d V) / (t + n), an old one as its count less d."""

    def __init__(self, chance, strength, new):
        self.chance, self.strength, self.new = chance, strength, new
        self.counts, self.drawn = Counter(), []

    def draw(self):
        value = None
        if self.chance.random() * (self.strength + len(self.drawn)) >= self.strength:
            value = self.chance.choice(self.drawn)
        if value is None or self.chance.random() * self.counts[value] < DISCOUNT:
            value = self.new()
        self.counts[value] += 1
        self.drawn.append(value)
        return value


def real_documents():
    """Names of two to four words, texts of 3 to 14 with favourite neighbours and words of the name."""
    chance = random.Random(3)
    letters = "abcdefghijklmnopqrstuvwxyz"
    vocabulary = PitmanYor(chance, 200, lambda: "".join(chance.choices(letters, k=chance.randint(4, 9))))
    after = defaultdict(lambda: PitmanYor(chance, 2, vocabulary.draw))
    documents, taken = [], set()
    while len(documents) < DOCUMENTS:
        name = [vocabulary.draw() for _ in range(chance.randint(2, 4))]
        text = [vocabulary.draw()]
        for _ in range(chance.randint(2, 13)):
            text.append(chance.choice(name) if chance.random() < 0.1 else after[text[-1]].draw())
        key, value = "-".join(name), " ".join(text).capitalize() + "."
        if key not in taken and value not in taken:
            taken |= {key, value}
            documents.append((key, value))
    chance.shuffle(documents)
    return documents


@pytest.fixture(scope="module")
def real():
    return real_documents()


@pytest.fixture(scope="module")
def made(real):
    names, texts = zip(*real[:HALF], strict=True)
    return list(synthesise.made(names, texts, DOCUMENTS - HALF, 7))


def texts_of(documents):
    return [text for _, text in documents]


def test_there_are_as_many_as_asked_for_and_none_has_the_id_or_the_text_of_another(real, made):
    assert len(made) == HALF
    for part in (0, 1):
        assert len({document[part] for document in real[:HALF] + made}) == DOCUMENTS


def test_lengths_are_those_of_the_real_ones(real, made):
    """In words: each decile of names and texts."""
    for part in (0, 1):
        before, after = (sorted(len(words(one[part])) for one in some) for some in (real[:HALF], made))
        for tenth in range(1, 10):
            assert abs(before[HALF * tenth // 10] - after[HALF * tenth // 10]) <= 1
        assert np.mean(after) == pytest.approx(np.mean(before), rel=0.03)


def test_words_are_as_frequent_as_in_the_real_ones(real, made):
    before, after = (
        Counter(word for text in texts_of(some) for word in words(text)) for some in (real[:HALF], made)
    )
    for word, count in before.most_common(40):
        assert after[word] == pytest.approx(count, abs=5 * math.sqrt(count) + 0.05 * count)


def test_neighbouring_words_are_those_of_the_real_ones(real, made):
    before, after = (
        Counter(pair for text in texts_of(some) for pair in pairwise(words(text)))
        for some in (real[:HALF], made)
    )
    for pair, count in before.most_common(40):
        assert after[pair] == pytest.approx(count, abs=5 * math.sqrt(count) + 0.05 * count)
    # Of as many more real texts a share has pairs that the first did not have; so have made ones.
    really = Counter(pair for text in texts_of(real[HALF:]) for pair in pairwise(words(text)))
    new = [
        sum(n for pair, n in some.items() if pair not in before) / some.total() for some in (really, after)
    ]
    assert new[1] == pytest.approx(new[0], rel=0.15)


def distinct(documents):
    return len({word for document in documents for part in document for word in words(part)})


def test_the_vocabulary_grows_as_with_more_real_ones(real, made):
    """Heaps' law: as many distinct words in twice the documents, as twice the real documents have."""
    assert distinct(real[:HALF] + made) == pytest.approx(distinct(real), rel=0.05)
    assert distinct(real) > 1.3 * distinct(real[:HALF])  # or it would say nothing


def test_made_up_words_come_again_about_half_as_often_as_new_words_of_more_real_ones(real, made):
    known = {word for document in real[:HALF] for part in document for word in words(part)}
    shares = []
    for some in (real[HALF:], made):
        new = Counter(
            word for document in some for part in document for word in words(part) if word not in known
        )
        shares.append(sum(count > 1 for count in new.values()) / len(new))
    assert 0.4 * shares[0] < shares[1] < 1.1 * shares[0]
    assert shares[0] > 0.1


def test_rare_words_of_a_text_stand_in_its_name_though_less_often_than_in_the_real_ones(real, made):
    shares = []
    for some in (real[:HALF], made):
        names, texts = (Counter(word for one in some for word in words(one[part])) for part in (0, 1))
        asked = [
            word in words(name)
            for name, text in some
            if any(names[one] == 1 for one in words(name))
            for word in words(text)
            if texts[word] == 1
        ]
        shares.append(np.mean(asked))
    assert 0.2 * shares[0] < shares[1] < 1.1 * shares[0]
    assert shares[0] > 0.1


def test_the_same_seed_gives_the_same_documents_and_another_seed_others(real, made):
    names, texts = zip(*real[:HALF], strict=True)
    assert list(synthesise.made(names, texts, 100, 7)) == list(synthesise.made(names, texts, 100, 7))
    assert list(synthesise.made(names, texts, 100, 8)) != list(synthesise.made(names, texts, 100, 7))


def test_a_walk_has_the_length_of_its_text_and_each_step_a_word_after_which_as_many_come():
    field = synthesise.field_of(["(a b c)", "", "A d", "b e f"], Numbering(), 0)
    assert field.leads == ["(", "", "", ""]
    assert [field.written[piece] for piece in field.pieces] == ["a ", "b ", "c)", "A ", "d", "b ", "e ", "f"]
    assert field.words.tolist() == [0, 1, 2, 0, 3, 1, 4, 5]
    assert field.ascending.tolist() == [2, 0, 3]
    # No two places have the same word and as many to come, so only turns leave a text.
    still = field._replace(turn=np.zeros_like(field.turn))
    chosen = np.array([0, 2, 3])
    assert [places.tolist() for places in synthesise.walk(still, chosen, np.random.default_rng(0))] == [
        [0, 1, 2], [3, 4], [5, 6, 7],
    ]  # fmt: skip
    turning = field._replace(turn=np.ones_like(field.turn))
    seen = {
        tuple(places)
        for _ in range(50)
        for places in synthesise.walk(turning, chosen[:1], np.random.default_rng(_))
    }
    assert seen == {(0, second, third) for second in (1, 6) for third in (2, 4, 7)}


def test_heaps_exponent_of_a_vocabulary_that_never_and_one_that_always_grows():
    texts = np.repeat(np.arange(500), 2)
    assert synthesise.heaps_exponent(np.tile([1, 2], 500), texts, 0) == 0
    assert synthesise.heaps_exponent(np.arange(1000), texts, 0) == pytest.approx(1)


def test_texts_of_which_no_more_can_be_made_are_an_error():
    with pytest.raises(ValueError, match=r"no more than \d+ unlike"):
        list(synthesise.made(["1", "2"], ["1", "2"], 1000, 0))


def test_the_output_begins_with_the_real_documents_and_is_whole(tmp_path, real, monkeypatch, capsys):
    monkeypatch.setattr(synthesise, "_SECONDS_BETWEEN_REPORTS", 0.0)
    corpus, output = tmp_path / "corpus.jsonl", tmp_path / "made.jsonl.gz"
    corpus.write_text("".join(json.dumps({"_id": a, "title": a, "text": b}) + "\n" for a, b in real[:HALF]))
    synthesise.synthesise(corpus, output, HALF + 500, 0)
    with gzip.open(output, "rt", encoding="utf-8") as file:
        written = [json.loads(line) for line in file]
    assert [(one["_id"], one["text"]) for one in written[:HALF]] == real[:HALF]
    assert len(written) == HALF + 500
    assert all(one["title"] == one["_id"] for one in written)
    assert "1,000 of 3,500 documents" in capsys.readouterr().err
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["corpus.jsonl", "made.jsonl.gz"]
    synthesise.synthesise(corpus, output, 200, 0)
    with gzip.open(output, "rt", encoding="utf-8") as file:
        assert sum(1 for _ in file) == 200
