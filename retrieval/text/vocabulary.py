"""The vocabulary, which gives feature ids to letter trigrams and whole words, and texts as lists of ids.

In: words and texts. Out: feature ids, at least one for every word; ids of distinct words; ragged arrays of
either. Knows nothing of vectors and files.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import accumulate, chain
from typing import TYPE_CHECKING

import numpy as np

from index.numbering import Numbering
from retrieval.text.feature_table import FeatureTable, crc_of_keys, feature_table, keys_of
from retrieval.text.words import trigrams, words

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Ids are int32.
_MOST_IDS = 2**31
# Words whose features are looked up at once: enough for numpy, few enough for the processor's cache.
_WORDS_AT_ONCE = 8192


class Vocabulary:
    """The features a model knows. Ids are given to hash buckets first, then to trigrams, then to whole words.

    names: trigrams, then whole words; " word " has spaces around it, unlike any trigram.
    buckets: number of hash buckets, at least 1.
    table: the ids of the names; None to compute them.
    A trigram that did not occur in training gets the id of a bucket, by its CRC-32. So every word has at
    least one feature.
    """

    def __init__(self, names: Sequence[str], buckets: int, table: FeatureTable | None = None) -> None:
        self._names = names
        self.buckets = buckets
        self.table = feature_table(names, buckets) if table is None else table

    def __len__(self) -> int:
        return self.buckets + len(self._names)

    @property
    def names(self) -> tuple[str, ...]:
        """Trigrams and whole words in the order of their ids."""
        return tuple(self._names)

    def features(self, word: str) -> list[int]:
        """Ids of a word's features, at least one. Repeats stay: word hashing counts trigrams."""
        ids: list[int] = self.features_of([word]).values.tolist()
        return ids

    def features_of(self, words: Sequence[str]) -> Ragged:
        """The ids of the features of each word: its trigrams, in order, then the word, if it is known."""
        if len(words) <= _WORDS_AT_ONCE:
            return self._features_of(words) if words else ragged([])
        blocks = range(0, len(words), _WORDS_AT_ONCE)
        return _chained([self._features_of(words[start : start + _WORDS_AT_ONCE]) for start in blocks])

    def _features_of(self, words: Sequence[str]) -> Ragged:
        keys, counts = keys_of(words)
        ids = self.table.ids_of_grams(keys)
        unknown = np.flatnonzero(ids < 0)
        if len(unknown):
            ids[unknown] = crc_of_keys(keys[unknown]) % self.buckets
        whole = self.table.ids_of_words(words)
        known = whole >= 0
        offsets = _offsets(counts + known)
        values = np.empty(offsets[-1], np.int32)
        is_gram = np.ones(len(values), bool)
        last = offsets[1:][known] - 1
        is_gram[last] = False
        values[is_gram] = ids
        values[last] = whole[known]
        return Ragged(values, offsets)

    def knows(self, word: str) -> bool:
        """Whether the vocabulary has the whole word, or all of its trigrams."""
        return bool(self.table.ids_of_words([word])[0] >= 0) or min(self.features(word)) >= self.buckets

    def to_json(self) -> bytes:
        """The vocabulary as one JSON document in UTF-8."""
        return json.dumps({"buckets": self.buckets, "names": self.names}, ensure_ascii=False).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Vocabulary:
        """Read what `to_json` gives. Raises ValueError, KeyError, TypeError or RecursionError for others."""
        content = json.loads(data)
        names, buckets = content["names"], content["buckets"]
        if not isinstance(names, list):
            raise ValueError("names must be a list of strings")
        "".join(names)  # raises TypeError unless all are strings, ten times as fast as a loop
        if type(buckets) is not int or not 1 <= buckets <= _MOST_IDS - len(names):
            raise ValueError(f"buckets must be a whole number from 1, and all ids below {_MOST_IDS}")
        return cls(tuple(names), buckets)


