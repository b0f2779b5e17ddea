"""What of a data set is kept for dev, and that it survives being packed."""

from __future__ import annotations

import io
import sys
from dataclasses import replace
from types import SimpleNamespace

from retrieval.data.dataset import Dataset
from retrieval.training.examples.dataset import TrainingData, read_training_data


def test_for_dev_keeps_what_dev_queries_are_ranked_against(tmp_path, write_beir, monkeypatch):
    monkeypatch.setattr("retrieval.training.examples.dataset._DEV_DOCUMENTS", 0)
    documents = {f"d{n}": f"text {n}" for n in range(9)}
    queries = {f"q{n}": f"query {n}" for n in range(9)}
    train = {"q0": {"d0": 1, "d1": 2, "d2": 0}, "q1": {"d3": 1}, "q2": {"d2": 0, "d1": 1}}
    dev = {"q3": {"d1": 1, "d2": 0}, "q4": {"d4": 0}}
    whole = read_training_data(write_beir(tmp_path / "d", documents, queries, {"train": train, "dev": dev}))
    part = whole.for_dev()
    assert [document.id for document in part.documents] == ["d1", "d2", "d4"]
    assert part.queries == {query: queries[query] for query in ("q0", "q2", "q3", "q4")}
    assert part.train == {"q0": {"d1": 2, "d2": 0}, "q2": {"d2": 0, "d1": 1}}
    assert part.dev == dev
    assert len(whole.documents) == len(list(whole.documents)) == 9
    assert list(replace(whole, dev={}).for_dev().documents) == []  # none is relevant, and the sample is empty
    shown = replace(part, shown={"q3": {"d1", "d4"}})
    assert TrainingData.unpacked(shown.packed()) == replace(shown, documents=list(part.documents))


def test_documents_of_a_folder_of_texts_survive_packing(tmp_path):
    (tmp_path / "a.md").write_text("# Copy\n\ncopy a file")
    part = read_training_data(tmp_path).for_dev()
    assert TrainingData.unpacked(part.packed()).documents == part.documents


def test_documents_of_standard_input_are_read_once(monkeypatch):
    lines = b'{"_id": "a", "text": "x"}\n{"_id": "b", "text": "y"}\n'
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(lines)))
    documents = read_training_data(Dataset("-")).documents
    assert [[document.id for document in documents] for _ in range(2)] == [["a", "b"]] * 2
