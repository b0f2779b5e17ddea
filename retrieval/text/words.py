"""Text to words, and words to letter trigrams.

In: any Unicode string. Out: its words, at least one, and the trigrams of a word, at least one. Knows nothing
of feature ids or vectors.

Word hashing follows Huang et al. 2013, section 3.2: a word is the bag of letter trigrams of `#word#`, so that
forms and misspellings of a word share most of its features. Two kinds of text are read differently:

* Chinese, Japanese and Korean (CJK). Every character begins a word, which is this character and the next one
  of the same run; the last character of a run is a word alone. The features of the word are the character and
  the pair. The pair identifies the context of the character, so no segmenter is needed. On the dev split of
  `tldr-zh` characters alone reach nDCG@10 .676, pairs alone .670, both together .698.
* Commands and identifiers. `-xzf`, `c++`, `2.13.0` and `&&` are one word each. `--list-slots`, `snake_case`
  and `path/to/file.jar` are split into their parts, so that a query in plain English matches the parts.

Text is normalised with NFKC (full-width letters, ligatures) and case folded. Repeated characters and numbers
are kept, because they carry the meaning in texts such as a parts catalogue.
"""

from __future__ import annotations

import re
from functools import cache
from itertools import islice

from index.lexical.cjk import CJK, COMPATIBILITY, edges, is_within
from index.lexical.normalisation import normalise
from index.lexical.simple import is_simple, plain_words

# Includes the twelve compatibility characters that NFKC does not change. BM25 treats those as letters.
_CJK = CJK + COMPATIBILITY
_EDGES = edges(_CJK)
# Combining marks that \w does not match: accents, Hebrew and Arabic points, Devanagari to Sinhala
# (without the danda), Thai to Khmer.
_MARKED = (
    "\u0300-\u036f\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0900-\u0963\u0966-\u0df3"
    "\u0e31-\u0e3a\u0e47-\u0e4e\u0eb1-\u0ecd\u0f71-\u0f84\u102b-\u103e\u17b6-\u17d3"
)
# Possessive ("*+"): otherwise the matcher stores a position for every repetition, to backtrack to.
_LETTERS = rf"[^\W_{_CJK}]+(?:[{_MARKED}][^\W_{_CJK}]*+)*+"
_ASCII_LETTERS = r"[a-z0-9][a-z0-9]*+"

# Characters. Longer strings are not words of a language (base64, a long URL). The limit bounds their cost.
_LONGEST_WORD = 64


def document_text(title: str, text: str) -> str:
    """The text that the document tower reads: the title, then the text."""
    return f"{title} {text}".strip()


def words(text: str, limit: int | None = None) -> list[str]:
    """The words of a text in order, at least one.

    A text that consists of signs only is split at white space. An empty text is the single word "".

    text: any text.
    limit: the largest number of words; None for all.

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
    if text.isascii():
        found = _ascii_words(text, limit)
    elif is_simple(text):
        found = _words_and_cjk(_simple_word(), text, limit)
    else:
        found = _words_of_any_script(text, limit)
    if not found:
        found = [run[:_LONGEST_WORD] for run in re.findall(r"\S+", text)][:limit]
    return found or [""]


def _ascii_words(text: str, limit: int | None) -> list[str]:
    return plain_words(text)[:limit] or _matches(_ascii_word(), text, limit)


def _matches(pattern: re.Pattern[str], text: str, limit: int | None) -> list[str]:
    if len(text) <= _LONGEST_WORD * 4:
        found: list[str] = pattern.findall(text)[:limit]
    else:  # of a long text, find no more than the limit
        found = [match[0] for match in islice(pattern.finditer(text), limit)]
    return found if len(text) <= _LONGEST_WORD else [word[:_LONGEST_WORD] for word in found]


def _words_of_any_script(text: str, limit: int | None) -> list[str]:
    if _cjk().search(text) is None:
        return _matches(_word_without_cjk(), text, limit)
    return _words_and_cjk(_word(), text, limit)


def _words_and_cjk(pattern: re.Pattern[str], text: str, limit: int | None) -> list[str]:
    found: list[str] = []
    for match in pattern.finditer(text):
        word = match.group()
        if match.lastgroup == "cjk":
            found.extend(word[i : i + 2] for i in range(len(word)))
        else:
            found.append(word[:_LONGEST_WORD])
        if limit is not None and len(found) >= limit:
            return found[:limit]
    return found


def is_cjk(word: str) -> bool:
    """Whether a word of `words` is a Chinese, Japanese or Korean character, or a pair of them."""
    return not word.isascii() and is_within(word[0], _EDGES)


def trigrams(word: str) -> list[str]:
    """Letter trigrams of `#word#`, with repeats. A CJK word has its character, and its pair if it is one.

    >>> trigrams("cat"), trigrams("启动"), trigrams("")
    (['#ca', 'cat', 'at#'], ['#启#', '#启动#'], ['##'])
    """
    if len(word) <= 2 and is_cjk(word):
        return [f"#{word[0]}#"] if len(word) == 1 else [f"#{word[0]}#", f"#{word}#"]
    marked = f"#{word}#"
    return [marked[i : i + 3] for i in range(max(1, len(marked) - 2))]


@cache
def _ascii_word() -> re.Pattern[str]:
    """The pattern of a word for normalised texts of ASCII: finds what `_word` finds, in less time."""
    return re.compile(_pattern_of(_ASCII_LETTERS, r"[a-z0-9]"), re.ASCII)


@cache
def _simple_word() -> re.Pattern[str]:
    """The pattern of a word for normalised texts that are `is_simple`: finds what `_word` finds."""
    return re.compile(r"(?P<cjk>[^\x00-\x7f]+)|" + _pattern_of(_ASCII_LETTERS, r"[^\W_]"))


@cache
def _word() -> re.Pattern[str]:
    """The pattern of a word. It takes 30 ms to compile, for which a search in English must not wait."""
    return re.compile(rf"(?P<cjk>[{_CJK}]+)|" + _pattern_of(_LETTERS, r"[^\W_]"))


@cache
def _word_without_cjk() -> re.Pattern[str]:
    """The pattern of a word for texts without CJK: no groups, so that all words are found in one call."""
    return re.compile(_pattern_of(_LETTERS, r"[^\W_]"))


def _pattern_of(letters: str, letter: str) -> str:
    """The pattern of a word.

    letters: pattern of a run of letters and digits.
    letter: pattern of one letter or digit.

    Every alternative begins with a character or a set, with which the matcher passes over it at once.
    """
    return (
        rf"-(?<![\w-]-){letter}{{1,4}}(?![\w-])"  # short options: -x, -xzf
        r"|\d\d*+(?:\.\d++)++"  # versions and decimals: 2.13.0
        rf"|{letters}(?:'{letters}|\+\+|\#(?!\w))?"  # letters and digits of any script; don't, c++, c#
        r"|&&|\|\||>>|<<|[=-]>|::|[=!<>]="
    )


@cache
def _cjk() -> re.Pattern[str]:
    return re.compile(rf"[{_CJK}]")
