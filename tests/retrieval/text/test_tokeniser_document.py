"""docs/tokeniser.md is enough to write the tokeniser again: here it is, from that page alone."""

from __future__ import annotations

import json
import random
import unicodedata
import zlib
from itertools import takewhile
from pathlib import Path

import pytest

from retrieval.text.vocabulary import Vocabulary
from retrieval.text.words import words

DOCS = Path(__file__).parents[3] / "docs"
VECTORS = json.loads((DOCS / "tokeniser.json").read_text("utf-8"))


def ranges(text):
    pairs = (part.split("-") for part in text.split())
    return [(int(first, 16), int(last, 16)) for first, last in pairs]


CJK = ranges("3040-30FF 3400-4DBF 4E00-9FFF AC00-D7AF 20000-3FFFF F900-FAFF")
MARKS = ranges(
    "0300-036F 0591-05C7 0610-061A 064B-065F 0900-0963 0966-0DF3 0E31-0E3A 0E47-0E4E 0EB1-0ECD 0F71-0F84 "
    "102B-103E 17B6-17D3"
)
SPACE = ranges(
    "0009-000D 001C-001F 0020-0020 0085-0085 00A0-00A0 1680-1680 2000-200A 2028-2029 202F-202F 205F-205F "
    "3000-3000"
)
SIGNS = ("&&", "||", ">>", "<<", "=>", "->", "::", "==", "!=", "<=", ">=")


def among(character, spans):
    return any(first <= ord(character) <= last for first, last in spans)


def is_alphanumeric(character):
    return unicodedata.category(character) in ("Lu", "Ll", "Lt", "Lm", "Lo", "Nd", "Nl", "No")


def is_word_character(character):
    return character == "_" or is_alphanumeric(character)


def is_letter(character):
    return is_alphanumeric(character) and not among(character, CJK)


def is_digit(character):
    return unicodedata.category(character) == "Nd"


def without_leading_space(text):
    return text[len(list(takewhile(lambda c: among(c, SPACE), text))) :]


def cut(text, limit):
    start = without_leading_space(text[: limit * 65])
    return start or without_leading_space(text)[: limit * 65]


def normalised(text):
    parts, count = [], 0
    for character in text:
        classes = [unicodedata.combining(c) for c in unicodedata.normalize("NFKD", character)]
        trailing = len(list(takewhile(bool, reversed(classes))))
        if classes[0] == 0:
            count = 0
        elif count + trailing > 30:
            parts.append("\u034f")
            count = 0
        parts.append(character)
        count += trailing
    return unicodedata.normalize("NFKC", "".join(parts)).casefold().replace("\u2019", "'")


def run_end(text, start, test):
    while start < len(text) and test(text[start]):
        start += 1
    return start


def option_end(text, at):
    if text[at] != "-" or (at and (is_word_character(text[at - 1]) or text[at - 1] == "-")):
        return at
    end = run_end(text, at + 1, is_alphanumeric)
    closed = end == len(text) or not (is_word_character(text[end]) or text[end] == "-")
    return end if 1 <= end - at - 1 <= 4 and closed else at


def number_end(text, at):
    end = run_end(text, at, is_digit)
    if end == at:
        return at
    dotted = end
    while text[dotted : dotted + 1] == ".":
        after = run_end(text, dotted + 1, is_digit)
        if after == dotted + 1:
            break
        dotted = after
    return dotted if dotted > end else at


def plain_end(text, at):
    end = run_end(text, at, is_letter)
    if end == at:
        return at
    while end < len(text) and among(text[end], MARKS):
        end = run_end(text, end + 1, is_letter)
    return end


def word_end(text, at):
    end = plain_end(text, at)
    if end == at:
        return at
    if text[end : end + 1] == "'" and plain_end(text, end + 1) > end + 1:
        return plain_end(text, end + 1)
    if text[end : end + 2] == "++":
        return end + 2
    if text[end : end + 1] == "#" and not is_word_character(text[end + 1 : end + 2] or " "):
        return end + 1
    return end


def sign_end(text, at):
    return at + 2 if text[at : at + 2] in SIGNS else at


