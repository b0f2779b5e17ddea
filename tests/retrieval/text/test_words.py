"""Text to words, trigrams and features: worked by hand, and properties of every string there is."""

from __future__ import annotations

import json
import string
import zlib

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from index.lexical.normalisation import normalise
from index.lexical.simple import is_simple
from index.lexical.tokens import _tokens_of_any_script, lexical_tokens
from retrieval.text.vocabulary import Lexicon, Vocabulary, learn_vocabulary, ragged
from retrieval.text.words import _ascii_words, _words_of_any_script, document_text, trigrams, words

# Every code point, halves of surrogate pairs included: a shell hands over bytes that are not UTF-8 as such.
ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=60)


ASCII = st.text(st.characters(max_codepoint=127), max_size=60)


@given(ASCII, st.sampled_from([None, 1, 3]))
@example("list files by size", None)
def test_the_quick_way_finds_in_ascii_the_words_that_the_general_one_finds(text, limit):
    text = normalise(text)
    assert _ascii_words(text, limit) == _words_of_any_script(text, limit)
    long = f"{text} {'x' * 300} {text}"  # of which the quick way finds one word after the other
    assert _ascii_words(long, limit) == _words_of_any_script(long, limit)


# Of ASCII and each kind of character that is read in pairs: unassigned, a mark and a sign of kana among them.
SIMPLE = st.text(st.sampled_from("启动のカ한𠮷\u3040\u3099・ aZ7-+#'._=&|<>:!\n"), min_size=1, max_size=20)


@given(SIMPLE, st.sampled_from([None, 1, 3]))
@example("-启动 c++启#动 a'启 7.0动-a", None)
def test_the_quick_way_finds_in_simple_texts_what_the_general_one_finds(text, limit):
    text = f"{normalise(text)}界"
    assert is_simple(text)
    assert words(text, limit) == _words_of_any_script(text, limit)
    assert lexical_tokens(text) == _tokens_of_any_script(text)


@pytest.mark.parametrize("text", ["é启动", "启动。", "人々", "é", "塚\ufa10", "启" * 65])
def test_other_texts_are_not_simple(text):
    assert not is_simple(text)


@given(ASCII)
@example("list files by size")
def test_the_quick_way_finds_in_ascii_the_terms_that_the_general_one_finds(text):
    assert lexical_tokens(text) == _tokens_of_any_script(normalise(text))


def test_an_option_and_a_short_name_with_signs_are_their_own_stems():
    letters = string.ascii_lowercase
    for token in [
        *(f"-{c}" for c in letters + string.digits),
        *(f"{c}{s}" for c in letters for s in ("++", "#")),
    ]:
        assert lexical_tokens(f"say {token} .") == ["say", token]


def test_stems_that_are_forgotten_are_found_again(monkeypatch):
    monkeypatch.setattr("index.lexical.tokens._KNOWN_STEMS", 1)
    assert lexical_tokens("cats running the cats") == ["cat", "run", "cat"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Tar -XZF", "tar -xzf"),
        ("ＦｕｌｌＷｉｄｔｈ １２", "fullwidth 12"),
        ("ﬁle", "file"),
        ("Straße", "strasse"),
        ("don’t", "don't"),
        ("ΣΊΣΥΦΟΣ", "σίσυφοσ"),
        ("ｶﾞ", "ガ"),
        ("①", "1"),
    ],
)
def test_forms_of_one_text_become_one(text, expected):
    assert normalise(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tar -xzf my_file.tar.gz", ["tar", "-xzf", "my", "file", "tar", "gz"]),
        ("git --list-slots", ["git", "list", "slots"]),
        ("path/to/file.jar", ["path", "to", "file", "jar"]),
        ("numpy 2.13.0 and 3.14", ["numpy", "2.13.0", "and", "3.14"]),
        ("C++ or C# or c", ["c++", "or", "c#", "or", "c"]),
        ("a && b || c", ["a", "&&", "b", "||", "c"]),
        ("x >= 3 -> y", ["x", ">=", "3", "->", "y"]),
        ("ls>>log", ["ls", ">>", "log"]),
        ("std::sort", ["std", "::", "sort"]),
        ("Don't, it’s", ["don't", "it's"]),
        ("ABC-123/X99", ["abc", "123", "x99"]),
        ("-x -toolong well-known", ["-x", "toolong", "well", "known"]),
        ("aaaa 1000000", ["aaaa", "1000000"]),
        ("naïve façade", ["naïve", "façade"]),
        ("Привет, мир!", ["привет", "мир"]),
    ],
)
def test_words_of_prose_and_commands(text, expected):
    assert words(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("启动服务", ["启动", "动服", "服务", "务"]),
        ("启", ["启"]),
        ("用 docker 启动nginx服务", ["用", "docker", "启动", "动", "nginx", "服务", "务"]),
        ("カタカナ", ["カタ", "タカ", "カナ", "ナ"]),
        ("한국어", ["한국", "국어", "어"]),
        ("启动，服务。", ["启动", "动", "服务", "务"]),
        ("𠮷野家", ["𠮷野", "野家", "家"]),
        ("第3章", ["第", "3", "章"]),
    ],
)
def test_cjk_is_read_as_pairs_of_characters_within_a_run(text, expected):
    assert words(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("", [""]), (" \t\n ", [""]), ("?!", ["?!"]), ("?! ...  ♥", ["?!", "...", "♥"]), ("_", ["_"])],
)
def test_text_without_words_still_has_one(text, expected):
    assert words(text) == expected


