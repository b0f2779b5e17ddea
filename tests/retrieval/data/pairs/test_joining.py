"""Rows joined in a database, against the same joining in dictionaries; and what the database takes."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import tracemalloc
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index.documents.store import Document
from index.errors import InputError, StorageError
from retrieval.data.dataset import open_dataset
from retrieval.data.hashed_ids import document_id, query_id
from retrieval.data.lines import Place
from retrieval.data.pairs import joined, joining
from retrieval.data.pairs.joined import JoinedPairs, JoinedQrels, JoinedQueries
from retrieval.data.pairs.joining import join_pairs, split_of
from retrieval.data.pairs.metadata import JoinedMetadata
from retrieval.data.pairs.rows import PairRow
from retrieval.training.examples.dataset import read_training_data

TEXTS = st.sampled_from(["a", "b", "A", " c", "d\0", "é"])
ROWS = st.builds(
    PairRow,
    place=st.just(Place("")),
    query=TEXTS,
    title=st.sampled_from(["", "", "t", "a", "d\0"]),
    documents=st.lists(TEXTS, min_size=1, max_size=2),
    negatives=st.lists(TEXTS, max_size=2),
    id=st.sampled_from([None, None, None, "1", "2", document_id("", "b")]),
    grade=st.sampled_from([None, 1, 1, 0, 2]),
    split=st.just("train"),
    metadata=st.fixed_dictionaries({}, optional={"n": st.integers(0, 2), "m": st.just(["x"])}),
)


def reference(rows: list[PairRow]) -> tuple[list[Document], dict[str, dict[str, int]], dict[str, str]]:
    """Documents, query text to document id to grade, and query text to split, by dictionaries."""
    ids: dict[tuple[str, str], str | None] = {}
    taken: dict[str, tuple[str, str]] = {}
    said: dict[tuple[str, str], dict[str, list[Any]]] = {}
    grades: dict[str, dict[tuple[str, str], int]] = {}
    given_texts: dict[str, list[str]] = {}
    splits: dict[str, str] = {}
    for row in rows:
        for text in row.documents:
            key = (row.title, text)
            own = row.id if len(row.documents) == 1 else None
            if own is not None and taken.setdefault(own, key) != key:
                raise InputError("the id")
            ids[key] = ids.get(key) or own
            for name, value in row.metadata.items():
                values = said.setdefault(key, {}).setdefault(name, [])
                values += [value] if value not in values else []
            grade = 1 if row.grade is None else row.grade
            if grades.setdefault(row.query, {}).setdefault(key, grade) != grade:
                raise InputError("grades the pair")
        given_texts.setdefault(row.query, []).extend(row.negatives)
        if row.split and splits.setdefault(" ".join(row.query.casefold().split()), row.split) != row.split:
            raise InputError("the query is in split")
    by_text: dict[str, tuple[str, str]] = {}
    for key in [*ids]:
        by_text.setdefault(key[1], key)
    for text in [text for texts in given_texts.values() for text in texts]:
        ids.setdefault(by_text.setdefault(text, ("", text)), None)
    named = {key: own or document_id(*key) for key, own in ids.items()}
    for key, own in named.items():
        if taken.get(own, key) != key:
            raise InputError("needs the id")
    documents = [
        Document(own, *key, {n: v[0] if len(v) == 1 else v for n, v in said.get(key, {}).items()})
        for key, own in named.items()
    ]
    judged = {
        query: {named[by_text[text]]: 0 for text in given_texts[query]}
        | {named[key]: grade for key, grade in of_query.items()}
        for query, of_query in grades.items()
    }
    answered = [query for query, of_query in judged.items() if max(of_query.values()) > 0]
    few = len({" ".join(query.casefold().split()) for query in answered}) < joining.MIN_QUERIES_TO_SPLIT
    hashed = {query: "train" if few else split_of(query) for query in answered}
    normalised = {query: " ".join(query.casefold().split()) for query in answered}
    return documents, judged, {q: splits[normalised[q]] if splits else hashed[q] for q in answered}


def outcome(pairs: JoinedPairs, rows: Iterable[PairRow]) -> tuple[object, ...]:
    """What `reference` gives, of joined pairs, with the order of all parts."""
    queries = dict(JoinedQueries(pairs).items())
    of_splits = {split: list(JoinedQrels(pairs, split).items()) for split in pairs.splits()}
    judged = {queries[query]: list(grades.items()) for part in of_splits.values() for query, grades in part}
    splits = {queries[query]: split for split, part in of_splits.items() for query, _ in part}
    return list(pairs.documents()), judged, splits, list(queries.values())


@settings(max_examples=150, deadline=None)
@given(st.lists(ROWS, min_size=1, max_size=12), st.booleans(), st.booleans())
def test_rows_are_joined_as_in_dictionaries(rows: list[PairRow], no_split: bool, few: bool) -> None:
    rows = [
        row._replace(place=Place("p", n), split=None if no_split else row.split)
        for n, row in enumerate(rows, 1)
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(joining, "MIN_QUERIES_TO_SPLIT", 50 if few else 2)
        try:
            documents, judged, splits = reference(rows)
        except InputError as error:
            with pytest.raises(InputError, match=str(error)):
                join_pairs(rows, "p")
            return
        found = join_pairs(rows, "p")
        assert outcome(found, rows) == (
            documents,
            {query: list(judged[query].items()) for query in splits},
            splits,
            list(judged),
        )
    grades = [grade for of_query in judged.values() for grade in of_query.values()]
    assert found.count("judgements", "grade > 0") == sum(grade > 0 for grade in grades)
    assert found.count("judgements", "grade <= 0") == sum(grade <= 0 for grade in grades)


def test_values_of_a_field_are_told_apart_as_json_has_them() -> None:
    metadata = JoinedMetadata()
    for value in (1, True, "1", [1, {"a": 2}], {"a": 2}, None, ""):
        metadata.add({"field": value})
    assert json.dumps(metadata.joined()) == '{"field": [1, true, "1", {"a": 2}]}'


def test_ids_that_no_text_has_are_no_keys() -> None:
    pairs = join_pairs([PairRow(Place("p", 1), "q", "", ["d"], [], None, None, None, {})], "p")
    queries, qrels = JoinedQueries(pairs), JoinedQrels(pairs, "train")
    assert queries[query_id("q")] == "q"
    assert qrels[query_id("q")] == {document_id("", "d"): 1}
    assert list(qrels) == [query_id("q")]
    for unknown in (query_id("x"), query_id("q").upper(), query_id("q")[:-2], "no id", ""):
        assert unknown not in queries
        assert unknown not in qrels
    assert query_id("q") not in JoinedQrels(pairs, "dev")
    with pytest.raises(KeyError):
        pairs.place_of("x")


def many(count: int) -> list[PairRow]:
    return [
        PairRow(Place("p", n), f"query {n}", "", [f"text {n} " * 20], [], None, None, None, {})
        for n in range(count)
    ]


def test_nothing_is_left_in_the_folder_of_temporary_files(tmp_path: Path) -> None:
    """In a process of its own, since SQLite looks up the folder once."""
    rows = "".join(json.dumps({"query": f"query {n}", "text": f"text {n} " * 20}) + "\n" for n in range(2000))
    (tmp_path / "pairs.jsonl").write_text(rows)
    (tmp_path / "temporary").mkdir()
    lines = (
        "import os, signal, sys",
        "from pathlib import Path",
        "from retrieval.data.dataset import open_dataset",
        "from retrieval.data.pairs import joined",
        "joined._CACHE_KIB = 64",
        "dataset = open_dataset(Path('pairs.jsonl'))",
        "print(dataset.count_documents())",
        "handles = [f'/proc/self/fd/{n}' for n in range(3, 20)]",
        "print(*map(os.readlink, filter(os.path.lexists, handles)), flush=True)",
        "os.kill(os.getpid(), signal.SIGKILL)",
    )
    told = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)],
        cwd=tmp_path,
        env=os.environ | {"TMPDIR": str(tmp_path / "temporary"), "PYTHONPATH": str(Path.cwd())},
        capture_output=True,
        text=True,
    )
    assert told.returncode == -signal.SIGKILL
    count, files = told.stdout.splitlines()
    assert count == "2000"
    assert str(tmp_path / "temporary") in files  # it is there, and without a name
    assert list((tmp_path / "temporary").iterdir()) == []


def test_a_full_disk_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def small() -> sqlite3.Connection:
        database = joined.new_database()
        database.execute("PRAGMA max_page_count = 20")
        return database

    monkeypatch.setattr(joining, "new_database", small)
    with pytest.raises(StorageError, match=r"written to a temporary file .*full.*; free some space, or set"):
        join_pairs(many(2000), "p")


def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    def peak(rows: int) -> int:
        path = tmp_path / "pairs.csv"
        lines = (f"query {n},text {n} {'word ' * 20},{'dev' if n < 9 else 'train'}" for n in range(rows))
        path.write_text("\n".join(["query,text,split", *lines]))
        tracemalloc.start()
        try:
            read_training_data(open_dataset(path))
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(100)  # what is imported and compiled on first use
    assert peak(4000) - peak(1000) < 3000 * 10  # a query's text alone takes 60 bytes
