"""Which training queries a document is known to answer, from a BEIR folder and from a table of pairs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from index.errors import InputError
from retrieval.data.dataset import Dataset, open_dataset
from retrieval.data.known_queries import MOST_QUERIES, chosen, known_queries
from retrieval.data.pairs.dataset import PairsDataset


def test_queries_of_relevant_documents_are_known():
    judgements = {"q1": {"a": 1, "b": 0}, "q2": {"a": 2, "c": -1}, "q3": {"b": 1}}
    queries = {"q1": "one", "q2": "two", "q3": " three \n times ", "q4": "four"}
    assert known_queries(judgements, queries) == {"a": ("two", "one"), "b": ("three times",)}


def test_repeats_and_blanks_are_left_out_and_the_best_graded_stay():
    assert chosen([(1, "Copy a file"), (1, "copy  a file"), (1, " \n"), (3, "best")]) == (
        "best",
        "Copy a file",
    )
    many = chosen((number % 2, f"query {number}") for number in range(500))
    assert len(many) == MOST_QUERIES
    assert many[0] == "query 1"
    assert not any(int(query.split()[1]) % 2 == 0 for query in many)


@pytest.fixture
def beir(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    (folder / "qrels").mkdir(parents=True)
    write_lines(folder / "corpus.jsonl", [{"_id": each, "text": f"text {each}"} for each in "abc"])
    write_lines(
        folder / "queries.jsonl", [{"_id": f"q{number}", "text": f"query {number}"} for number in range(4)]
    )
    (folder / "qrels" / "train.tsv").write_text("q0\ta\t1\nq1\tc\t1\nq1\ta\t2\n")
    (folder / "qrels" / "dev.tsv").write_text("q2\tb\t1\n")
    (folder / "qrels" / "test.tsv").write_text("q3\ta\t1\n")
    return folder


def write_lines(path: Path, records: list[dict[str, str]]) -> None:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def known_of(dataset: Dataset | PairsDataset) -> dict[str, tuple[str, ...]]:
    found = {document.id: document.queries for document in dataset.documents_with_queries()}
    assert list(found) == [document.id for document in dataset.documents()]
    return found


def test_documents_of_a_folder_have_training_queries_alone(beir: Path):
    assert known_of(Dataset(beir)) == {"a": ("query 1", "query 0"), "b": (), "c": ("query 1",)}


def test_a_corpus_without_training_queries_has_none(beir: Path):
    assert known_of(Dataset(beir / "corpus.jsonl")) == {"a": (), "b": (), "c": ()}
    (beir / "qrels" / "train.tsv").unlink()
    assert known_of(Dataset(beir)) == {"a": (), "b": (), "c": ()}


def test_the_fingerprint_with_queries_changes_with_them(beir: Path):
    dataset = Dataset(beir)
    before, alone = dataset.fingerprint(queries=True), dataset.fingerprint()
    assert before != alone
    (beir / "qrels" / "train.tsv").write_text("q0\ta\t1\n")
    assert dataset.fingerprint(queries=True) not in (before, alone)
    assert dataset.fingerprint() == alone


def test_an_unknown_training_query_is_told(beir: Path):
    (beir / "qrels" / "train.tsv").write_text("q9\ta\t1\n")
    with pytest.raises(InputError, match=r"train\.tsv.*unknown query 'q9'"):
        list(Dataset(beir).documents_with_queries())


def test_documents_of_a_table_have_training_queries_alone(tmp_path: Path):
    path = tmp_path / "faq.csv"
    rows = [
        "train,how,A",
        "test,when,A",
        "train,who,B",
        "dev,why,B",
        "train,Who ,A",
        "dev,where,C",
        "train,how,A",
    ]
    path.write_text("split,query,document\n" + "".join(f"{row}\n" for row in rows))
    dataset = open_dataset(path)
    assert isinstance(dataset, PairsDataset)
    by_text = {document.text: document.queries for document in dataset.documents_with_queries()}
    assert by_text == {"A": ("how", "Who"), "B": ("who",), "C": ()}
    assert sorted(map(len, known_of(dataset).values())) == [0, 1, 2]