def test_limit_keeps_the_first_words():
    assert words("one two three four", 2) == ["one", "two"]
    assert words("启动服务", 3) == ["启动", "动服", "服务"]
    assert words("? ! . ;", 2) == ["?", "!"]
    assert words("one", 5) == ["one"]


def test_long_words_are_cut_so_that_their_cost_is_bounded():
    assert words("a" * 1000 + " b") == ["a" * 64, "b"]
    assert words("!" * 1000) == ["!" * 64]


def test_limited_reading_of_a_long_text_equals_full_reading():
    text = "list files 启动 --all " * 2000
    assert words(text, 50) == words(text)[:50]


@given(ANY_TEXT, st.one_of(st.none(), st.integers(1, 5)))
def test_every_text_has_words_and_every_word_trigrams(text, limit):
    found = words(text, limit)
    assert found
    assert limit is None or len(found) <= limit
    assert all(len(word) <= 64 and trigrams(word) for word in found)
    assert found == [""] or all(word and not word.isspace() for word in found)


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("cat", ["#ca", "cat", "at#"]),
        ("a", ["#a#"]),
        ("", ["##"]),
        ("aaaa", ["#aa", "aaa", "aaa", "aa#"]),
        ("-x", ["#-x", "-x#"]),
        ("启", ["#启#"]),
        ("启动", ["#启#", "#启动#"]),
    ],
)
def test_trigrams_of_a_word_between_marks(word, expected):
    assert trigrams(word) == expected


def test_document_is_read_title_first():
    assert document_text("ls", "list files") == "ls list files"
    assert document_text("", "text") == "text"
    assert document_text("title", "") == "title"


def test_vocabulary_holds_what_occurs_often_enough_most_frequent_first():
    # "cat" three times, "dog" twice, "owl" once; trigrams of a word are as frequent as it is.
    vocabulary = learn_vocabulary(["cat cat dog", "cat owl dog"], buckets=7, min_count=2)
    assert vocabulary.names == ("#ca", "at#", "cat", "#do", "dog", "og#", " cat ", " dog ")
    assert len(vocabulary) == 7 + 8


def test_vocabulary_counts_a_trigram_over_all_words_with_it():
    # "ing" stands in two words, each only once.
    vocabulary = learn_vocabulary(["going doing"], min_count=2)
    assert vocabulary.names == ("ing", "ng#", "oin")


def test_vocabulary_ties_are_broken_by_name_whatever_the_order_of_texts():
    texts = ["zeta alpha", "mid zeta", "alpha mid"]
    first = learn_vocabulary(texts, max_trigrams=5, max_words=2)
    assert first.names == learn_vocabulary(texts[::-1], max_trigrams=5, max_words=2).names
    assert first.names == ("#al", "#mi", "#ze", "alp", "eta", " alpha ", " mid ")


def test_vocabulary_of_the_papers_has_trigrams_only():
    vocabulary = learn_vocabulary(["cat cat"], max_words=0)
    assert vocabulary.names == ("#ca", "at#", "cat")


@pytest.mark.parametrize("buckets", [0, -1, True, 2.0, "2", 2**31, 10**30])
def test_a_number_of_buckets_that_no_vocabulary_has_is_refused(buckets):
    with pytest.raises(ValueError, match="buckets must be a whole number"):
        Vocabulary.from_json(json.dumps({"buckets": buckets, "names": ["cat"]}).encode())


def test_features_are_known_trigrams_the_word_itself_and_buckets_for_the_rest():
    vocabulary = Vocabulary(("#ca", "cat", " cat "), buckets=10)
    unseen = zlib.crc32(b"at#") % 10
    assert vocabulary.features("cat") == [10, 11, unseen, 12]
    assert vocabulary.features("启") == [zlib.crc32("#启#".encode()) % 10]
    assert vocabulary.features("aaaa").count(zlib.crc32(b"aaa") % 10) >= 2


