"""The tokeniser of BM25, the same for documents and queries.

In: any text. Out: its terms in order. Knows nothing of scores. Its version is stored with an index, because
an index can only be searched with the tokeniser that made it.
"""

from __future__ import annotations

import re
import threading
from functools import cache

from index.lexical.cjk import CJK, MARKS, edges, is_within
from index.lexical.normalisation import normalise
from index.lexical.simple import is_simple, plain_words

# Increased with every change to what `lexical_tokens` returns.
TOKENS_VERSION = 1

# Marks of repetition belong to the text around them; the towers leave them out.
_CJK = CJK + MARKS
_EDGES = edges(_CJK)

# Words whose stems are remembered, some 200 bytes each; when there are more, all are forgotten.
_KNOWN_STEMS = 1 << 15

# Characters of the longest word. A longer one is base64 or similar, and its beginning is enough to find it.
_LONGEST = 64

# Lucene's English stop words.
_STOP_WORDS = """
a an and are as at be but by for if in into is it no not of on or such that the their then there these they
this to was will with
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())

_local = threading.local()


def lexical_tokens(text: str) -> list[str]:
    """Stemmed words without English stop words, and pairs of Chinese, Japanese and Korean characters.

    The text is normalised by NFKC and case folding first. A run of Chinese, Japanese or Korean characters
    gives its overlapping pairs; a single one gives itself. Paths, options and versions are split at their
    punctuation. A text of stop words only keeps them.

    >>> lexical_tokens("Extracting files: tar -xzf file.tar.gz")
    ['extract', 'file', 'tar', 'xzf', 'file', 'tar', 'gz']
    >>> lexical_tokens("启动服务 with docker -a")
    ['启动', '动服', '服务', 'docker', '-a']
    >>> lexical_tokens("To be or not to be")
    ['to', 'be', 'or', 'not', 'to', 'be']
    """
    text = normalise(text)
    if text.isascii():
        found = plain_words(text) or _ascii_token().findall(text)
        stems = _stems()
        return [stem for token in found if (stem := stems[token])] or found
    return _tokens(_simple_token(), text) if is_simple(text) else _tokens_of_any_script(text)


def is_character(token: str) -> bool:
    """Whether a token is a single Chinese, Japanese or Korean character.

    In a query it stands for all tokens with it, of which a text has any only if it has the character.
    """
    return len(token) == 1 and is_within(token, _EDGES)


def _tokens_of_any_script(text: str) -> list[str]:
    return _tokens(_token(), text)


def _tokens(pattern: re.Pattern[str], text: str) -> list[str]:
    tokens: list[str] = []
    stop_words: list[str] = []
    stems = _stems()
    for match in pattern.finditer(text):
        token = match[0]
        if match.lastgroup == "cjk":
            tokens += [token[at : at + 2] for at in range(max(1, len(token) - 1))]
        elif token in STOP_WORDS:
            stop_words.append(token)
        elif match.lastgroup == "word":
            tokens.append(stems[token])
        else:
            tokens.append(token)
    return tokens or stop_words


@cache
def _ascii_token() -> re.Pattern[str]:
    """The pattern of a token for normalised texts of ASCII: finds what `_token` finds, in less time."""
    return re.compile(_pattern_of(r"[a-z0-9]++", r"[a-z0-9]", r"[a-z]"), re.ASCII)


@cache
def _simple_token() -> re.Pattern[str]:
    """The pattern of a token for normalised texts that are `is_simple`: finds what `_token` finds."""
    rest = _pattern_of(r"[a-z0-9]++", r"[^\W_]", r"[^\W\d_]", "?P<word>")
    return re.compile(rf"(?P<cjk>[^\x00-\x7f]+)|{rest}")


@cache
def _token() -> re.Pattern[str]:
    """The pattern of a token. It takes 12 ms to compile, for which a search in English must not wait."""
    rest = _pattern_of(rf"[^\W_{_CJK}]+", r"[^\W_]", r"[^\W\d_]", "?P<word>")
    return re.compile(rf"(?P<cjk>[{_CJK}]+)|{rest}")


def _pattern_of(run: str, character: str, letter: str, word: str = "?:") -> str:
    """The patterns of a run of letters and digits, of one of them, and of a letter; the group of a word."""
    return (
        rf"-(?<![\w-]-){character}(?![\w-])"  # an option of one letter keeps its dash: -a
        rf"|{letter}(?:\+\+|\#)(?!\w)"  # c++, c#
        rf"|({word}{run}(?:'{run})?)"  # letters and digits of any script; don't
    )


class _Stems(dict[str, str]):
    """The stem of each word of some texts, computed on first use of `[]`; "" for a stop word.

    It keeps `_KNOWN_STEMS` of them.
    """

    def __init__(self) -> None:
        import Stemmer

        self._stemmer = Stemmer.Stemmer("english", 0)  # without its own cache

    def __missing__(self, word: str) -> str:
        if len(self) >= _KNOWN_STEMS:
            self.clear()
        stem: str = "" if word in STOP_WORDS else self._stemmer.stemWord(word[:_LONGEST])
        self[word] = stem
        return stem


def _stems() -> _Stems:
    """The stems of this thread; threads must not share a stemmer."""
    if not hasattr(_local, "stems"):
        _local.stems = _Stems()
    stems: _Stems = _local.stems
    return stems
