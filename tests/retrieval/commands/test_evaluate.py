from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import QUERY_TEXTS

from cli import verbs
from retrieval.evaluation.calibration import calibration_error
from retrieval.search.retriever import Retriever


def evaluate(*args):
    result = CliRunner().invoke(verbs, ["evaluate", *map(str, args)])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_without_questions_the_json_keeps_to_the_contract(made):
    facts = json.loads(evaluate(made.index, made.data, "--json"))
    assert list(facts) == ["split", "queries", "modes", "ann", "latency_ms"]


def test_any_measure_is_computed_in_the_order_asked(made):
    facts = json.loads(evaluate(made.index, made.data, "--measure", "AP", "--measure", "P@1", "--json"))
    assert [list(values) for values in facts["modes"].values()] == [["AP", "P@1"]] * 3


def test_an_unknown_measure_is_named_before_any_work(made):
    result = CliRunner().invoke(verbs, ["evaluate", "nowhere", "nowhere", "--measure", "bleu"])
    assert result.exit_code == 1 and "unknown measure 'bleu'" in result.stderr


def test_runs_written_are_read_back_as_the_rival_and_tie(made, tmp_path):
    run = tmp_path / "out.trec"
    result = CliRunner().invoke(verbs, ["evaluate", str(made.index), str(made.data), "--run", str(run)])
    names = ", ".join(str(tmp_path / f"out.{mode}.trec") for mode in ("dense", "lexical", "hybrid"))
    assert result.stderr == f"wrote {names}\n"
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "out.dense.trec",
        "out.hybrid.trec",
        "out.lexical.trec",
    ]
    facts = json.loads(
        evaluate(made.index, made.data, "--mode", "dense", "--against", tmp_path / "out.dense.trec", "--json")
    )
    assert facts["significance"][0]["ties"] == facts["queries"]
    assert facts["against"]["out.dense"] == facts["modes"]["dense"]
    assert facts["losses"] == []


def test_report_and_per_query_table_are_written(made, tmp_path):
    page, table = tmp_path / "report", tmp_path / "queries.tsv"
    said = evaluate(made.index, made.data, "--report", page, "--per-query", table)
    assert (page / "report.html").is_file() and f"report: {page / 'report.html'}" in said
    assert table.read_text() == (page / "queries.tsv").read_text()
    assert "by share of words unseen in training" in said and "over" in said


def test_a_calibrated_model_is_told_how_right_its_probabilities_are(calibrated, tmp_path):
    facts = json.loads(evaluate(calibrated.index, calibrated.data, "--json"))["calibration"]
    assert facts["mode"] == "hybrid"
    with Retriever.open(calibrated.index) as retriever:
        found = [retriever.search(query, 10) for query in QUERY_TEXTS]
    likely = np.array([hit.probability for hits in found for hit in hits])
    right = np.array([hit.id == f"d{n}" for n, hits in enumerate(found) for hit in hits])
    first = np.array([hit.rank == 1 for hits in found for hit in hits])
    assert facts["ten"] == pytest.approx(calibration_error(likely, right), abs=1e-5)
    assert facts["first"] == pytest.approx(calibration_error(likely[first], right[first]), abs=1e-5)
    assert sum(each["hits"] for each in facts["bins"]) == len(QUERY_TEXTS)
    said = evaluate(calibrated.index, calibrated.data, "--mode", "lexical", "--report", tmp_path / "report")
    assert "calibration error of the probabilities, lexical: " in said
    page = (tmp_path / "report" / "report.html").read_text()
    assert "Are the probabilities right?" in page and "Share that is relevant" in page
    assert "&lt;span" not in page
