"""The ids of trigrams and whole words, found for many words at once or, without reading all, for a few.

In: words. Out: the ids of their features. A trigram is a number here, its key, so that numpy finds those of
thousands of words in one search. Knows nothing of files or hash buckets.

Key of a trigram abc, with 21 bits for a code point:     a 2^42 + b 2^21 + c
of a pair of CJK characters, #xy# (`trigrams`):          2^63 + x 2^21 + y
of the empty word, ##:                                   2^63
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from functools import cache
from itertools import chain, repeat
from typing import TYPE_CHECKING

import numpy as np

from index.disk.sorted_texts import SortedTexts, sorted_texts
from retrieval.text.words import is_cjk, trigrams

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BITS = 21
_FIRST, _SECOND = np.uint64(2 * _BITS), np.uint64(_BITS)
_POINT = np.uint64((1 << _BITS) - 1)
_SPECIAL = np.uint64(1 << 63)
_MARK, _BLANK = np.uint64(ord("#")), np.uint64(ord(" "))
_ASCII = 128

# Up to this many words are looked up in the file. For more it is faster to read all whole words first.
_FEW_WORDS = 64
# The keys of up to this many words, such as the new words of a query, are computed one by one. For more,
# numpy is faster.
_FEW_KEYED = 8


class SortedWords:
    """The ids of sorted words. A few can be found without reading the others.

    texts: the words.
    ids: int32 (w,), their ids.
    """

    def __init__(self, texts: SortedTexts, ids: NDArray[np.int32]) -> None:
        self.texts = texts
        self.ids = ids

    def id_of(self, word: str) -> int:
        """The id of a word, or -1."""
        number = self.texts.number(word)
        return -1 if number is None else int(self.ids[number])

    def by_word(self) -> dict[str, int]:
        """The ids of all words."""
        return dict(zip(self.texts.all(), self.ids.tolist(), strict=True))


class FeatureTable:
    """The ids of a vocabulary's trigrams and whole words. A trigram or word that it lacks has the id -1.

    grams: uint64 (g,), the keys of the trigrams, ascending.
    gram_ids: int32 (g,), their ids.
    words: the ids of the whole words.
    """

    def __init__(
        self, grams: NDArray[np.uint64], gram_ids: NDArray[np.int32], words: dict[str, int] | SortedWords
    ) -> None:
        self.grams = grams
        self.gram_ids = gram_ids
        self._words = words

    def ids_of_grams(self, keys: NDArray[np.uint64]) -> NDArray[np.int32]:
        """The ids of n trigrams, int32 (n,). keys: uint64 (n,)."""
        if not len(self.grams):
            return np.full(len(keys), -1, np.int32)
        places = self.grams.searchsorted(keys)
        np.minimum(places, len(self.grams) - 1, out=places)
        ids = self.gram_ids.take(places)
        ids[self.grams.take(places) != keys] = -1
        return ids

    def ids_of_words(self, words: Sequence[str]) -> NDArray[np.int32]:
        """The ids of n whole words, int32 (n,)."""
        known = self._words
        if isinstance(known, SortedWords):
            if len(words) <= _FEW_WORDS:
                return np.array([known.id_of(word) for word in words], np.int32)
            known = self._words = known.by_word()
        return np.fromiter(map(known.get, words, repeat(-1)), np.int32, len(words))

    def sorted_words(self) -> SortedWords:
        """The whole words in the order of their UTF-8."""
        if isinstance(self._words, SortedWords):
            return self._words
        ordered = sorted(self._words)
        return SortedWords(sorted_texts(ordered), np.array([self._words[word] for word in ordered], np.int32))


def feature_table(names: Sequence[str], first: int) -> FeatureTable:
    """The table of the names of a vocabulary, of which the first has the id `first`.

    Of equal names the last one counts. A name that no trigram and no whole word can have is left out.
    """
    lengths = np.fromiter(map(len, names), np.int64)
    starts = np.cumsum(lengths) - lengths
    points = _points("".join((*names, " ")))  # an empty name at the end has a first character too
    opening, closing = points[starts], points[starts + lengths - 1]
    marked = (opening == _MARK) & (closing == _MARK)
    blank = (opening == _BLANK) & (closing == _BLANK)
    rows = [
        np.flatnonzero(chosen)
        for chosen in ((lengths == 3) & ~blank, (lengths == 4) & marked, (lengths == 2) & marked)
    ]
    three, pairs, empty = (starts[chosen] for chosen in rows)
    keys = np.concatenate(
        (
            points[three] << _FIRST | points[three + 1] << _SECOND | points[three + 2],
            _SPECIAL | points[pairs + 1] << _SECOND | points[pairs + 2],
            np.full(len(empty), _SPECIAL),
        )
    )
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    last = np.append(keys[1:] != keys[:-1], True)[: len(keys)]
    ids = (np.concatenate(rows)[order][last] + first).astype(np.int32)
    whole = np.flatnonzero(blank & (lengths >= 2)).tolist()
    words = dict(zip([names[row][1:-1] for row in whole], [row + first for row in whole], strict=True))
    return FeatureTable(keys[last], ids, words)


def keys_of(words: Sequence[str]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """The keys of `trigrams` of n words, at least one, uint64 (total,), and how many each has, int64 (n,)."""
    if len(words) <= _FEW_KEYED:
        each = [list(map(_key_of, trigrams(word))) for word in words]
        return np.array(list(chain.from_iterable(each)), np.uint64), np.array(list(map(len, each)))
    lengths = np.fromiter(map(len, words), np.int64)
    points = _points(f"#{'##'.join(words)}#")
    ends = np.cumsum(lengths + 2)
    starts = ends - lengths - 2
    keys = np.zeros(len(points), np.uint64)
    windows = keys[:-2]
    np.left_shift(points[:-2], _FIRST, out=windows)
    windows |= points[1:-1] << _SECOND
    windows |= points[2:]
    of_a_word = np.ones(len(points), bool)  # the others reach into the next word
    of_a_word[ends - 1] = False
    of_a_word[ends - 2] = lengths == 0
    keys[ends[lengths == 0] - 2] = _SPECIAL
    likely = np.flatnonzero((lengths == 2) & (points[starts + 1] >= _ASCII))
    pairs = starts[[row for row in likely.tolist() if is_cjk(words[row])]]
    x, y = points[pairs + 1], points[pairs + 2]
    keys[pairs] = _MARK << _FIRST | x << _SECOND | _MARK
    keys[pairs + 1] = _SPECIAL | x << _SECOND | y
    return keys[of_a_word], np.maximum(lengths, 1)


def crc_of_keys(keys: NDArray[np.uint64]) -> NDArray[np.uint32]:
    """The CRC-32 of the UTF-8 of n trigrams, uint32 (n,). keys: uint64 (n,)."""
    crcs = np.empty(len(keys), np.uint32)
    parts = keys >> _FIRST, keys >> _SECOND & _POINT, keys & _POINT
    plain = parts[0] | parts[1] | parts[2] < _ASCII
    # The CRC is affine: that of three bytes is the sum of the CRCs of each with zeros in place of the others.
    a, b, c = (table[part[plain]] for table, part in zip(_ascii_crcs(), parts, strict=True))
    crcs[plain] = a ^ b ^ c
    # A byte of a command line that is not UTF-8 arrives as half of a surrogate pair.
    crcs[~plain] = [zlib.crc32(_text_of(key).encode(errors="surrogatepass")) for key in keys[~plain].tolist()]
    return crcs


@cache
def _ascii_crcs() -> tuple[NDArray[np.uint32], ...]:
    """For each of three places, the CRC-32 of every ASCII character at that place with zeros elsewhere."""
    return tuple(
        np.array([zlib.crc32(bytes(place) + bytes([c]) + bytes(2 - place)) for c in range(_ASCII)], np.uint32)
        for place in range(3)
    )


def _key_of(trigram: str) -> int:
    """The key of a trigram: the reverse of `_text_of`."""
    if len(trigram) == 3:
        first, second, third = map(ord, trigram)
        return first << 2 * _BITS | second << _BITS | third
    pair = trigram[1:-1]
    return 1 << 63 | (ord(pair[0]) << _BITS | ord(pair[1]) if pair else 0)


def _text_of(key: int) -> str:
    """The trigram that has a key."""
    point = int(_POINT)
    first, second, third = key >> 2 * _BITS, key >> _BITS & point, key & point
    if key == _SPECIAL:
        return "##"
    if key > _SPECIAL:
        return f"#{chr(second)}{chr(third)}#"
    return chr(first) + chr(second) + chr(third)


def _points(text: str) -> NDArray[np.uint64]:
    """The code points of a text."""
    encoded = text.encode("utf-32", "surrogatepass")  # begins with a byte order mark
    return np.frombuffer(encoded, np.uint32)[1:].astype(np.uint64)
