"""A file of pairs as a data set: joined texts, ids, judgements, splits, and what is refused."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from index.errors import InputError
from retrieval.data.dataset import Dataset, open_dataset
from retrieval.data.hashed_ids import document_id, query_id
from retrieval.data.pairs.dataset import PairsDataset
from retrieval.data.pairs.joining import split_of


def pairs_of(path: Path, rows: list[dict[str, object]] | str, **columns: list[str]) -> PairsDataset:
    text = rows if isinstance(rows, str) else "".join(json.dumps(row) + "\n" for row in rows)
    path.write_text(text, encoding="utf-8", newline="")
    dataset = open_dataset(path, columns)
    assert isinstance(dataset, PairsDataset)
    return dataset


def judged(dataset: PairsDataset, split: str = "train") -> dict[str, dict[str, int]]:
    """Query text to document text to grade."""
    texts = {document.id: document.text for document in dataset.documents()}
    return {
        dataset.queries[query]: {texts[document]: grade for document, grade in grades.items()}
        for query, grades in dataset.qrels(split).items()
    }


def test_equal_texts_are_one_document_and_one_query(tmp_path: Path) -> None:
    text = 'question,answer\r\na,"x\r\ny"\r\n b ,"x\ny"\r\na,z\r\na,z\r\n'
    dataset = pairs_of(tmp_path / "faq.csv", text)
    assert [(d.id, d.title, d.text) for d in dataset.documents()] == [
        (document_id("", "x\ny"), "", "x\ny"),
        (document_id("", "z"), "", "z"),
    ]
    assert dataset.queries == {query_id("a"): "a", query_id("b"): "b"}
    assert judged(dataset) == {"a": {"x\ny": 1, "z": 1}, "b": {"x\ny": 1}}
    assert dataset.count_documents() == 2
    summary = dataset.summary()
    assert (summary.rows, summary.pairs, summary.documents, summary.queries) == (4, 3, 2, 2)
    assert summary.splits == {"train": 2}


def test_ids_of_the_file_are_kept_and_may_be_numbers(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"query": "a", "doc": "x", "id": 7},
        {"query": "b", "doc": "x", "id": 8},  # a row's id: the text has one already
        {"query": "c", "doc": "y"},
        {"query": "d", "doc": "z", "id": 9.0},
    ]
    dataset = pairs_of(tmp_path / "faq.jsonl", rows)
    assert [document.id for document in dataset.documents()] == ["7", document_id("", "y"), "9"]


def test_titles_tell_documents_apart(tmp_path: Path) -> None:
    dataset = pairs_of(tmp_path / "faq.tsv", "query\ttitle\ttext\na\tone\tx\nb\ttwo\tx\nc\tthree\t\n")
    assert [(d.title, d.text) for d in dataset.documents()] == [("one", "x"), ("two", "x"), ("three", "")]


def test_scores_are_grades_and_zero_or_less_is_a_judged_negative(tmp_path: Path) -> None:
    scores = {"x1": "0", "x2": "-1", "x3": "0.2", "x4": "2.6", "x5": "3", "x6": "True"}
    text = "query,passage,label\n" + "".join(f"a,{name},{score}\n" for name, score in scores.items())
    dataset = pairs_of(tmp_path / "faq.csv", text)
    assert judged(dataset) == {"a": {"x1": 0, "x2": 0, "x3": 1, "x4": 3, "x5": 3, "x6": 1}}
    assert (dataset.summary().pairs, dataset.summary().negatives) == (4, 2)


def test_a_query_without_a_relevant_document_is_in_no_split(tmp_path: Path) -> None:
    dataset = pairs_of(tmp_path / "faq.csv", "query,doc,score\na,x,1\nb,y,0\n")
    assert judged(dataset) == {"a": {"x": 1}}
    assert [document.text for document in dataset.documents()] == ["x", "y"]


def test_given_negatives_are_judged_0_and_come_last(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"query": "a", "pos": ["x", "y"], "neg": ["n", "z"], "id": 1},
        {"query": "b", "pos": ["z"], "neg": ["n", ""], "id": 2},
        {"query": "a", "pos": ["q"], "neg": ["x"], "id": 3},
    ]
    dataset = pairs_of(tmp_path / "faq.jsonl", rows)
    assert judged(dataset) == {"a": {"x": 1, "y": 1, "q": 1, "n": 0, "z": 0}, "b": {"z": 1, "n": 0}}
    assert [document.text for document in dataset.documents()] == ["x", "y", "z", "q", "n"]
    # The id of a row with two documents is neither's.
    assert [document.id for document in dataset.documents()][:3] == [
        document_id("", "x"),
        document_id("", "y"),
        "2",
    ]


def test_a_negative_is_the_document_of_its_text_whatever_the_title(tmp_path: Path) -> None:
    dataset = pairs_of(tmp_path / "faq.csv", "anchor,title,positive,negative\na,T,x,y\nb,U,y,\n")
    assert dataset.count_documents() == 2
    assert judged(dataset)["a"] == {"x": 1, "y": 0}


def test_negatives_that_only_late_records_have_count(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"query": f"q{n}", "pos": f"d{n}"} for n in range(1100)]
    dataset = pairs_of(tmp_path / "faq.jsonl", [*rows, {"query": "last", "pos": "x", "neg": "d0"}])
    assert dataset.summary().negatives == 1


def test_about_a_tenth_of_the_queries_is_dev_and_a_tenth_test(tmp_path: Path) -> None:
    text = "query,answer\n" + "".join(f"Query {n},answer {n}\nquery  {n} ,more {n}\n" for n in range(1000))
    dataset = pairs_of(tmp_path / "faq.csv", text)
    splits = {
        split: {text.lower().replace("  ", " ") for text in judged(dataset, split)}
        for split in dataset.splits()
    }
    assert list(splits) == ["train", "dev", "test"]
    assert sum(map(len, splits.values())) == 1000  # two spellings of a query are in one split
    assert 70 < len(splits["dev"]) < 130
    assert 70 < len(splits["test"]) < 130
    # The split of a query does not change as others come.
    again = Counter(split_of(text) for text in judged(dataset, "dev"))
    assert list(again) == ["dev"]


def test_few_queries_are_all_for_training(tmp_path: Path) -> None:
    def splits(queries: int) -> list[str]:
        text = "query,answer\n" + "".join(f"query {n},answer {n}\n" for n in range(queries))
        return pairs_of(tmp_path / "faq.csv", text).splits()

    assert splits(49) == ["train"]
    assert splits(50) == ["train", "dev", "test"]
    with pytest.raises(
        InputError, match="no query is in split 'test'; choose one of: train; from 50 queries"
    ):
        pairs_of(tmp_path / "faq.csv", "query,answer\na,x\n").qrels("test")


def test_a_split_column_decides(tmp_path: Path) -> None:
    text = "query,answer,split\na,x,train\nb,y,Validation\nc,z,test\nd,w,\na,v,train\n"
    dataset = pairs_of(tmp_path / "faq.csv", text)
    assert [list(judged(dataset, split)) for split in ("train", "dev", "test")] == [["a", "d"], ["b"], ["c"]]


def test_a_judged_document_that_may_not_occur_is_named(tmp_path: Path) -> None:
    dataset = pairs_of(tmp_path / "faq.csv", "query,answer,id\na,x,d1\nb,y,d2\n")
    assert dataset.qrels("train", document_ids={"d1", "d2"}) == dataset.qrels("train")
    with pytest.raises(InputError, match=r"faq\.csv:3: document 'd2' is not in the index"):
        dataset.qrels("train", document_ids={"d1"})


def metadata_of(dataset: PairsDataset) -> dict[str, dict[str, object]]:
    """Document text to metadata."""
    return {document.text: dict(document.metadata) for document in dataset.documents()}


def test_metadata_objects_are_taken_as_they_are_and_negatives_have_none(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"query": "a", "pos": ["x", "y"], "neg": "n", "metadata": {"lang": "de", "at": {"page": 3}}},
        {"query": "b", "pos": "z", "metadata": None},
        {"query": "c", "pos": "v", "metadata": "old"},
    ]
    dataset = pairs_of(tmp_path / "faq.jsonl", rows)
    same = {"lang": "de", "at": {"page": 3}}
    assert metadata_of(dataset) == {"x": same, "y": same, "z": {}, "v": {"metadata": "old"}, "n": {}}
    assert dataset.summary().unused == []
    assert set(map(str, metadata_of(pairs_of(tmp_path / "a.jsonl", rows, metadata=[])).values())) == {"{}"}


def test_a_document_has_the_metadata_of_all_its_rows(tmp_path: Path) -> None:
    said = [("a", 1), ("b", 1), ("", 1), (["b", "c"], None), ("a", 1)]
    rows = [
        {"query": f"q{n}", "doc": "x", "topic": topic, "year": year} for n, (topic, year) in enumerate(said)
    ]
    dataset = pairs_of(tmp_path / "faq.jsonl", [dict(row) for row in rows], metadata=["topic", "year"])
    assert metadata_of(dataset) == {"x": {"topic": ["a", "b", "c"], "year": 1}}


def test_a_column_of_metadata_keeps_its_role(tmp_path: Path) -> None:
    text = "query,title,doc,score,id\na,T,x,2,d1\n"
    plain, named = (
        pairs_of(tmp_path / "faq.csv", text, **given)
        for given in ({}, {"metadata": ["title", "score", "id", "query"]})
    )
    assert named.qrels("train") == plain.qrels("train")
    (document,) = named.documents()
    assert (document.id, document.title) == ("d1", "T")
    assert document.metadata == {"title": "T", "score": "2", "id": "d1", "query": "a"}


def test_metadata_that_cannot_be_stored_is_one_line(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"query": "a", "doc": "x", "n": 1},
        {"query": "b", "doc": "x", "n": 10**400},
    ]
    with pytest.raises(InputError, match=r"faq\.jsonl:2: 'n' is NaN or past float64"):
        list(pairs_of(tmp_path / "faq.jsonl", rows, metadata=["n"]).documents())
    many: list[dict[str, object]] = [
        {"query": "a", "doc": "x", "n": list(range(k, k + 6000))} for k in (0, 6000)
    ]
    with pytest.raises(
        InputError, match=r"faq\.jsonl:1: the metadata of all rows with this document holds more"
    ):
        list(pairs_of(tmp_path / "faq.jsonl", many, metadata=["n"]).documents())


def test_the_fingerprint_follows_content_and_columns(tmp_path: Path) -> None:
    path = tmp_path / "faq.csv"
    before = pairs_of(path, "query,answer,b\na,x,z\n").fingerprint()
    assert pairs_of(path, "query,answer,b\na,x,z\n").fingerprint() == before
    assert pairs_of(path, "query,answer,b\na,x,z\n", document=["b"]).fingerprint() != before
    assert pairs_of(path, "query,answer,b\na,y,z\n").fingerprint() != before


def test_a_corpus_stays_a_corpus(tmp_path: Path) -> None:
    path = tmp_path / "corpus.csv"
    path.write_text("_id,text,year\n1,x,2020\n")
    dataset = open_dataset(path)
    assert isinstance(dataset, Dataset)
    assert dict(next(dataset.documents()).metadata) == {"year": "2020"}
    path.write_text("_id,text,question\n1,x,what\n")
    assert isinstance(open_dataset(path), PairsDataset)
    assert isinstance(open_dataset(path, {"query": []}), Dataset)


def error_of(dataset: PairsDataset) -> str:
    with pytest.raises(InputError) as caught:
        dataset.summary()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_empty_cell_names_all_others(tmp_path: Path) -> None:
    rows = [["how", ""] if n % 3 == 2 else [" ", "so"] if n == 7 else ["how", "so"] for n in range(1, 10)]
    text = "Frage;Antwort\n" + "".join(";".join(row) + "\n" for row in rows) + ";\n"
    told = (
        'the document ("Antwort") is empty; fill it or drop the row; 3 more like it: line 6, line 8, line 9'
    )
    dataset = pairs_of(tmp_path / "faq.csv", text)
    assert error_of(dataset) == f"{tmp_path / 'faq.csv'}:3: {told}"


def test_of_many_empty_cells_the_first_twenty_are_named(tmp_path: Path) -> None:
    said = error_of(pairs_of(tmp_path / "faq.csv", "query,answer\n" + "how,\n" * 2000))
    assert said.startswith(f"{tmp_path / 'faq.csv'}:2: the document")
    assert "; 1,999 more like it: line 3, line 4, " in said
    assert said.endswith(", line 22, ...")


def test_empty_cells_before_a_broken_row_are_at_least_so_many(tmp_path: Path) -> None:
    text = "query,answer,score\nq,,1\nq,a,good\n,a,1\nshort\nq,,1\n"
    said = error_of(pairs_of(tmp_path / "pairs.csv", text))
    assert said.endswith("fill it or drop the row; at least 1 more like it: line 4")


def test_an_empty_cell_of_another_file_is_named_with_it(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    for name in ("1.csv", "2.csv"):
        (tmp_path / name).write_text("query,answer\nq,\n")
    dataset = open_dataset(f"{tmp_path}/*.csv")
    assert isinstance(dataset, PairsDataset)
    said = error_of(dataset)
    assert said.startswith(f"{tmp_path / '1.csv'}:2: the document")
    assert said.endswith(f"1 more like it: line 2 of {tmp_path / '2.csv'}")