def test_a_word_never_means_a_trigram_of_the_same_letters():
    vocabulary = Vocabulary(("cat", " cat "), buckets=1)
    assert vocabulary.features("scatter").count(1) == 1
    assert 2 not in vocabulary.features("scatter")


def test_known_words_are_those_of_training():
    vocabulary = learn_vocabulary(["cat cat", "a a"], buckets=4)
    assert vocabulary.knows("cat")
    assert vocabulary.knows("a")
    assert not vocabulary.knows("dog")
    assert learn_vocabulary(["cat cat"], max_words=0).knows("cat")


@given(ANY_TEXT)
def test_no_text_maps_to_nothing(text):
    vocabulary = Vocabulary(("#ca", "cat", "at#", " cat "), buckets=3)
    for word in words(text):
        found = vocabulary.features(word)
        assert found
        assert all(0 <= feature < len(vocabulary) for feature in found)


def test_halves_of_surrogate_pairs_are_features_too():
    vocabulary = Vocabulary(("#ca",), buckets=3)
    assert words("\udcff") == ["\udcff"]
    assert 0 <= vocabulary.features("\udcff")[0] < 3


@given(st.lists(st.text(max_size=60), max_size=5))
def test_vocabulary_survives_json(texts):
    vocabulary = learn_vocabulary(texts, buckets=5, min_count=1)
    loaded = Vocabulary.from_json(vocabulary.to_json())
    assert (loaded.names, loaded.buckets) == (vocabulary.names, vocabulary.buckets)


def test_the_json_of_a_vocabulary_is_plain():
    assert json.loads(Vocabulary(("启", " cat "), 2).to_json()) == {"buckets": 2, "names": ["启", " cat "]}


def test_lexicon_numbers_each_distinct_word_once():
    lexicon = Lexicon(Vocabulary(("cat",), buckets=2))
    assert lexicon.word_ids("the cat the dog") == [0, 1, 0, 2]
    assert lexicon.word_ids("dog bird", limit=1) == [2]
    assert lexicon.word_ids("bird") == [3]
    assert (len(lexicon), lexicon.words) == (4, ["the", "cat", "dog", "bird"])


def test_lexicon_gives_its_words_and_their_features():
    vocabulary = Vocabulary(("#ca", "cat", "at#"), buckets=2)
    lexicon = Lexicon(vocabulary)
    lexicon.word_ids("dog cat")
    features = lexicon.features()
    assert [features.values[features.offsets[i] : features.offsets[i + 1]].tolist() for i in range(2)] == [
        vocabulary.features("dog"),
        [2, 3, 4],
    ]
    assert [lexicon.words_from(start) for start in range(3)] == [["dog", "cat"], ["cat"], []]


def test_ragged_packs_lists_end_to_end():
    packed = ragged([[5, 6], [], [7]])
    assert packed.values.tolist() == [5, 6, 7]
    assert packed.offsets.tolist() == [0, 2, 2, 3]
    assert packed.lengths().tolist() == [2, 0, 1]
    assert len(packed) == 3
    assert (packed.values.dtype, packed.offsets.dtype) == (np.int32, np.int64)


@given(
    st.lists(st.lists(st.integers(0, 99), max_size=4), min_size=1, max_size=6).flatmap(
        lambda lists: st.tuples(st.just(lists), st.lists(st.integers(0, len(lists) - 1), max_size=8))
    )
)
def test_taking_rows_equals_taking_the_lists(drawn):
    lists, rows = drawn
    taken = ragged(lists).take(np.array(rows, np.int64))
    expected = ragged([lists[row] for row in rows])
    assert taken.values.tolist() == expected.values.tolist()
    assert taken.offsets.tolist() == expected.offsets.tolist()


def test_vowel_signs_stay_within_their_word():
    assert words("हिन्दी में खोज।") == ["हिन्दी", "में", "खोज"]
    assert words("İstanbul") == ["i̇stanbul"]


@pytest.mark.parametrize(
    ("text", "of_the_towers", "of_bm25"),
    [
        ("人人山", ["人人", "人山", "山"], ["人人", "人山"]),
        ("人々山", ["人", "々", "山"], ["人々", "々山"]),  # a mark of repetition
        ("﨎山", ["﨎山", "山"], ["﨎", "山"]),  # one of the twelve that NFKC keeps
        ("豈山", ["豈山", "山"], ["豈山"]),  # one that it folds
    ],
)
def test_towers_and_bm25_differ_in_what_stands_in_a_run_of_cjk(text, of_the_towers, of_bm25):
    assert words(text) == of_the_towers
    assert lexical_tokens(text) == of_bm25