def words_of(text, limit):
    text = normalised(cut(text, limit))
    found, at = [], 0
    while at < len(text) and len(found) < limit:
        end = run_end(text, at, lambda c: among(c, CJK))
        if end > at:
            found += [text[i : min(i + 2, end)] for i in range(at, end)]
        else:
            ends = (find(text, at) for find in (option_end, number_end, word_end, sign_end))
            end = next((end for end in ends if end > at), at)
            if end > at:
                found.append(text[at:end][:64])
        at = max(end, at + 1)
    return found[:limit] or runs_of(text)[:limit] or [""]


def runs_of(text):
    runs, at = [], 0
    while at < len(text):
        end = run_end(text, at, lambda c: not among(c, SPACE))
        if end > at:
            runs.append(text[at:end][:64])
        at = max(end, at + 1)
    return runs


def features_of(word, vocabulary):
    numbers = {name: vocabulary["buckets"] + i for i, name in enumerate(vocabulary["names"])}
    if len(word) in (1, 2) and among(word[0], CJK):
        grams = [f"#{word[0]}#", f"#{word}#"][: len(word)]
    else:
        marked = f"#{word}#"
        grams = [marked[i : i + 3] for i in range(len(marked) - 2)] or [marked]
    buckets = vocabulary["buckets"]
    found = [numbers.get(gram, zlib.crc32(gram.encode("utf-8")) % buckets) for gram in grams]
    return found + [numbers[name] for name in (f" {word} ",) if name in numbers]


ALPHABETS = (
    "abcxyzABZ0123456789 ",
    "ab1 -_.'#+&|<>=:!-",
    "aé ßİŒﬁΣς’‐ñ",
    "启动服务目录文件 abあいカｶﾞ한글㐀々〇",
    "हिन्दीไทยעבריתعربيًა ",
    "a\u0300\u0301\u0345\uff9e\u034f\u1100 ",
    "٣१೨²½Ⅷ①一 .5",
    "\t\n\x1c\x85\xa0\u3000\u2028 a,",
    "a𠀀😀𝐀豈﨎",
)


def random_texts(count):
    rng = random.Random(7)
    for number in range(count):
        letters = "".join(rng.sample(ALPHABETS, 2)) if number % 3 else ALPHABETS[number % len(ALPHABETS)]
        length = rng.choice((0, 1, 2, 3, 8, 20, 90, 300))
        yield "".join(rng.choices(letters, k=length))
    for _ in range(count // 10):  # any character at all
        points = (rng.randrange(0x30000) for _ in range(40))
        yield "".join(chr(point) for point in points if not 0xD800 <= point < 0xE000)


@pytest.mark.parametrize("entry", VECTORS["texts"], ids=lambda entry: ascii(entry["text"])[:30])
def test_the_test_vectors_hold_for_both(entry):
    vocabulary = Vocabulary(tuple(VECTORS["vocabulary"]["names"]), VECTORS["vocabulary"]["buckets"])
    for found, numbers in (
        (words(entry["text"], entry["limit"]), vocabulary.features),
        (words_of(entry["text"], entry["limit"]), lambda word: features_of(word, VECTORS["vocabulary"])),
    ):
        assert found == entry["words"]
        assert [numbers(word) for word in found] == entry["features"]


def test_the_page_describes_what_the_tokeniser_does():
    vocabulary = Vocabulary(tuple(VECTORS["vocabulary"]["names"]), VECTORS["vocabulary"]["buckets"])
    for number, text in enumerate(random_texts(3000)):
        limit = (1, 2, 5, 64, 128)[number % 5]
        found = words(text, limit)
        assert words_of(text, limit) == found, ascii(text)
        for word in found:
            assert features_of(word, VECTORS["vocabulary"]) == vocabulary.features(word), ascii(word)


def test_the_example_on_the_page_is_right():
    vocabulary = {"buckets": 2, "names": ["cop", " copy "]}
    assert [features_of(word, vocabulary) for word in words_of("copy a", 64)] == [[0, 2, 1, 1, 3], [1]]
    assert "features       0 2 1 1 3 1\n    word_lengths   5 1\n    text_lengths   2" in (
        DOCS / "tokeniser.md"
    ).read_text("utf-8")
