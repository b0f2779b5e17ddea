"""Millions of documents from some hundred thousand real ones, for measuring what grows with their number.

    python -m benchmarks.scale.synthesise CORPUS.jsonl.gz -o OUTPUT.jsonl.gz --documents 5000000 [--seed N]

CORPUS: documents as JSONL, also gzipped, each with an _id and a text; the id is taken for a name of words.
OUTPUT begins with them as they are; then come made ones until there are as many as asked for. The same seed
gives the same documents. The file has its name when it is complete.

Repeated copies of the documents would measure nothing: the words of an index would be those of one copy, and
each vector would be there several times. What is made keeps instead, for names and for texts:

* lengths: each made text has as many words as a real one drawn at random;
* word frequencies and neighbouring words. A text is a walk through the real texts. At each word it goes on at
  any place that has the same word, as far from the end of its text;
* the growth of the vocabulary. Under the Pitman-Yor process (Pitman and Yor 1997; Teh 2006), whose number of
  distinct words follows Heaps' law, V = K n^d, a word that occurs c times is drawn again with a weight of
  c - d, and what is left over, d for each distinct word, are new words. So a word of the walk becomes a
  made-up one with probability d / c. Which one, a process of the same kind says: a new one, or one made up
  before, the likelier the more often it occurs. Pairs of neighbours grow alike: with probability d / c of the
  pair, with its own d, a word is followed by another one, drawn from the words that end a pair, each pair
  once;
* unlike ids, and unlike texts: the real ones are without repeats too. What repeats is drawn again.

A made-up word is half of one rare word and half of another. Some in a text are those of its name, about half
as often as in real ones. Texts have no meaning beyond neighbouring words.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import math
import random
import re
import sys
import time
from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.common import parser_of
from benchmarks.scale.__main__ import lines
from index.numbering import Numbering

_WORD = re.compile(r"[^\W_]+")
_AT_ONCE = 20_000
# Draws of a text that repeats another, before a document is left out.
_DRAWS = 40
_SECONDS_BETWEEN_REPORTS = 5.0


class Field(NamedTuple):
    """The real names, or the real texts, word by word; a place is that of a word among all of them.

    leads: what stands before the first word of each text; a text without words is all lead.
    starts: int64 (texts + 1,), where each begins.
    ascending: int64 (texts with words,), these, shortest first.
    words: int32 (places,), the number of the word.
    pieces: int32 (places,), the number of the word with its case and with what follows it.
    written: the pieces by their numbers.
    alike: int32 (places,), all places; those with the same word and as many words to come lie together.
    first: int32 (places,), where in `alike` those of each place begin.
    many: int32 (places,), how many they are.
    turn: float32 (places,), how likely another word comes instead, after the one before.
    turns: int32 (pairs,), a place for each distinct pair of neighbours, where it ends; those with as many
        words to come lie together.
    turn_starts: int64 (longest text + 2,), where in `turns` those begin after which so many words come, the
        place's own included.
    """

    leads: Sequence[str]
    starts: NDArray[np.int64]
    ascending: NDArray[np.int64]
    words: NDArray[np.int32]
    pieces: NDArray[np.int32]
    written: Sequence[str]
    alike: NDArray[np.int32]
    first: NDArray[np.int32]
    many: NDArray[np.int32]
    turn: NDArray[np.float32]
    turns: NDArray[np.int32]
    turn_starts: NDArray[np.int64]

    @property
    def lengths(self) -> NDArray[np.int64]:
        return np.diff(self.starts)


def field_of(texts: Iterable[str], numbers: Numbering, seed: int) -> Field:
    """Take texts apart. numbers: of the words, case folded."""
    leads: list[str] = []
    lengths, words, pieces = array("q"), array("i"), array("i")
    written = Numbering()
    for text in texts:
        found = list(_WORD.finditer(text))
        leads.append(text[: found[0].start()] if found else text)
        lengths.append(len(found))
        ends = [*(match.start() for match in found), len(text)][1:]
        words.extend(numbers[match[0].casefold()] for match in found)
        pieces.extend(written[text[match.start() : end]] for match, end in zip(found, ends, strict=True))
    starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.array(lengths))])
    ascending = np.argsort(np.diff(starts), kind="stable")
    numbered = np.array(words)
    to_come = np.repeat(starts[1:], np.diff(starts)) - np.arange(len(numbered))
    alike, first, many = _groups(numbered.astype(np.int64) << 32 | to_come)
    turn, turns, turn_starts = _turns(numbered, starts, to_come, seed)
    return Field(
        leads,
        starts,
        ascending[np.diff(starts)[ascending] > 0],
        numbered,
        np.array(pieces),
        list(written),
        alike,
        first,
        many,
        turn,
        turns,
        turn_starts,
    )


def _groups(keys: NDArray[np.int64]) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
    """The places sorted by their keys; for each where those with its key begin, and how many they are."""
    _, group, many = np.unique(keys, return_inverse=True, return_counts=True)
    first = np.cumsum(many) - many
    order = np.argsort(keys, kind="stable")
    return order.astype(np.int32), first[group].astype(np.int32), many[group].astype(np.int32)


def _turns(
    words: NDArray[np.int32], starts: NDArray[np.int64], to_come: NDArray[np.int64], seed: int
) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.int64]]:
    """`turn`, `turns` and `turn_starts` of a field."""
    turn = np.zeros(len(words), np.float32)
    inside = np.ones(len(words), bool)
    inside[starts[:-1][np.diff(starts) > 0]] = False
    ends = np.flatnonzero(inside)  # places that end a pair
    pairs = words[ends - 1].astype(np.int64) << 32 | words[ends]
    _, ones, pair, counts = np.unique(pairs, return_index=True, return_inverse=True, return_counts=True)
    texts = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    turn[ends] = heaps_exponent(pairs, texts[ends], seed) / counts[pair]
    of_each = ends[ones]
    turns = of_each[np.argsort(to_come[of_each], kind="stable")]
    longest = int(to_come.max(initial=0))
    return turn, turns.astype(np.int32), np.searchsorted(to_come[turns], np.arange(longest + 2))


def heaps_exponent(values: NDArray[np.int64], texts: NDArray[np.int64], seed: int) -> float:
    """The d of V = K n^d, from the distinct values in half of the texts and in all.

    values: int (n,). texts: int (n,), of which text each is.
    """
    half = values[np.random.default_rng(seed).random(int(texts.max(initial=0)) + 1)[texts] < 0.5]
    if not len(half):
        return 0.0
    return math.log(len(np.unique(values)) / len(np.unique(half))) / math.log(len(values) / len(half))


class Coinage:
    """Made-up words of one kind: some new, some that were made up before.

    sources: rare words of this kind, of whose halves they are made.
    weight: how strongly new ones are drawn; d for each distinct real word of this kind.
    discount: d of the process.
    """

    def __init__(self, sources: Sequence[str], weight: float, discount: float, seed: str) -> None:
        self._sources = sources
        self._weight = weight
        self._discount = discount
        self._random = random.Random(seed)
        self.words: list[str] = []
        self._counts = array("i")
        self._occurrences = array("i")

    def draw(self) -> int:
        """The number of a word, which does not count before `keep`."""
        chance, seen = self._random.random, self._occurrences
        if chance() * (len(seen) + self._weight) >= self._weight:
            word = seen[int(chance() * len(seen))]
            if chance() * self._counts[word] >= self._discount:
                return word
        first, second = self._random.choices(self._sources, k=2)
        self.words.append(first[: (len(first) + 1) // 2] + second[len(second) // 2 :])
        self._counts.append(0)
        return len(self.words) - 1

    def keep(self, word: int) -> None:
        """Count an occurrence of a word that was drawn."""
        self._counts[word] += 1
        self._occurrences.append(word)


class Slot(NamedTuple):
    """A made-up word inside a text: its kind, and its number there."""

    coinage: Coinage
    word: int


class Words(NamedTuple):
    """The real words of names and texts together.

    chances: float32 (words,), how likely each becomes a made-up word.
    kinds: int8 (words,), of which kind.
    coinages: the made-up words of each kind.
    own: how likely a made-up word of a text is one of its name, if that has any.
    """

    chances: NDArray[np.float32]
    kinds: NDArray[np.int8]
    coinages: Sequence[Coinage]
    own: float


def kind_of(word: str) -> int:
    """Letters of ASCII, with a digit, or of other scripts."""
    return (0 if word.isalpha() else 1) if word.isascii() else 2


def words_of(numbers: Numbering, names: Field, texts: Field, seed: int) -> Words:
    """What is known of the words of names and texts. numbers: of the words."""
    everything = np.concatenate([names.words, texts.words]).astype(np.int64)
    documents = np.concatenate([_texts_of(names), _texts_of(texts)])
    discount = heaps_exponent(everything, documents, seed)
    counts = np.bincount(everything, minlength=len(numbers))
    kinds = np.fromiter(map(kind_of, numbers), np.int8, len(numbers))
    all_words = np.array(list(numbers), object)
    coinages = []
    for kind in range(3):
        rare = all_words[(kinds == kind) & (counts == 1)].tolist()
        weight = discount * np.count_nonzero(kinds == kind)
        coinages.append(Coinage(rare or list(numbers), weight, discount, f"{seed} {kind}"))
    return Words((discount / counts).astype(np.float32), kinds, coinages, _own(names, texts))


def _texts_of(field: Field) -> NDArray[np.int64]:
    """Of each place the text, int64 (places,)."""
    return np.repeat(np.arange(len(field.leads)), field.lengths)


def _own(names: Field, texts: Field) -> float:
    """Of the words that one text has, the share that its name has, where the name has a word of no other."""
    many = int(max(names.words.max(initial=0), texts.words.max(initial=0))) + 1
    in_names, in_texts = (_texts_of(field) for field in (names, texts))
    rare_names, rare_texts = (
        np.bincount(field.words, minlength=many)[field.words] == 1 for field in (names, texts)
    )
    asked = rare_texts & np.isin(in_texts, in_names[rare_names])
    found = np.isin(in_texts[asked] * many + texts.words[asked], in_names * many + names.words)
    return float(found.mean()) if len(found) else 0.0


def walk(
    field: Field, texts: NDArray[np.int64], generator: np.random.Generator
) -> Iterator[NDArray[np.int32]]:
    """For each of n texts the places of a walk that has its first word and its length."""
    lengths = field.lengths[texts]
    longest_first = np.argsort(-lengths, kind="stable")
    places = np.zeros((len(texts), int(lengths.max(initial=0))), np.int32)
    to_come = lengths[longest_first]
    at = field.starts[texts[longest_first]]
    for step in range(places.shape[1]):
        at = at[: np.count_nonzero(lengths > step)]
        if step:
            turning = np.flatnonzero(generator.random(len(at)) < field.turn[at])
            low, high = (field.turn_starts[to_come[turning] - step + more] for more in (0, 1))
            turning, low, high = (each[high > low] for each in (turning, low, high))
            at[turning] = field.turns[generator.integers(low, high)]
        among = (generator.random(len(at)) * field.many[at]).astype(np.int64)
        chosen = field.alike[field.first[at] + among]
        places[longest_first[: len(at)], step] = chosen
        at = chosen + 1
    for row, length in zip(places, lengths, strict=True):
        yield row[:length]


def made_texts(
    field: Field,
    texts: NDArray[np.int64],
    beside: Sequence[Sequence[Slot]],
    words: Words,
    generator: np.random.Generator,
) -> Iterator[tuple[str, list[Slot]]]:
    """A made text after each of n real ones, and the made-up words in it.

    beside: the made-up words in the name of each.
    """
    written = field.written
    walks = walk(field, texts, generator)
    for text, places, own in zip(texts.tolist(), walks, beside, strict=True):
        pieces = [written[piece] for piece in field.pieces[places].tolist()]
        numbers = field.words[places]
        slots = []
        for at in np.flatnonzero(generator.random(len(places)) < words.chances[numbers]).tolist():
            coinage = words.coinages[words.kinds[numbers[at]]]
            if own and generator.random() < words.own:
                slot = own[generator.integers(len(own))]
            else:
                slot = Slot(coinage, coinage.draw())
            slots.append(slot)
            pieces[at] = _in_place_of(pieces[at], slot.coinage.words[slot.word])
        yield field.leads[text] + "".join(pieces), slots


def _in_place_of(piece: str, word: str) -> str:
    """A piece with another word, which begins like the piece's own with a capital or not."""
    return (word.capitalize() if piece[0].isupper() else word) + _WORD.sub("", piece, count=1)


