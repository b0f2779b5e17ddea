"""The vocabulary that numbers letter trigrams and whole words, and texts as lists of these numbers.

In: words. Out: feature ids, at least one a word. Knows nothing of vectors.
"""

from __future__ import annotations

import json
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from index.disk.files import write_atomically
from index.disk.opening import read_file
from index.errors import CorruptError
from retrieval.text.words import trigrams, words


@dataclass(frozen=True)
class Vocabulary:
    """The features a model knows: hash buckets first, then trigrams, then whole words.

    A trigram that training did not see falls into one of `buckets` by CRC-32, so that every word has at least
    one feature. Whole words carry a trailing and a leading space as names, which no trigram can have.
    """

    names: tuple[str, ...]
    buckets: int

    def __post_init__(self) -> None:
        ids = {name: self.buckets + i for i, name in enumerate(self.names)}
        object.__setattr__(self, "_ids", ids)

    def __len__(self) -> int:
        return self.buckets + len(self.names)

    def features(self, word: str) -> list[int]:
        """Ids of a word's features, at least one, repeats kept (the trigram *counts* of word hashing)."""
        ids: dict[str, int] = self._ids  # type: ignore[attr-defined]
        found = [ids[gram] if gram in ids else self._bucket(gram) for gram in trigrams(word)]
        whole = ids.get(f" {word} ")
        if whole is not None:
            found.append(whole)
        return found

    def _bucket(self, gram: str) -> int:
        # Halves of surrogate pairs, which stand for bytes of a command line that are not UTF-8, count too.
        return zlib.crc32(gram.encode(errors="surrogatepass")) % self.buckets

    def knows(self, word: str) -> bool:
        """Whether training saw the word itself or, for a vocabulary without whole words, all its trigrams."""
        ids: dict[str, int] = self._ids  # type: ignore[attr-defined]
        return f" {word} " in ids or all(gram in ids for gram in trigrams(word))

    def save(self, path: Path) -> None:
        """Write as one JSON document."""
        content = {"buckets": self.buckets, "names": self.names}
        write_atomically(path, json.dumps(content, ensure_ascii=False).encode())

    @classmethod
    def load(cls, path: Path) -> Vocabulary:
        """Read what `save` wrote. Raises CorruptError if it is anything else."""
        try:
            content = json.loads(read_file(path, links=True))
            names, buckets = content["names"], content["buckets"]
            if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
                raise ValueError("names must be a list of strings")
            if type(buckets) is not int or buckets < 1:
                raise ValueError("buckets must be a positive number")
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise CorruptError(f"{path}: not a vocabulary ({error}); restore the model folder") from error
        return cls(tuple(names), buckets)


def learn_vocabulary(
    texts: Iterable[str],
    *,
    buckets: int = 256,
    max_trigrams: int = 20_000,
    max_words: int = 20_000,
    min_count: int = 2,
    limit: int | None = None,
) -> Vocabulary:
    """The most frequent trigrams, and whole words, that occur at least `min_count` times in the training
    texts.

    limit: words of a text that count, as in `words`. max_words=0 gives the trigrams of the papers alone.
    """
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(words(text, limit))
    grams: Counter[str] = Counter()
    for word, count in counts.items():
        for gram in trigrams(word):
            grams[gram] += count
    # Ties are broken by name, or the order of a dict would make two trainings differ.
    common_grams = sorted((g for g in grams if grams[g] >= min_count), key=lambda g: (-grams[g], g))
    # A one- or two-letter word is one or two trigrams of its own already; CJK words are their own features.
    common_words = sorted(
        (w for w in counts if counts[w] >= min_count and len(w) > 2), key=lambda w: (-counts[w], w)
    )
    names = common_grams[:max_trigrams] + [f" {word} " for word in common_words[:max_words]]
    return Vocabulary(tuple(names), buckets)


@dataclass(frozen=True)
class Ragged:
    """Lists of numbers end to end: list i is `values[offsets[i]:offsets[i + 1]]`. values int32 (total,),
    offsets int64 (n + 1,).
    """

    values: NDArray[np.int32]
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def lengths(self) -> NDArray[np.int64]:
        """Length of each list, int64 (n,)."""
        return np.diff(self.offsets)

    def take(self, rows: NDArray[np.int64]) -> Ragged:
        """The lists named by `rows` int64 (m,), in that order."""
        lengths = self.lengths()[rows]
        offsets = np.concatenate(([0], np.cumsum(lengths)))
        # Position within the result, shifted by where its list starts here rather than there.
        shift = np.repeat(self.offsets[rows] - offsets[:-1], lengths)
        return Ragged(self.values[np.arange(offsets[-1]) + shift], offsets)


def ragged(lists: Sequence[Sequence[int]]) -> Ragged:
    """Pack lists of ids."""
    offsets = np.zeros(len(lists) + 1, np.int64)
    np.cumsum([len(items) for items in lists], out=offsets[1:])
    values = np.fromiter((item for items in lists for item in items), np.int32, int(offsets[-1]))
    return Ragged(values, offsets)


class Lexicon:
    """Numbers the distinct words met so far, so that a word's features are looked up once in a process' life.

    `word_ids` of a text index `features`, which has one list a distinct word and only grows.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self.words: list[str] = []
        self._ids: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self.words)

    def word_ids(self, text: str, limit: int | None = None) -> list[int]:
        """Ids of a text's words, at least one."""
        ids = self._ids
        found = []
        for word in words(text, limit):
            number = ids.get(word)
            if number is None:
                number = ids[word] = len(self.words)
                self.words.append(word)
            found.append(number)
        return found

    def features(self, start: int = 0) -> Ragged:
        """Feature ids of the words numbered `start` and up."""
        return ragged([self.vocabulary.features(word) for word in self.words[start:]])
