"""Text to the terms that BM25 counts. One function, for documents and queries alike.

In: any text. Out: terms in order. The version is stored with an index, which can be searched only with the
terms it was made of.
"""

from __future__ import annotations

import re
import threading
from typing import Any

from index.lexical.cjk import CJK, MARKS
from index.lexical.normalisation import normalise

# Raised with any change to what lexical_tokens returns.
TOKENS_VERSION = 1

# Marks of repetition belong to the run that they stand in; the towers leave them out.
_CJK = CJK + MARKS
_TOKEN = re.compile(
    rf"(?P<cjk>[{_CJK}]+)"
    r"|(?<![\w-])-[^\W_](?![\w-])"  # an option of one letter means something only with its dash: -a
    r"|[^\W\d_](?:\+\+|\#)(?!\w)"  # c++, c#
    rf"|(?P<word>[^\W_{_CJK}]+(?:'[^\W_{_CJK}]+)?)"  # letters and digits of any script; don't
)

# Longer is base64 or the like: its start is enough to find it.
_LONGEST = 64

# Lucene's English stop words.
_STOP_WORDS = """
a an and are as at be but by for if in into is it no not of on or such that the their then there these they
this to was will with
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())

_local = threading.local()


def lexical_tokens(text: str) -> list[str]:
    """Words, stemmed, without English stop words; pairs of Chinese, Japanese and Korean characters.

    NFKC and case folding come first. A run of such characters gives its overlapping pairs, a single one
    itself. Paths, options and versions come apart at their punctuation. A text of stop words only keeps them,
    for they are all it has.

    >>> lexical_tokens("Extracting files: tar -xzf file.tar.gz")
    ['extract', 'file', 'tar', 'xzf', 'file', 'tar', 'gz']
    >>> lexical_tokens("启动服务 with docker -a")
    ['启动', '动服', '服务', 'docker', '-a']
    >>> lexical_tokens("To be or not to be")
    ['to', 'be', 'or', 'not', 'to', 'be']
    """
    tokens: list[str] = []
    common: list[str] = []
    stem = _stemmer().stemWord
    for match in _TOKEN.finditer(normalise(text)):
        token = match[0]
        if match.lastgroup == "cjk":
            tokens += [token[at : at + 2] for at in range(max(1, len(token) - 1))]
        elif token in STOP_WORDS:
            common.append(token)
        elif match.lastgroup == "word":
            tokens.append(stem(token[:_LONGEST]))
        else:
            tokens.append(token)
    return tokens or common


def _stemmer() -> Any:
    """One for each thread: a stemmer must not be shared."""
    if not hasattr(_local, "stemmer"):
        import Stemmer

        _local.stemmer = Stemmer.Stemmer("english")
    return _local.stemmer
