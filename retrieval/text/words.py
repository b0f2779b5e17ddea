"""Text to words, words to letter trigrams, and the vocabulary that numbers them.

In: any Unicode string. Out: for each word of it a short list of feature ids, never empty. Knows nothing of
vectors.

Word hashing follows Huang et al. 2013, section 3.2: a word is the bag of letter trigrams of `#word#`, so that
forms and misspellings of a word share most of its features. Two kinds of text need more than that:

* Chinese, Japanese and Korean are read character by character. The word at a character is the pair of it and
  the character after it in the same run (the last one stands alone), and its features are the character and
  the pair. A character keeps its meaning through its own row, while the pair says which word it is part of,
  without a segmenter. On the dev split of `tldr-zh` characters alone reach nDCG@10 .676, pairs alone .670,
  both .698.
* Commands and identifiers: `-xzf`, `c++`, `2.13.0`, `&&` are words as they stand; `--list-slots`,
  `snake_case` and `path/to/file.jar` are split at their joints so that a plain-English query can meet their
  parts.

Text is normalised with NFKC (full-width letters, ligatures) and case folded. Runs of one repeated character
are not shortened and numbers are kept: in a parts catalogue they are the content.
"""

from __future__ import annotations

import json
import re
import unicodedata
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from index.disk.files import write_atomically
from index.errors import CorruptError

# Han, kana, Hangul and their extensions; half-width forms are folded into these by NFKC.
_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
# Scripts whose vowel signs are marks, which \w leaves out: Devanagari to Sinhala (not the danda), Thai to
# Khmer.
_MARKED = (
    "\u0300-\u036f\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0900-\u0963\u0966-\u0df3"
    "\u0e31-\u0e3a\u0e47-\u0e4e\u0eb1-\u0ecd\u0f71-\u0f84\u102b-\u103e\u17b6-\u17d3"
)
_LETTERS = rf"[^\W_{_CJK}]+(?:[{_MARKED}][^\W_{_CJK}]*)*"
_WORD = re.compile(
    rf"[{_CJK}]+"
    r"|(?<![\w-])-[^\W_]{1,4}(?![\w-])"  # short options: -x, -xzf
    r"|\d+(?:\.\d+)+"  # versions and decimals: 2.13.0
    rf"|{_LETTERS}(?:'{_LETTERS}|\+\+|\#(?!\w))?"  # letters and digits of any script; don't, c++, c#
    r"|&&|\|\||>>|<<|[=-]>|::|[=!<>]="
)
_IS_CJK = re.compile(rf"[{_CJK}]")
_NOT_SPACE = re.compile(r"\S+")

# A word longer than this is no word (base64, a URL's tail): its first trigrams say enough, and the cost stays
# bounded.
_LONGEST_WORD = 64


def normalise(text: str) -> str:
    """NFKC, case folding, and the typographic apostrophe made plain."""
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFKC", text).casefold().replace("\u2019", "'")


def document_text(title: str, text: str) -> str:
    """What the document tower reads of a document."""
    return f"{title} {text}".strip()


def words(text: str, limit: int | None = None) -> list[str]:
    """The words of a text in order, at most `limit`; never an empty list.

    A text with no word in it (only signs, say) is taken apart at white space, and an empty one is the single
    word "".

    >>> words("tar -xzf my_file.tar.gz")
    ['tar', '-xzf', 'my', 'file', 'tar', 'gz']
    >>> words("启动服务 now")
    ['启动', '动服', '服务', '务', 'now']
    >>> words("?!"), words("")
    (['?!'], [''])
    """
    if limit is not None:
        text = text[: limit * (_LONGEST_WORD + 1)].lstrip() or text.lstrip()[: limit * (_LONGEST_WORD + 1)]
    text = normalise(text)
    found: list[str] = []
    for match in _WORD.finditer(text):
        word = match.group()
        if word[0] >= "\u3040" and _IS_CJK.match(word):
            found.extend(word[i : i + 2] for i in range(len(word)))
        else:
            found.append(word[:_LONGEST_WORD])
        if limit is not None and len(found) >= limit:
            return found[:limit]
    if not found:
        found = [run[:_LONGEST_WORD] for run in _NOT_SPACE.findall(text)][:limit]
    return found or [""]


def trigrams(word: str) -> list[str]:
    """Letter trigrams of `#word#` with repeats; for a CJK word the character and, if there is one, the pair.

    >>> trigrams("cat"), trigrams("启动"), trigrams("")
    (['#ca', 'cat', 'at#'], ['#启#', '#启动#'], ['##'])
    """
    if word and word[0] >= "\u3040" and len(word) <= 2 and _IS_CJK.match(word):
        return [f"#{word[0]}#"] if len(word) == 1 else [f"#{word[0]}#", f"#{word}#"]
    marked = f"#{word}#"
    return [marked[i : i + 3] for i in range(max(1, len(marked) - 2))]


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
            content = json.loads(path.read_bytes())
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
