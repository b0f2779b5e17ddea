"""Which column means what: usual names, named columns, and one line where it cannot be told."""

from __future__ import annotations

from pathlib import Path

import pytest

from index.errors import InputError
from retrieval.data.columns.pairs import Columns, find_columns

FAQ = Path("faq.csv")


@pytest.mark.parametrize(
    ("names", "roles"),
    [
        (["Question", "Answer"], {"query": "Question", "document": "Answer"}),
        (["问题", "答案"], {"query": "问题", "document": "答案"}),
        (["标准问题", "相似问题", "标准答案"], {"query": "标准问题", "document": "标准答案"}),
        (["搜索词", "标准问题", "内容"], {"query": "搜索词", "document": "内容"}),
        (
            ["anchor", "positive", "negative"],
            {"query": "anchor", "document": "positive", "negative": "negative"},
        ),
        (
            ["query", "pos", "neg", "pos_scores", "neg_scores", "prompt", "type"],
            {"query": "query", "document": "pos", "negative": "neg"},
        ),
        (
            ["anchor", "positive", "negative_1", "Hard Negative 2"],
            {"query": "anchor", "document": "positive", "negative": "negative_1, Hard Negative 2"},
        ),
        (
            ["id", "doc-id", "title", "text", "search_query", "Label", "SPLIT"],
            {
                "query": "search_query",
                "document": "text",
                "id": "doc-id",
                "title": "title",
                "score": "Label",
                "split": "SPLIT",
            },
        ),
        (
            ["sentence1", "sentence2", "score"],
            {"query": "sentence1", "document": "sentence2", "score": "score"},
        ),
        (["prompt", "response"], {"query": "prompt", "document": "response"}),
        (
            ["Titel", "FRAGE", "Antwort", "Text"],
            {"query": "FRAGE", "document": "Antwort", "title": "Titel"},
        ),
        (
            ["Question", "R\u00e9ponse", "TITRE"],
            {"query": "Question", "document": "R\u00e9ponse", "title": "TITRE"},
        ),
        (["question", "Re\u0301ponse"], {"query": "question", "document": "Re\u0301ponse"}),
        (
            ["Pregunta", "Respuesta", "T\u00cdTULO"],
            {"query": "Pregunta", "document": "Respuesta", "title": "T\u00cdTULO"},
        ),
        (["question", "answer", "frage", "antwort"], {"query": "question", "document": "answer"}),
    ],
)
def test_usual_names_are_recognised(names: list[str], roles: dict[str, str]) -> None:
    columns = find_columns(FAQ, names, {})
    assert columns is not None
    assert columns.named() == roles
    used = {name for value in roles.values() for name in value.split(", ")}
    assert set(columns.unused) == set(names) - used


def test_a_table_without_a_query_is_none_of_pairs() -> None:
    assert find_columns(FAQ, ["_id", "title", "text"], {}) is None
    assert find_columns(FAQ, ["query", "answer"], {"query": []}) is None


def test_named_columns_go_before_usual_names() -> None:
    given = {"query": ["Frage"], "document": ["query"], "negative": ["x", "y"], "id": []}
    columns = find_columns(FAQ, ["Frage", "query", "x", "y", "id", "neg"], given)
    assert columns == Columns("Frage", "query", None, None, None, None, ("x", "y"), ("id", "neg"))


@pytest.mark.parametrize(
    ("names", "given", "told"),
    [
        (
            ["query", "Question", "answer"],
            {},
            "'query', 'Question' all fit the query; choose one with --column",
        ),
        (["query", "answer", "document"], {}, "'answer', 'document' all fit the document; choose one"),
        (
            ["query", "stuff"],
            {},
            "no column is recognised as the document; the columns are 'query', 'stuff':",
        ),
        (
            ["query;answer", "long;topic"],
            {"query": ["query;answer"]},
            "no column is recognised as the document; the columns are 'query;answer', 'long;topic': name one "
            "with --column document=NAME; or say what separates the cells in a first line, such as sep=;",
        ),
        (
            ["query;answer", "long;topic"],
            {"query": ["query"]},
            "has no column 'query'; the columns are 'query;answer', 'long;topic'; or say what separates the",
        ),
        (
            ["question", "a"],
            {"query": ["question"], "document": ["question"]},
            "column 'question' is named as the query and as the document; it can be one of them",
        ),
        (["a", "b"], {"query": ["c"]}, "has no column 'c'; the columns are 'a', 'b'"),
    ],
)
def test_what_cannot_be_told_is_one_line(names: list[str], given: dict[str, list[str]], told: str) -> None:
    with pytest.raises(InputError) as caught:
        find_columns(FAQ, names, given)
    assert str(caught.value).startswith(f"faq.csv: {told}")


def test_a_name_may_be_the_id_and_the_title() -> None:
    given = {"query": ["q"], "document": ["d"], "id": ["name"], "title": ["name"]}
    found = find_columns(Path("parts.csv"), ["name", "q", "d"], given)
    assert found is not None
    assert (found.id, found.title) == ("name", "name")
