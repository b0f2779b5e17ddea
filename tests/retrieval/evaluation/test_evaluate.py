from __future__ import annotations

import json

import pytest

from index.errors import InputError
from retrieval.evaluation.assess import assess_calibration
from retrieval.evaluation.calibration import Calibrated
from retrieval.evaluation.evaluate import evaluate_index, evaluation_json
from retrieval.search.retriever import Retriever

USUAL = ["split", "queries", "modes", "ann", "latency_ms"]


def test_json_holds_the_documented_keys(made):
    evaluation = evaluate_index(made.index, made.data, modes=["dense"])
    found = json.loads(json.dumps(evaluation_json(evaluation, detailed=False)))
    assert list(found) == USUAL
    assert (found["split"], found["queries"], list(found["modes"])) == ("test", 8, ["dense"])
    assert list(found["modes"]["dense"]) == ["nDCG@10", "R@1", "R@10", "R@100", "RR@10"]
    assert found["ann"] == {"recall@10": 1.0, "recall@100": 1.0}
    assert list(found["latency_ms"]) == ["p50", "p95", "p99"]


def test_a_baseline_adds_its_runs_and_the_details(made):
    evaluation = evaluate_index(made.index, made.data, modes=["dense"], against=made.index)
    found = evaluation_json(evaluation, detailed=True)
    assert list(found) == [*USUAL, "against", "significance", "breakdown", "losses"]
    assert found["against"] == {"dense of index": found["modes"]["dense"]}
    assert evaluation.our_runs().keys() == {"dense"}


def test_a_calibrated_model_whose_queries_find_nothing_has_no_error(calibrated):
    with Retriever.open(calibrated.index) as retriever:
        found = assess_calibration(retriever, {"q": "xyzzy"}, {"q": {"d1": 1}}, "lexical")
    assert found == Calibrated("lexical", 0.0, 0.0, [])


def test_an_unknown_measure_is_refused_before_the_index_is_opened(tmp_path):
    with pytest.raises(InputError, match="unknown measure 'best'"):
        evaluate_index(tmp_path, tmp_path, measures=["best"])