def learn_vocabulary(
    texts: Iterable[str],
    *,
    buckets: int = 256,
    max_trigrams: int = 20_000,
    max_words: int = 20_000,
    min_count: int = 2,
) -> Vocabulary:
    """The vocabulary of the most frequent trigrams and whole words of the training texts.

    texts: the training texts.
    buckets: number of hash buckets, for trigrams that are not in the vocabulary.
    max_trigrams: the largest number of trigrams.
    max_words: the largest number of whole words; 0 leaves trigrams alone, as in Huang et al. 2013.
    min_count: how often a trigram or word must occur in all texts together.
    """
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(words(text))
    grams: Counter[str] = Counter()
    for word, count in counts.items():
        for gram in trigrams(word):
            grams[gram] += count
    # Ties are broken by name. Otherwise the order of the texts would decide which names are kept.
    common_grams = sorted((g for g in grams if grams[g] >= min_count), key=lambda g: (-grams[g], g))
    # Words of one or two characters, such as CJK words, are already identified by their trigrams.
    common_words = sorted(
        (w for w in counts if counts[w] >= min_count and len(w) > 2), key=lambda w: (-counts[w], w)
    )
    names = common_grams[:max_trigrams] + [f" {word} " for word in common_words[:max_words]]
    return Vocabulary(tuple(names), buckets)


class Ragged:
    """A ragged array: n lists of ids, one after the other. List i is `values[offsets[i]:offsets[i + 1]]`.

    values: int32 (total,).
    offsets: int64 (n + 1,), from 0 to total.
    """

    def __init__(self, values: NDArray[np.int32], offsets: NDArray[np.int64]) -> None:
        self.values = values
        self.offsets = offsets

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> NDArray[np.int32]:
        """List number `row`."""
        return self.values[self.offsets[row] : self.offsets[row + 1]]

    def lengths(self) -> NDArray[np.int64]:
        """The length of each list, int64 (n,)."""
        return np.diff(self.offsets)

    def take(self, rows: NDArray[np.int64]) -> Ragged:
        """The lists with the numbers `rows`, int64 (m,), in that order."""
        lengths = self.offsets[rows + 1] - self.offsets[rows]
        offsets = np.concatenate(([0], np.cumsum(lengths)))
        # How far each value of the result lies from its position in `self.values`.
        shift = np.repeat(self.offsets[rows] - offsets[:-1], lengths)
        return Ragged(self.values[np.arange(offsets[-1]) + shift], offsets)


def ragged(lists: Sequence[Sequence[int]]) -> Ragged:
    """The lists of ids as one ragged array."""
    offsets = np.array([0, *accumulate(map(len, lists))], np.int64)
    return Ragged(np.fromiter(chain.from_iterable(lists), np.int32, int(offsets[-1])), offsets)


def _chained(parts: Sequence[Ragged]) -> Ragged:
    """The lists of several ragged arrays, one after the other."""
    values = np.concatenate([part.values for part in parts])
    return Ragged(values, _offsets(np.concatenate([part.lengths() for part in parts])))


def _offsets(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


class Lexicon:
    """The distinct words of all texts so far, each with a word id: 0, 1, 2 and so on, in order of appearance.

    A word's features are looked up once, however often the word occurs: list i of `features()` belongs to the
    word with the id i.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self._ids = Numbering()

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def words(self) -> list[str]:
        """The words by their ids."""
        return list(self._ids)

    def word_ids(self, text: str, limit: int | None = None) -> list[int]:
        """The word ids of a text, at least one, in order; words that are new get the next ids.

        text: any text.
        limit: how many of its words are read; None for all.
        """
        return list(map(self._ids.__getitem__, words(text, limit)))

    def words_from(self, start: int) -> list[str]:
        """The words by their ids, from the one with the id `start` on."""
        return self._ids.since(start)

    def features(self) -> Ragged:
        """The feature ids of each word."""
        return self.vocabulary.features_of(self.words)
