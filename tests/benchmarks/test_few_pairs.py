from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.few_pairs.__main__ import curve, means, table
from benchmarks.few_pairs.draws import drawn_pairs, prior_of
from benchmarks.few_pairs.picture import draw
from retrieval.training.fitting import linear

QRELS = {f"q{n}": {f"d{n}": 1, f"e{n}": 2, f"f{n}": 0} for n in range(50)}


def test_draws_are_relevant_pairs_and_nested():
    few, more = drawn_pairs(QRELS, 10, 1), drawn_pairs(QRELS, 40, 1)
    pairs = [{(q, d, g) for q, grades in drawn.items() for d, g in grades.items()} for drawn in (few, more)]
    assert [len(each) for each in pairs] == [10, 40]
    assert pairs[0] < pairs[1]
    assert all(QRELS[q][d] == g > 0 for q, d, g in pairs[1])
    assert drawn_pairs(QRELS, 10, 2) != few
    assert drawn_pairs(QRELS, 0, 1) == {}


def test_the_prior_of_other_sets_holds_inside_the_block_only():
    before = linear.PRIOR
    with prior_of(["tldr"]):
        assert linear.PRIOR.tolist() == linear.mean_prior(["tldr"]).tolist() != before.tolist()
    assert linear.PRIOR is before


def test_a_row_has_the_mean_and_the_range_of_its_draws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    values = iter([0.3, 0.5, 0.7])
    monkeypatch.setattr("benchmarks.few_pairs.__main__.trained", lambda *arguments: tmp_path)
    monkeypatch.setattr("benchmarks.few_pairs.__main__.few_pairs", lambda *arguments: tmp_path)
    names = ("BM25", "dense", "fused", "final")
    monkeypatch.setattr(
        "benchmarks.few_pairs.__main__.measured", lambda *arguments: dict.fromkeys(names, next(values))
    )
    rows = curve(tmp_path, {0: 3, 100: 2}, None, tmp_path)
    assert [(row["pairs"], row["final"], len(row["draws"])) for row in rows] == [(0, 0.3, 1), (100, 0.6, 2)]
    assert means(rows[1]["draws"])["dense"] == 0.6
    assert "0.600 (0.500 to 0.700)" in table(rows).splitlines()[-1]
    draw({"made": {"rows": rows}}, tmp_path / "curve.svg")
    assert "made" in (tmp_path / "curve.svg").read_text()
