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

import re

from index.lexical.cjk import CJK, COMPATIBILITY
from index.lexical.normalisation import normalise

# The twelve of older standards that NFKC leaves as they are count too; to BM25 they are letters.
_CJK = CJK + COMPATIBILITY
# Scripts whose vowel signs are marks, which \w leaves out: Devanagari to Sinhala (not the danda), Thai to
# Khmer.
_MARKED = (
    "\u0300-\u036f\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0900-\u0963\u0966-\u0df3"
    "\u0e31-\u0e3a\u0e47-\u0e4e\u0eb1-\u0ecd\u0f71-\u0f84\u102b-\u103e\u17b6-\u17d3"
)
# Possessive ("*+"), for the matcher would remember every turn of the loop to come back to.
_LETTERS = rf"[^\W_{_CJK}]+(?:[{_MARKED}][^\W_{_CJK}]*+)*+"
_WORD = re.compile(
    rf"(?P<cjk>[{_CJK}]+)"
    r"|(?<![\w-])-[^\W_]{1,4}(?![\w-])"  # short options: -x, -xzf
    r"|\d++(?:\.\d++)++"  # versions and decimals: 2.13.0
    rf"|{_LETTERS}(?:'{_LETTERS}|\+\+|\#(?!\w))?"  # letters and digits of any script; don't, c++, c#
    r"|&&|\|\||>>|<<|[=-]>|::|[=!<>]="
)
_IS_CJK = re.compile(rf"[{_CJK}]")
_NOT_SPACE = re.compile(r"\S+")

# A word longer than this is no word (base64, a URL's tail): its first trigrams say enough, and the cost stays
# bounded.
_LONGEST_WORD = 64


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
        if match.lastgroup == "cjk":
            found.extend(word[i : i + 2] for i in range(len(word)))
        else:
            found.append(word[:_LONGEST_WORD])
        if limit is not None and len(found) >= limit:
            return found[:limit]
    if not found:
        found = [run[:_LONGEST_WORD] for run in _NOT_SPACE.findall(text)][:limit]
    return found or [""]


def is_cjk(word: str) -> bool:
    """Whether a word is a Chinese, Japanese or Korean character, or a pair of them."""
    return _IS_CJK.match(word) is not None


def trigrams(word: str) -> list[str]:
    """Letter trigrams of `#word#` with repeats; for a CJK word the character and, if there is one, the pair.

    >>> trigrams("cat"), trigrams("启动"), trigrams("")
    (['#ca', 'cat', 'at#'], ['#启#', '#启动#'], ['##'])
    """
    if len(word) <= 2 and is_cjk(word):
        return [f"#{word[0]}#"] if len(word) == 1 else [f"#{word[0]}#", f"#{word}#"]
    marked = f"#{word}#"
    return [marked[i : i + 3] for i in range(max(1, len(marked) - 2))]
