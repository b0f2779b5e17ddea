"""The tokeniser of BM25, the same for documents and queries.

In: any text. Out: its terms in order. Knows nothing of scores. Its version is stored with an index, because
an index can only be searched with the tokeniser that made it.
"""

from __future__ import annotations

import re
import threading
from functools import cache
from typing import Any

from index.lexical.cjk import CJK, MARKS
from index.lexical.normalisation import normalise

# Increased with every change to what `lexical_tokens` returns.
TOKENS_VERSION = 1

# Marks of repetition belong to the text around them; the towers leave them out.
_CJK = CJK + MARKS

# Longest word, in characters: a longer one is base64 or similar, and its start is enough to find it.
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
    tokens: list[str] = []
    stop_words: list[str] = []
    stem = _stemmer().stemWord
    text = normalise(text)
    for match in _token(text.isascii()).finditer(text):
        token = match[0]
        if match.lastgroup == "cjk":
            tokens += [token[at : at + 2] for at in range(max(1, len(token) - 1))]
        elif token in STOP_WORDS:
            stop_words.append(token)
        elif match.lastgroup == "word":
            tokens.append(stem(token[:_LONGEST]))
        else:
            tokens.append(token)
    return tokens or stop_words


@cache
def _token(is_ascii: bool) -> re.Pattern[str]:
    """The pattern of a token, for texts that are ASCII or any.

    Both find the same tokens in ASCII. The one for any text takes 12 ms to compile, for which a search in
    English must not wait.
    """
    cjk, letters = ("", r"[^\W_]+") if is_ascii else (rf"(?P<cjk>[{_CJK}]+)|", rf"[^\W_{_CJK}]+")
    return re.compile(
        cjk + r"(?<![\w-])-[^\W_](?![\w-])"  # an option of one letter keeps its dash: -a
        r"|[^\W\d_](?:\+\+|\#)(?!\w)"  # c++, c#
        rf"|(?P<word>{letters}(?:'{letters})?)"  # letters and digits of any script; don't
    )


def _stemmer() -> Any:
    """The stemmer of this thread; threads must not share one."""
    if not hasattr(_local, "stemmer"):
        import Stemmer

        _local.stemmer = Stemmer.Stemmer("english")
    return _local.stemmer
