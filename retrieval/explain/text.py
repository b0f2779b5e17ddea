"""An explanation as JSON values, and as text for a terminal.

In: a `MatchExplanation`. Out: JSON values; lines of pieces, marked or not.
Knows nothing of models, printing or colours.
"""

from __future__ import annotations

from dataclasses import asdict
from itertools import groupby
from typing import Any
from unicodedata import category, east_asian_width

from index.lexical.normalisation import normalise
from retrieval.explain.rescoring import RankExplanation
from retrieval.explain.shares import MatchExplanation, TextExplanation, WordExplanation
from retrieval.text.snippet import Piece
from retrieval.text.words import is_cjk

_BAR = 24  # columns of the longest bar
_ROWS = 16  # words of a table at most
_EFFECTS = 8  # features of a re-scored document at most
_SHOWN = 1 << 18  # characters of a text that are shown at most; towers read far fewer
_EIGHTHS = " \u258f\u258e\u258d\u258c\u258b\u258a\u2589"


def to_json(explanation: MatchExplanation, rank: RankExplanation | None = None) -> dict[str, Any]:
    """The explanation as JSON values.

    tower, pooling, exact, cosine: as in `MatchExplanation`.
    corrected: the query that is explained, only if misspelt words of the one typed were corrected.
    query: `text`, `words` (the fields of `WordExplanation`) and `cells`.
    query.cells: `left_to_right` and `right_to_left`, the ten most active cells, each with its number `cell`,
        its `output` at the end and the places of the `words` that it detected; empty without an LSTM.
    document: as query, and `id` and `passage`; null without a document.
    document.passage: `start` and `end` of the part of its text that is explained; null for all of it.
    pairs: the pairs of words with the largest shares of the cosine: a word each of `query` and `document`,
        and `share`.
    ranking: how hybrid search ranks the document, the fields of `RankExplanation`; null without re-scoring.
    """
    query, document = explanation.query, explanation.document
    return {
        "tower": explanation.tower,
        "pooling": explanation.pooling,
        "exact": explanation.exact,
        "cosine": explanation.cosine,
        **({} if query.text == explanation.typed else {"corrected": query.text}),
        "query": _text_json(query),
        "document": None
        if document is None
        else {
            "id": explanation.document_id,
            "passage": explanation.passage and explanation.passage._asdict(),
            **_text_json(document),
        },
        "pairs": [pair._asdict() for pair in explanation.pairs],
        "ranking": None if rank is None else _rank_json(rank),
    }


def _rank_json(rank: RankExplanation) -> dict[str, Any]:
    words, features = ([one._asdict() for one in part] for part in (rank.words, rank.features))
    return {**asdict(rank), "words": words, "features": features}


def rank_lines(rank: RankExplanation) -> list[str]:
    """The explanation of a rank as lines: ranks, the best match of each query word, the largest effects."""
    if rank.rank is None:
        lines = [f"not among the {rank.candidates} candidates of hybrid search, so it is not re-scored"]
    else:
        lines = [f"rank {rank.rank} of {rank.candidates} candidates (by fusion alone {rank.fused_rank})"]
    width = max((_columns(word.query) for word in rank.words), default=0)
    for word in rank.words:
        blanks = " " * (width - _columns(word.query))
        known = " (of a known query)" if word.known else ""
        lines.append(f"  {word.query}{blanks}  {word.share:4.0%}  {word.cosine:+.2f}  {word.document}{known}")
    lines += [f"  {one.effect:+.3f}  {one.feature} {one.value:.3g}" for one in rank.features[:_EFFECTS]]
    return lines


def _text_json(explained: TextExplanation) -> dict[str, Any]:
    cells = {name: [cell._asdict() for cell in active] for name, active in explained.cells.items()}
    return {"text": explained.text, "words": [asdict(word) for word in explained.words], "cells": cells}


