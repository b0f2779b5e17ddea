"""Pseudo-queries: what counts as one, and where in the document it stands."""

from __future__ import annotations

import pytest

from index.documents.store import Document
from retrieval.text.vocabulary import Lexicon, Vocabulary
from retrieval.text.words import document_text
from retrieval.training.examples.pseudo_queries import MAX_PER_DOCUMENT, pseudo_queries


def found(title, text, limit=50):
    """(text, start, end) of each pseudo-query."""
    lexicon = Lexicon(Vocabulary((), 3))
    words = lexicon.word_ids(document_text(title, text), limit)
    queries = pseudo_queries(Document("d", title, text), words, lexicon)
    for query in queries:
        assert query.words[: len(words) - query.start] == words[query.start : query.end]
    return [(query.text, query.start, query.end) for query in queries]


@pytest.mark.parametrize(
    ("title", "text", "expected"),
    [
        ("ls", "List all files.", [("ls", 0, 1)]),
        (
            "ls",
            "List all files. ls -l ; ls -a -h",
            [("ls", 0, 1), ("List all files.", 1, 4), ("ls -a -h", 6, 9)],
        ),
        ("", "One two three\nfour five six", [("One two three", 0, 3), ("four five six", 3, 6)]),
        (
            "启动",
            "启动一个活动。传递数据给它！",
            [("启动", 0, 2), ("启动一个活动。", 2, 8), ("传递数据给它！", 8, 14)],
        ),
        (
            "",
            "version 2.13.0 is out. see the notes",
            [("version 2.13.0 is out.", 0, 4), ("see the notes", 4, 7)],
        ),
        ("?!", "One two three. Four five six.", [("One two three.", 0, 3), ("Four five six.", 3, 6)]),
        ("one sentence with no rest", "", []),
        ("", "", []),
        ("a", "b", []),
    ],
)
def test_title_and_sentences_are_found_where_they_stand(title, text, expected):
    assert found(title, text) == expected


def test_words_beyond_the_limit_ask_nothing():
    assert found("a title", "one two three. four five six. seven eight nine.", limit=6) == [
        ("a title", 0, 2),
        ("one two three.", 2, 5),
        ("four five six.", 5, 8),
    ]


def test_a_long_document_gives_its_first_sentences():
    text = " ".join(f"sentence number {n}." for n in range(40))
    assert [text for text, _, _ in found("", text, 500)] == [
        f"sentence number {n}." for n in range(MAX_PER_DOCUMENT)
    ]
