from __future__ import annotations

import os

import pytest

from index.errors import InputError
from retrieval.data.dataset import Dataset
from retrieval.evaluation.assess import assess, depth_of, rank_all
from retrieval.evaluation.compare import compare_runs, read_baseline
from retrieval.evaluation.evaluate import evaluation_json
from retrieval.evaluation.provenance import cpu_model
from retrieval.evaluation.runs import write_trec_run
from retrieval.indexing.build import build
from retrieval.search.retriever import Retriever

MEASURES = ("nDCG@10", "AP")


@pytest.fixture
def judged_index(made):
    dataset = Dataset(made.data)
    with Retriever.open(made.index) as retriever:
        yield retriever, dataset.queries, dataset.qrels("test")


def test_a_run_is_compared_with_every_mode_and_empty_rankings_lose(judged_index, tmp_path):
    retriever, queries, qrels = judged_index
    perfect = {query: dict.fromkeys(judged, 1.0) for query, judged in qrels.items()}
    write_trec_run(tmp_path / "perfect.trec", perfect)
    modes = ("lexical", "dense")
    assessment = assess(retriever, queries, qrels, modes, measures=MEASURES)
    baseline = read_baseline(tmp_path / "perfect.trec", queries, qrels, modes, MEASURES)
    evaluation = compare_runs(
        retriever, assessment, queries, qrels, title="t", split="test", baseline=baseline
    )
    assert baseline.measures["perfect"].means() == {"nDCG@10": 1.0, "AP": 1.0}
    assert [(c.a, c.b) for c in evaluation.comparisons] == [("lexical", "perfect"), ("dense", "perfect")]
    for comparison in evaluation.comparisons:
        expected = assessment.measures[comparison.a].mean("nDCG@10") - 1
        assert comparison.test.difference == pytest.approx(expected)
        assert comparison.corrected_p >= comparison.test.p_value
    lost = evaluation_json(evaluation, detailed=True)["losses"]
    below = sum(value < 1 for value in assessment.measures["dense"].of("nDCG@10"))
    assert (evaluation.focus, evaluation.against, len(lost)) == ("dense", "perfect", below)


def test_an_index_against_itself_ties_on_every_query(judged_index, made):
    retriever, queries, qrels = judged_index
    assessment = assess(retriever, queries, qrels, ["dense", "hybrid"], measures=MEASURES)
    baseline = read_baseline(made.index, queries, qrels, ["dense", "hybrid"], MEASURES)
    evaluation = compare_runs(
        retriever, assessment, queries, qrels, title="t", split="test", baseline=baseline
    )
    assert [comparison.test.ties for comparison in evaluation.comparisons] == [len(qrels)] * 2
    assert [comparison.corrected_p for comparison in evaluation.comparisons] == [1.0, 1.0]
    assert list(evaluation.modes) == ["dense", "hybrid", "dense of index", "hybrid of index"]
    assert evaluation_json(evaluation, detailed=True)["losses"] == []


def test_groups_cover_every_query_once(judged_index):
    retriever, queries, qrels = judged_index
    assessment = assess(retriever, queries, qrels, ["lexical", "hybrid"])
    evaluation = compare_runs(retriever, assessment, queries, qrels, title="t", split="test")
    assert evaluation.against == "lexical" and len(evaluation.comparisons) == 1
    for groups in evaluation.groups.values():
        assert sum(group.queries for group in groups) == len(qrels)
    assert evaluation.describe("d1") == "copy a whole folder to another disk"
    assert evaluation.describe("gone") == "(not in the index)"


def test_a_run_of_other_queries_is_refused(judged_index, tmp_path):
    _, queries, qrels = judged_index
    write_trec_run(tmp_path / "other.trec", {"zz": {"d1": 1.0}})
    with pytest.raises(InputError, match="none of the judged queries"):
        read_baseline(tmp_path / "other.trec", queries, qrels, ["dense"], MEASURES)


@pytest.mark.parametrize(
    ("file", "name"), [("b.trec", "b"), ("dense.trec", "dense.trec"), ("dense", "./dense")]
)
def test_a_run_that_is_called_as_a_mode_does_not_take_its_place(judged_index, tmp_path, file, name):
    _, queries, qrels = judged_index
    write_trec_run(tmp_path / file, {query: dict.fromkeys(judged, 1.0) for query, judged in qrels.items()})
    assert list(read_baseline(tmp_path / file, queries, qrels, ["dense"], MEASURES).runs) == [name]


def test_a_run_holds_every_judged_query(judged_index):
    retriever, queries, qrels = judged_index
    assert list(rank_all(retriever, queries, qrels, "dense")) == list(qrels)


def test_machine_has_the_cores_that_this_process_may_use(judged_index, monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 999)  # of the whole machine, whoever may use them
    retriever, queries, qrels = judged_index
    assessment = assess(retriever, queries, qrels, ["lexical"], measures=MEASURES)
    evaluation = compare_runs(retriever, assessment, queries, qrels, title="t", split="test")
    assert evaluation.facts["Machine"] == f"{len(os.sched_getaffinity(0))} cores, {cpu_model()}"


def test_what_has_other_documents_is_refused_and_does_not_lose(judged_index, tmp_path):
    retriever, queries, qrels = judged_index
    others = {query: {f"other/{document}": 1.0 for document in grades} for query, grades in qrels.items()}
    write_trec_run(tmp_path / "others.trec", others)
    with pytest.raises(InputError, match="no judged document of any query"):
        read_baseline(tmp_path / "others.trec", queries, qrels, ["dense"], MEASURES)
    (tmp_path / "corpus.jsonl").write_text('{"_id": "other/d1", "text": "copy a folder"}\n')
    build(tmp_path / "corpus.jsonl", retriever.index.model_folder, tmp_path / "index")
    with pytest.raises(InputError, match="which is judged, is not in it"):
        read_baseline(tmp_path / "index", queries, qrels, ["dense"], MEASURES)


def test_a_run_is_as_deep_as_our_own_rankings(judged_index, tmp_path):
    _, queries, qrels = judged_index
    judged = {query: next(iter(grades)) for query, grades in qrels.items()}
    deep = {query: {f"x{n}": 200.0 - n for n in range(150)} | {judged[query]: 1.0} for query in qrels}
    write_trec_run(tmp_path / "deep.trec", deep)
    (run,) = read_baseline(tmp_path / "deep.trec", queries, qrels, ["dense"], ["R@151"]).runs.values()
    assert all(len(scores) == 151 for scores in run.values())
    with pytest.raises(InputError, match="no judged document"):
        read_baseline(tmp_path / "deep.trec", queries, qrels, ["dense"], ["R@10"])
    assert depth_of(["nDCG@10", "AP"]) == 100
    assert depth_of(["nDCG@1000", "R@5"]) == 1000
