"""Features of many words at once are those of each word alone, looked up one by one."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.text import feature_table, vocabulary
from retrieval.text.feature_table import FeatureTable
from retrieval.text.vocabulary import Vocabulary, ragged
from retrieval.text.words import trigrams

# Words as `words` gives them: no white space; of few letters, so that trigrams meet again.
LETTERS = st.sampled_from("ab#-1é\u0300启动豈𠮷\udcff\0")
WORD = st.text(LETTERS, max_size=6)
NAME = st.one_of(st.text(LETTERS, max_size=4), WORD.map(lambda word: f" {word} "))


def one_by_one(names: list[str], buckets: int, word: str) -> list[int]:
    """The features of a word, as docs/tokeniser.md has them."""
    ids = {name: number for number, name in enumerate(names, buckets)}
    grams = trigrams(word)
    found = [ids.get(g, zlib.crc32(g.encode(errors="surrogatepass")) % buckets) for g in grams]
    return found + [ids[name] for name in (f" {word} ",) if name in ids]


@given(st.lists(NAME, max_size=12), st.integers(1, 9), st.lists(WORD, max_size=12))
def test_features_of_many_words_are_those_of_each(names, buckets, words):
    found = Vocabulary(tuple(names), buckets).features_of(words)
    expected = ragged([one_by_one(names, buckets, word) for word in words])
    assert found.values.tolist() == expected.values.tolist()
    assert found.offsets.tolist() == expected.offsets.tolist()
    assert (found.values.dtype, found.offsets.dtype) == (np.int32, np.int64)


@given(st.lists(NAME, max_size=12), st.lists(WORD, min_size=1, max_size=6))
def test_words_are_found_in_a_sorted_table_few_or_many(names, words):
    table = feature_table.feature_table(names, 3)
    stored = FeatureTable(table.grams, table.gram_ids, table.sorted_words())
    few = stored.ids_of_words(words)
    many = stored.ids_of_words(words * 65)
    assert few.tolist() == table.ids_of_words(words).tolist()
    assert many.tolist() == few.tolist() * 65


@given(st.lists(WORD, min_size=1, max_size=4))
def test_keys_of_few_words_are_those_of_many(words):
    keys, counts = feature_table.keys_of(words)
    many, many_counts = feature_table.keys_of(words * 9)
    assert (keys.dtype, counts.dtype) == (many.dtype, many_counts.dtype)
    assert many.tolist() == keys.tolist() * 9
    assert many_counts.tolist() == counts.tolist() * 9


def test_words_are_looked_up_in_blocks(monkeypatch):
    names = ("#ca", "cat", "at#", " cat ")
    words = ["cat", "", "dog", "启动", "cat"]
    together = Vocabulary(names, 4).features_of(words)
    monkeypatch.setattr(vocabulary, "_WORDS_AT_ONCE", 2)
    blocks = Vocabulary(names, 4).features_of(words)
    assert blocks.values.tolist() == together.values.tolist()
    assert blocks.offsets.tolist() == together.offsets.tolist()


@pytest.mark.parametrize("gram", ["abc", "#\0#", "#é#", "#启动#", "##", "#𠮷野#", "\udcff##", "\x7f\x7f\x7f"])
def test_the_crc_of_a_key_is_that_of_its_trigram(gram):
    word = "" if gram == "##" else gram.strip("#") if gram[0] == "#" else gram
    keys, _ = feature_table.keys_of([word])
    crcs = dict(zip(trigrams(word), feature_table.crc_of_keys(keys).tolist(), strict=True))
    assert crcs == {g: zlib.crc32(g.encode(errors="surrogatepass")) for g in trigrams(word)}
