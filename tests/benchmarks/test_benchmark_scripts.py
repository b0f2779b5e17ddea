from __future__ import annotations

import json
import sys

import numpy as np
import pytest

import benchmarks.peers.__main__ as peers
from benchmarks import calibration, guard, paper
from benchmarks.peers import systems as peer_systems
from retrieval.evaluation.measures import RunMeasures

BEFORE = {
    "speed_ratios": {"encode": 3.0, "train": 1.0},
    "quality": {"dense": 0.5},
    "read_as_before": {"clean": 1.0, "edited": 0.6},
    "sizes": {"documents": 9},
}


def test_nothing_fell_when_nothing_changed():
    assert guard.regressions(BEFORE, BEFORE) == []


def test_a_speed_is_a_regression_only_below_two_thirds():
    assert guard.regressions({**BEFORE, "speed_ratios": {"encode": 2.01, "train": 0.9}}, BEFORE) == []
    fallen = guard.regressions({**BEFORE, "speed_ratios": {"encode": 1.9, "train": 1.0}}, BEFORE)
    assert fallen == ["encode: 1.9 of the matrix rate, was 3"]


def test_quality_is_judged_on_the_same_data_only():
    worse = {**BEFORE, "quality": {"dense": 0.4}}
    assert guard.regressions(worse, BEFORE) == ["dense nDCG@10: 0.4, was 0.5"]
    assert guard.regressions({**worse, "sizes": {"documents": 8}}, BEFORE) == []


def test_speeds_of_another_run_are_kept_with_its_commit():
    now = {"commit": "c2", "speed_ratios": {"encode": 0.1}, "quality": {"dense": 0.6}}
    kept = guard.with_speeds_of(now, {"commit": "c1", "speed_ratios": {"encode": 3.0}})
    assert kept == {**now, "speed_ratios": {"encode": 3.0}, "speed_commit": "c1"}
    again = guard.with_speeds_of({**now, "commit": "c3"}, kept)
    assert (again["commit"], again["speed_commit"]) == ("c3", "c1")


def test_a_speed_that_the_baseline_lacks_is_told():
    now = {**BEFORE, "speed_ratios": {**BEFORE["speed_ratios"], "corrections": 1.0}}
    assert guard.regressions(now, BEFORE) == [] and guard.unjudged(now, BEFORE) == ["corrections"]
    assert guard.unjudged(BEFORE, now) == []


def test_queries_that_are_read_otherwise_are_a_regression():
    worse = {**BEFORE, "read_as_before": {"clean": 0.97, "edited": 0.1}}
    assert guard.regressions(worse, BEFORE) == [
        "clean queries read as before the change: 0.97, was 1",
        "edited queries read as before the change: 0.1, was 0.6",
    ]
    assert guard.regressions({**worse, "sizes": {"documents": 8}}, BEFORE) == []


def test_a_measurement_that_is_gone_is_a_regression():
    assert len(guard.regressions({**BEFORE, "speed_ratios": {}}, BEFORE)) == 2


def test_gains_of_the_paper_are_relative_to_bm25():
    assert paper.gain(paper.PAPER, "LSTM-DSSM", 0) == pytest.approx(100 * 2.6 / 30.5)
    assert paper.gain(paper.PAPER, "BM25", 2) == 0
    assert paper.order(paper.PAPER, {"BM25": 0, "DSSM": 0, "LSTM-DSSM": 0}) == ["LSTM-DSSM", "DSSM", "BM25"]


def test_the_papers_table_stands_beside_ours(capsys):
    paper.print_table("set", {"BM25": [50.0, 50.0, 50.0], "DSSM": [55.0, 60.0, 40.0]})
    said = capsys.readouterr().out
    assert "55.0 (+10.0%)" in said and "31.0 (+1.6%)" in said and "40.0 (-20.0%)" in said
    assert "order at 10, paper: DSSM > BM25" in said and "order at 10, ours: BM25 > DSSM" in said


def test_reciprocal_ranks_add_up():
    fused = peer_systems.reciprocal([[("a", 9.0), ("b", 8.0)], [("b", 1.0), ("c", 0.5)]])
    assert fused == [
        ("b", pytest.approx(1 / 7 + 1 / 6)),
        ("a", pytest.approx(1 / 6)),
        ("c", pytest.approx(1 / 7)),
    ]


def test_bm25_is_measured_and_answers_again_from_its_folder(tmp_path, made):
    qrels = peers.prepare(made.data, "test", None, tmp_path)
    found = peers.peer("bm25", tmp_path, sys.executable, {"PATH": ""})
    assert found["run"].keys() == qrels.keys()
    assert next(iter(found["run"]["q1"])) == "d1"  # "copy folder"
    assert all(score > 0 for hits in found["run"].values() for score in hits.values())
    assert found["deploy_bytes"] == sum(
        f.stat().st_size for f in (tmp_path / "bm25").rglob("*") if f.is_file()
    )
    assert found["cold_start_s"] > 0 and found["p99_ms"] >= found["p50_ms"]


def test_a_peer_that_is_not_installed_is_skipped_with_a_reason(tmp_path, made):
    peers.prepare(made.data, "test", None, tmp_path)
    found = peers.peer("minilm", tmp_path, sys.executable, {"PATH": ""})
    assert "skipped" in found or found["deploy_bytes"] > 0


def test_vectors_encoded_before_are_put_into_the_order_of_the_corpus(tmp_path, made):
    names = [f"d{n}" for n in reversed(range(8))]
    (tmp_path / "v.ids.json").write_text(json.dumps(names))
    np.save(tmp_path / "v.npy", np.arange(8, dtype=np.float32)[:, None])
    peers.prepare(made.data, "test", tmp_path / "v.npy", tmp_path)
    assert np.load(tmp_path / "minilm.npy", allow_pickle=False)[:, 0].tolist() == [7, 6, 5, 4, 3, 2, 1, 0]


def test_ours_is_held_against_every_peer_with_correction():
    better = RunMeasures(("a", "b", "c"), {"nDCG@10": np.array([1.0, 1.0, 1.0])})
    worse = RunMeasures(("a", "b", "c"), {"nDCG@10": np.array([0.0, 0.5, 0.5])})
    found = peers.significance({"peephole dense": better, "bm25": worse, "minilm": worse})
    assert [(one["b"], one["p_holm"]) for one in found] == [("bm25", 0.5), ("minilm", 0.5)]


def test_chance_alone_gives_a_calibration_error():
    """The mean distance of a share of n fair coins from one half is .5 sqrt(2 / (pi n))."""
    expected = 0.5 * (2 / (np.pi * 400)) ** 0.5
    assert calibration.by_chance(np.full(400, 0.5)) == pytest.approx(expected, rel=0.1)
    assert calibration.by_chance(np.array([0.0, 1.0])) == 0