def strongest(explained: TextExplanation) -> set[int]:
    """Places of the words with at least half of the largest share; none if no share is positive."""
    top = max(word.share for word in explained.words)
    return {place for place, word in enumerate(explained.words) if word.share >= max(top / 2, 1e-9)}


def highlighted(explained: TextExplanation) -> list[Piece]:
    """The text up to where the tower stopped reading, with its strongest words marked.

    White space is shown as single blanks.
    """
    strong = strongest(explained)
    text = " ".join(explained.text[:_SHOWN].split())
    lowered = normalise(text)
    if len(lowered) != len(text):  # normalising changed its length: show what the tower reads
        text = lowered
    marked = [False] * len(text)
    at = 0
    for place, word in enumerate(explained.words):
        begin = lowered.find(word.word, at)
        if begin < 0:
            continue
        end = begin + len(word.word)
        if place in strong:
            marked[begin:end] = [True] * (end - begin)
        # CJK words are overlapping pairs of characters: the next word starts within this one.
        at = begin + 1 if len(word.word) == 2 and is_cjk(word.word) else end
    cut = len(explained.text) > _SHOWN or any(letter.isalnum() for letter in text[at + 1 :])
    runs = groupby(zip(text[: at if cut else None], marked, strict=False), key=lambda item: item[1])
    pieces = [Piece("".join(letter for letter, _ in run), mark) for mark, run in runs]
    return [*pieces, Piece(" … (read no further)", False)] if cut else pieces


def word_table(explained: TextExplanation) -> list[list[Piece]]:
    """A table with one line for each word and the columns that apply to the tower.

    A long text is cut to the words with the largest shares. The strongest words are marked.
    """
    words = explained.words
    ranked = sorted(range(len(words)), key=lambda place: -abs(words[place].share))[:_ROWS]
    top = max(abs(word.share) for word in words) or 1.0
    width = max(4, *(_columns(words[place].word) for place in ranked))
    strong = strongest(explained)
    lines = [[Piece("word".ljust(width) + _head(words), False)]]
    for place in sorted(ranked):
        word = words[place]
        name = word.word + " " * (width - _columns(word.word))
        lines.append([Piece(name, place in strong), Piece(_row(word, top), False)])
    if len(words) > len(ranked):
        lines.append([Piece(f"... and {len(words) - len(ranked)} words of smaller shares", False)])
    return lines


def _head(words: list[WordExplanation]) -> str:
    head = f"{'share':>9}  {'':{_BAR}}"
    if words[0].weight is not None:
        head += f"{'weight':>8}"
    if words[0].pooled is not None:
        head += f"{'windows':>9}"
    if _has_cells(words):
        head += f"{'cells':>7} > <"
    return head.rstrip()


def _row(word: WordExplanation, top: float) -> str:
    row = f"{word.share:>+9.3f}  {_bar(word.share / top):{_BAR}}"
    if word.weight is not None:
        row += f"{word.weight:>8.2f}"
    if word.pooled is not None:
        row += f"{word.pooled:>9}"
    if word.left_to_right is not None or word.right_to_left is not None:
        row += f"{_count(word.left_to_right):>9}{_count(word.right_to_left):>3}"
    row += "  keyword" * word.keyword + "  (unseen)" * (not word.known)
    return row.rstrip()


def _count(cells: int | None) -> str:
    return "-" if cells is None else str(cells)


def _has_cells(words: list[WordExplanation]) -> bool:
    return any(word.left_to_right is not None or word.right_to_left is not None for word in words)


def _bar(part: float) -> str:
    """A bar for a part of the largest share, -1 to 1, in eighths of a column; shaded if negative."""
    eighths = round(abs(part) * _BAR * 8)
    if part < 0:
        return "\u2591" * max(1, eighths // 8) if eighths else ""
    return "\u2588" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()


def _columns(text: str) -> int:
    """The width of a text on a terminal, in columns. An accent or a vowel sign above a letter takes none."""
    return sum(
        2 if east_asian_width(letter) in "WF" else 1
        for letter in text
        if category(letter) not in ("Mn", "Me", "Cf")
    )
