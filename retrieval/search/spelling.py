"""The spelling of queries: a word that no document has is read as a similar one that documents have.

In: queries, an open index, and the words that its model knows. Out: the queries as they are searched. BM25
finds nothing by a misspelt word, and the towers less than half of what they find by the word itself. Knows
nothing of rankings.

A word is read as another only if no document has its term and the model has no row for it: the model then
has seen too little of it to know what it means. The other word is one that is the same but for accents, of
which any number may be missing (`retrieval.text.accents`). If there is none, and the word has four letters
or more, it is one that the word begins, for somebody may still be typing it, or one that a single edit makes
of it: a letter left out, added or changed, or two neighbours swapped. The first letter must then be right, as
it nearly always is (Pollock and Zamora 1984, Automatic Spelling Correction in Scientific and Scholarly Text).
Whoever leaves out the accents of one word leaves them out of all: if one is read so, other words are read
with accents too, though documents have them without, if clearly more have them with accents.
Two words are read as one if documents have only that. For Chinese see `retrieval.search.characters`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import cache, cached_property, partial
from itertools import pairwise
from typing import TYPE_CHECKING

from index.disk.arrays import reading_arrays
from index.lexical.normalisation import normalise
from index.lexical.similar import similar_to
from index.lexical.tokens import STOP_WORDS, lexical_tokens
from retrieval.search.characters import LONGEST_QUERY, read_characters
from retrieval.text.accents import plain_forms, spelt_as
from retrieval.text.words import is_cjk, words

if TYPE_CHECKING:
    from index.disk.sorted_texts import SortedTexts
    from index.protocol import OpenIndex
    from retrieval.text.vocabulary import Vocabulary

# With fewer letters a word has too many others beside it.
_LEAST_LETTERS = 4
# Of words that differ in accents only.
_LEAST_PLAIN_LETTERS = 2
# If so many times more documents have a word with accents than without, it is meant with them. With
# 10, of four letters or more, fewer are put right: French man pages nDCG@10 .737 in place of .744 (dev),
# Vietnamese labels .516 in place of .544; with both, no query as people wrote it is read otherwise.
_TIMES = 3
# Longer ones are no words of a language.
_MOST_LETTERS = 32
# Words of a query that are looked up: a new one takes milliseconds in an index of a million documents.
_MOST_WORDS = 8
# Words and Chinese queries whose corrections are remembered.
_REMEMBERED = 4096
# Scripts whose words are runs of letters: the first word of the letters' names in Unicode.
_SCRIPTS = frozenset(("LATIN", "GREEK", "CYRILLIC", "ARMENIAN", "GEORGIAN", "HEBREW", "ARABIC"))


class Spelling:
    """Corrects queries to an open index; safe for use by several threads.

    index: that is searched.
    vocabulary: of its model.
    """

    def __init__(self, index: OpenIndex, vocabulary: Vocabulary) -> None:
        self._index = index
        self._vocabulary = vocabulary
        self._known: dict[str, str] = {}

    def corrected(self, query: str, unknown: Collection[str]) -> str:
        """The query as it is searched. Names in capitals, numbers and identifiers stay as they are.

        unknown: its terms that no document has.
        """
        unknown = set(unknown)
        if len(query) <= LONGEST_QUERY:
            if any(len(term) == 2 and is_cjk(term) for term in unknown):
                query = self._remembered(query, partial(self._read_characters, query, unknown))
            query = self._joined(query, unknown)
        in_capitals = query.isupper()

        def is_unknown(word: str) -> bool:
            return _term_of(word) in unknown

        found, read = _read_words(query, in_capitals, is_unknown, self._similar)
        if any(word in plain_forms(meant) for word, meant in read.items()):
            found, _ = _read_words(found, in_capitals, _is_plain, self._accented)
        return found

    def _similar(self, word: str) -> str:
        """As `_most_similar`, remembered; "" for None."""
        return self._remembered(word, lambda: self._most_similar(word) or "")

    def _accented(self, word: str) -> str:
        """A word as it is with accents, if clearly more documents have it so; else ""."""

        def more_frequent() -> str:
            least = _TIMES * self._index.documents_with(_term_of(word))
            return self._without_accents(word, least) or ""

        # The key is no word, so that it is none of `_similar`.
        return self._remembered(f"{word} ", more_frequent)

    def _joined(self, query: str, unknown: set[str]) -> str:
        """The query without spaces that stand within a word. unknown: its terms that no document has."""
        parts, at = [], 0
        for first, second in pairwise(_word().finditer(query)):
            if first.start() < at or query[first.end() : second.start()] != " ":
                continue
            one = normalise(first[0] + second[0])
            two = {_term_of(normalise(first[0])), _term_of(normalise(second[0]))}
            if not unknown.isdisjoint(two) and self._is_known(one):
                parts += [query[at : first.start()], one]
                at = second.end()
        return "".join((*parts, query[at:]))

    def _is_known(self, word: str) -> bool:
        """Whether the model knows a word, and documents have it."""
        if not _is_word(word, _LEAST_LETTERS) or self._vocabulary.table.ids_of_words([word])[0] < 0:
            return False
        return self._row_with(word) is not None

    def _read_characters(self, query: str, unknown: Collection[str]) -> str:
        """A Chinese query as it is searched. unknown: its terms that no document has."""

        def documents_with(pair: str) -> int:
            return 0 if pair in unknown else self._index.documents_with(pair)

        found = read_characters(query, documents_with)
        # Deleted documents are counted, but nothing is found by a pair that only they have.
        return query if any(map(documents_with, self._index.unknown_terms(found))) else found

    def _remembered(self, typed: str, correct: Callable[[], str]) -> str:
        known = self._known.get(typed)
        if known is None:
            known = correct()
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[typed] = known
        return known

    def _most_similar(self, word: str) -> str | None:
        """The word that is likeliest meant by one that no document has; None if none is similar enough."""
        if self._vocabulary.table.ids_of_words([word])[0] >= 0:
            return None
        if accented := self._without_accents(word):
            return accented
        if not _is_word(word, _LEAST_LETTERS):
            return None
        with reading_arrays(self._index.model_folder):
            known = [self._words.at(numbers) for numbers in similar_to(word, self._words)]
        for similar in known:
            if near := self._most_frequent(self._counts(similar)):
                return near
        # A rare word has no row of its own, but documents have its term.
        for counts in self._index.similar_terms(_term_of(word)):
            for near in sorted(counts, key=lambda near: (-counts[near], near)):
                if written := self._written(near):
                    return written
        return None

    def _without_accents(self, word: str, least: int = 1) -> str | None:
        """The most frequent word of the documents that is the same but for accents; None if there is none.

        least: how many documents it must be in.
        """
        with reading_arrays(self._index.model_folder):
            known = {
                spelt.text
                for plain in plain_forms(word)
                for spelt in spelt_as(plain, self._words.first_from)
                if not spelt.rest
            }
        # A stem with accents may be that of other words than the one typed (German Ausdruck, Ausdrücke), so
        # terms are asked only if the model knows no word of the documents.
        return self._most_frequent(self._counts(known) or self._counts(set(self._rare(word))), least)

    def _rare(self, word: str) -> Iterator[str]:
        """The words of the index's terms that are the same as a word but for accents.

        A stem is the beginning of its word, or has i for y at its end.
        """
        for plain in plain_forms(word):
            for spelt in spelt_as(plain, self._index.first_term_from):
                if _term_of(spelt.text + spelt.rest) == spelt.text:
                    yield spelt.text + spelt.rest
            if plain.endswith("y"):
                for spelt in spelt_as(f"{plain[:-1]}i", self._index.first_term_from):
                    if not spelt.rest and _term_of(f"{spelt.text[:-1]}y") == spelt.text:
                        yield f"{spelt.text[:-1]}y"

    def _counts(self, similar: Iterable[str]) -> dict[str, int]:
        """How many documents have each of some words, of those that any has."""
        counts = {near: self._index.documents_with(_term_of(near)) for near in similar}
        return {near: count for near, count in counts.items() if count}

    def _most_frequent(self, counts: Mapping[str, int], least: int = 1) -> str | None:
        """The word that most documents have; None if none is in so many. counts: as of `_counts`."""
        frequent = [near for near, count in counts.items() if count >= least]
        for near in sorted(frequent, key=lambda near: (-counts[near], len(near), near)):
            if self._row_with(near) is not None:
                return near
        return None

    @cached_property
    def _words(self) -> SortedTexts:
        return self._vocabulary.table.sorted_words().texts

    def _row_with(self, word: str) -> int | None:
        """The row of the first document that is found by a word; None if those that have it were deleted."""
        (row,) = self._index.search_lexical([word], 1).rows[0].tolist() or [-1]
        return None if row < 0 else int(row)

    def _written(self, term: str) -> str | None:
        """A word of this term, of the first document that is found by it."""
        # The term of "databas" is another one, but that of "database" is "databas".
        row = self._row_with(term if _term_of(term) == term else f"{term}e")
        if row is None:
            return None
        (document,) = self._index.documents([row])
        different = dict.fromkeys(word for text in document.texts() for word in words(text))
        return next((word for word in different if _term_of(word) == term), None)


def _term_of(word: str) -> str:
    """The term of a word; "" for one that is several terms."""
    terms = lexical_tokens(word)
    return terms[0] if len(terms) == 1 else ""


def _read_words(
    query: str,
    in_capitals: bool,
    may_mean_another: Callable[[str], bool],
    read: Callable[[str], str],
) -> tuple[str, dict[str, str]]:
    """A query with each of its words as it is read; names, numbers, identifiers and stop words stay.

    in_capitals: whether it was typed so, so that a word in capitals is no name.
    may_mean_another: tells of a word whether to look it up.
    read: looks a word up; "" if it means itself.
    Returns also what the words that were looked up mean, at most `_MOST_WORDS`.
    """
    looked_up: dict[str, str] = {}

    def replaced(match: re.Match[str]) -> str:
        typed = match[0]
        word = normalise(typed)
        if (typed.isupper() and not in_capitals) or word in STOP_WORDS:
            return typed
        if not _is_word(word.replace("'", ""), _LEAST_PLAIN_LETTERS):
            return typed
        if word not in looked_up:
            if len(looked_up) == _MOST_WORDS or not may_mean_another(word):
                return typed
            looked_up[word] = read(word)
        return looked_up[word] or typed

    return _word().sub(replaced, query), looked_up


def _is_plain(word: str) -> bool:
    """Whether a word has no accents."""
    return plain_forms(word) == (word,)


def _is_word(word: str, least: int) -> bool:
    """Whether a word consists of letters, at least so many."""
    if not (least <= len(word) <= _MOST_LETTERS and word.isalpha()):
        return False
    return word.isascii() or unicodedata.name(word[0], "").partition(" ")[0] in _SCRIPTS


@cache
def _word() -> re.Pattern[str]:
    """The pattern of letters, or two runs with an apostrophe, not part of an identifier or address."""
    return re.compile(r"(?<![\w./\\@:])(?<!\w['’])[^\W\d_]+(?:['’][^\W\d_]+)?(?!['’./\\@:]?\w)")
