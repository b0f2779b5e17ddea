"""Runs, qrels and data sets in the forms of TREC and BEIR, as other programs write and read them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from cli import verbs
from index.errors import InputError
from retrieval.data.dataset import open_dataset
from retrieval.evaluation.runs import read_trec_run
from retrieval.indexing.build import build
from retrieval.model.config import preset

ir_measures = pytest.importorskip("ir_measures")

WORDS = ["list", "copy", "file", "folder", "archive", "date", "thread", "matrix", "mail", "disk", "text"]


@pytest.fixture(scope="module")
def data(tmp_path_factory, write_beir) -> Path:
    rng = np.random.default_rng(1)
    documents = {f"d/{n}": " ".join(rng.choice(WORDS, 6)) for n in range(40)}
    queries = {f"q{n}": " ".join(rng.choice(WORDS, 3)) for n in range(12)}
    judged = {query: {f"d/{n}": int(n % 3) for n in rng.integers(0, 40, 5)} for query in queries}
    return write_beir(tmp_path_factory.mktemp("trec") / "data", documents, queries, {"test": judged})


@pytest.fixture(scope="module")
def index(tmp_path_factory, data, random_model) -> Path:
    folder = tmp_path_factory.mktemp("trec")
    random_model(preset("bag"), texts=[" ".join(WORDS)]).save(folder / "model")
    build(data, folder / "model", folder / "index")
    return folder / "index"


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory, data, index):
    """The run that `evaluate --run` wrote, and the means that it printed."""
    path = tmp_path_factory.mktemp("run") / "hybrid.trec"
    arguments = ["--mode", "hybrid", "--run", path, "--measure", "nDCG@10", "--measure", "R@20", "--json"]
    result = CliRunner().invoke(verbs, ["evaluate", *map(str, [index, data, *arguments])])
    assert result.exit_code == 0, result.output
    return path, json.loads(result.stdout)["modes"]["hybrid"]


def test_trec_eval_finds_the_same_means_in_the_run(data, evaluated):
    path, means = evaluated
    qrels = open_dataset(data).qrels("test")
    measures = [ir_measures.nDCG @ 10, ir_measures.R @ 20]
    assert list(means) == list(map(str, measures))
    found = ir_measures.pytrec_eval.calc_aggregate(measures, qrels, ir_measures.read_trec_run(str(path)))
    for measure in measures:
        assert found[measure] == pytest.approx(means[str(measure)], abs=1e-6)


def test_the_run_of_search_is_read_too(data, index, tmp_path):
    path = tmp_path / "search.trec"
    arguments = ["--queries", data / "queries.jsonl", "-k", "40", "--run", path]
    result = CliRunner().invoke(verbs, ["search", *map(str, [index, *arguments])])
    assert result.exit_code == 0, result.output
    rows = list(ir_measures.read_trec_run(str(path)))
    assert {row.query_id for row in rows} == set(open_dataset(data).queries)
    assert len(rows) == 12 * 40


def test_ranx_reads_the_run_and_finds_the_same_means(data, evaluated):
    ranx = pytest.importorskip("ranx", reason="needs ranx")
    path, means = evaluated
    qrels = ranx.Qrels.from_dict(open_dataset(data).qrels("test"))
    found = ranx.evaluate(qrels, ranx.Run.from_file(str(path), kind="trec"), ["ndcg@10", "recall@20"])
    assert found["ndcg@10"] == pytest.approx(means["nDCG@10"], abs=1e-6)
    assert found["recall@20"] == pytest.approx(means["R@20"], abs=1e-6)


def test_a_run_that_ranx_writes_is_compared_with(data, index, tmp_path):
    ranx = pytest.importorskip("ranx", reason="needs ranx")
    scores = {query: {f"d/{n}": 1.0 / (n + 1) for n in range(10)} for query in open_dataset(data).queries}
    ranx.Run.from_dict(scores).save(str(tmp_path / "theirs.trec"), kind="trec")
    assert read_trec_run(tmp_path / "theirs.trec") == scores
    arguments = [index, data, "--mode", "dense", "--against", tmp_path / "theirs.trec", "--json"]
    result = CliRunner().invoke(verbs, ["evaluate", *map(str, arguments)])
    assert result.exit_code == 0, result.output
    assert len(json.loads(result.stdout)["against"]) == 1


def test_a_collection_of_ir_datasets_is_read_as_a_beir_folder(data, tmp_path):
    ir_datasets = pytest.importorskip("ir_datasets", reason="needs ir_datasets")
    from retrieval.adapters.ir_datasets import write_ir_dataset

    ours = open_dataset(data)
    documents = {document.id: document.text for document in ours.documents()}
    qrels = ours.qrels("test")
    lines = {
        "docs.tsv": [f"{id_}\t{text}" for id_, text in documents.items()],
        "queries.tsv": [f"{id_}\t{text}" for id_, text in ours.queries.items()],
        "qrels": [f"{q} 0 {d} {grade}" for q, grades in qrels.items() for d, grade in grades.items()],
    }
    for name, rows in lines.items():
        (tmp_path / name).write_text("".join(f"{row}\n" for row in rows))
    theirs = ir_datasets.create_dataset(
        docs_tsv=str(tmp_path / "docs.tsv"),
        queries_tsv=str(tmp_path / "queries.tsv"),
        qrels_trec=str(tmp_path / "qrels"),
    )
    write_ir_dataset(theirs, tmp_path / "data", split="test")
    read = open_dataset(tmp_path / "data")
    assert {document.id: document.text for document in read.documents()} == documents
    assert read.queries == ours.queries
    assert read.qrels("test") == qrels
    # And what that library reads, trec_eval's wrappers take as it is, beside our run.
    run = {query: dict.fromkeys(grades, 1.0) for query, grades in qrels.items()}
    whole = ir_measures.calc_aggregate([ir_measures.R @ 100], theirs.qrels_iter(), run)
    assert whole[ir_measures.R @ 100] == 1


def test_a_split_without_judged_queries_is_refused(tmp_path):
    ir_datasets = pytest.importorskip("ir_datasets", reason="needs ir_datasets")
    from retrieval.adapters.ir_datasets import write_ir_dataset

    (tmp_path / "docs.tsv").write_text("1\ttext\n")
    alone = ir_datasets.create_dataset(docs_tsv=str(tmp_path / "docs.tsv"))
    with pytest.raises(InputError, match="has no queries"):
        write_ir_dataset(alone, tmp_path / "data", split="test")