class Seen:
    """Texts that are taken, by their digests: eight bytes each."""

    def __init__(self) -> None:
        self._digests = np.empty(0, np.uint64)

    def add(self, texts: Sequence[str]) -> list[bool]:
        """For each text whether it is new, also among the texts before it; from now on all are taken."""
        joined = b"".join(hashlib.blake2b(text.encode(), digest_size=8).digest() for text in texts)
        digests = np.frombuffer(joined, np.uint64)
        _, first = np.unique(digests, return_index=True)
        new = np.zeros(len(texts), bool)
        new[first] = True
        at = np.searchsorted(self._digests, digests)
        inside = at < len(self._digests)
        new[inside] &= self._digests[at[inside]] != digests[inside]
        merged = np.concatenate([self._digests, digests[new]])
        merged.sort(kind="stable")  # two ascending runs are merged
        self._digests = merged
        answers: list[bool] = new.tolist()
        return answers


class Made(NamedTuple):
    """A made name or text, and the made-up words in it; an empty one stands for none."""

    text: str
    slots: Sequence[Slot]


def unlike(
    field: Field,
    beside: Sequence[Sequence[Slot]],
    words: Words,
    seen: Seen,
    generator: np.random.Generator,
) -> list[Made]:
    """Made texts that no other document has, each of the length of a real one drawn at random.

    beside: of each the made-up words in its name.
    """
    found = [Made("", ())] * len(beside)
    texts = field.ascending[generator.integers(len(field.ascending), size=len(beside))]
    ascending = field.lengths[field.ascending]
    lacking = np.arange(len(texts))
    for _ in range(_DRAWS):
        own = [beside[at] for at in lacking.tolist()]
        drawn = list(made_texts(field, texts[lacking], own, words, generator))
        new = seen.add([text for text, _ in drawn])
        for at, (text, slots), is_new in zip(lacking.tolist(), drawn, new, strict=True):
            if is_new:
                found[at] = Made(text, slots)
                for slot in slots:
                    slot.coinage.keep(slot.word)
        lacking = lacking[~np.array(new)]
        if not len(lacking):
            break
        lengths = field.lengths[texts[lacking]]
        low, high = np.searchsorted(ascending, lengths), np.searchsorted(ascending, lengths, "right")
        texts[lacking] = field.ascending[generator.integers(low, high)]
    return found


def made(names: Sequence[str], texts: Sequence[str], count: int, seed: int) -> Iterator[tuple[str, str]]:
    """Names and texts of so many documents, made from real ones and unlike those and each other.

    Raises ValueError for texts of which no more can be made.
    """
    numbers = Numbering()
    of_names, of_texts = (field_of(real, numbers, seed) for real in (names, texts))
    words = words_of(numbers, of_names, of_texts, seed)
    seen_names, seen_texts = Seen(), Seen()
    seen_names.add(names)
    seen_texts.add(texts)
    generator = np.random.default_rng(seed)
    done = 0
    while done < count:
        none: list[list[Slot]] = [[]] * min(_AT_ONCE, count - done)
        drawn = unlike(of_names, none, words, seen_names, generator)
        beside = unlike(of_texts, [name.slots for name in drawn], words, seen_texts, generator)
        pairs = [
            (name.text, text.text)
            for name, text in zip(drawn, beside, strict=True)
            if name.text and text.text
        ]
        if not pairs:
            raise ValueError(f"no more than {done:,} unlike documents can be made of these")
        yield from pairs
        done += len(pairs)


def records(corpus: Path) -> Iterator[dict[str, Any]]:
    """The documents of a JSONL file."""
    return map(json.loads, lines(corpus))


def synthesise(corpus: Path, output: Path, documents: int, seed: int) -> None:
    """Write the documents of a corpus, and made ones after them until there are as many as asked for."""
    real = [(record["_id"], record["text"]) for record in records(corpus)][:documents]
    names, texts = [name for name, _ in real], [text for _, text in real]
    following = made(names, texts, documents - len(real), seed) if len(real) < documents else iter(())
    unfinished = output.with_name(f"{output.name}.part")
    start = reported = time.monotonic()
    with gzip.open(unfinished, "wt", encoding="utf-8", compresslevel=1) as file:
        for done, (name, text) in enumerate(chain(real, following), 1):
            file.write(json.dumps({"_id": name, "title": name, "text": text}, ensure_ascii=False) + "\n")
            if done % 1000 == 0 and (now := time.monotonic()) - reported > _SECONDS_BETWEEN_REPORTS:
                reported = now
                left = (documents - done) * (now - start) / done
                print(f"{done:,} of {documents:,} documents, {left:.0f} s left", file=sys.stderr, flush=True)
    unfinished.replace(output)


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--documents", type=int, default=5_000_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    synthesise(options.corpus, options.output, options.documents, options.seed)


if __name__ == "__main__":
    main()
