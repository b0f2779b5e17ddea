"""The fit of a calibration: known probabilities come back, hidden answers teach, few queries do not."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from index.ranking import Ranking
from retrieval.evaluation.calibration import calibration_error
from retrieval.indexing.build import build
from retrieval.model.calibration import EVIDENCE
from retrieval.model.config import ModelConfig
from retrieval.search.modes import MODES
from retrieval.search.retriever import Retriever
from retrieval.training.examples.dataset import TrainingData
from retrieval.training.fitting.calibrate import (
    DEPTH,
    LEAST_QUERIES,
    _foreign,
    dev_calibration,
    fit_calibration,
    fit_logistic,
)
from retrieval.training.fitting.dev_rankings import rank_dev

CONFIG = ModelConfig("bag", 8, dimension=8, document_words=16)
WORDS = [f"{a}{b}{c}" for a in "bdfklm" for b in "aeiou" for c in "nrst"]
TEXTS = [" ".join(np.random.default_rng(n).choice(WORDS, 5, replace=False)) for n in range(200)]


def test_known_probabilities_come_back():
    generator = np.random.default_rng(0)
    evidence = generator.normal((3.0, -50.0), (0.5, 20.0), (40_000, 2))
    true = 1 / (1 + np.exp(-(-8 + 2 * evidence[:, 0] - 0.05 * evidence[:, 1])))
    relevant = generator.uniform(size=len(true)) < true
    fitted = fit_logistic(evidence, relevant, np.ones(len(true)))
    assert fitted == pytest.approx((-8, 2, -0.05), rel=0.1)
    likely = 1 / (1 + np.exp(-(fitted[0] + evidence @ fitted[1:])))
    assert np.abs(likely - true).max() < 0.03
    assert calibration_error(likely, relevant) < 0.01


def test_a_weight_counts_as_so_many_examples():
    evidence = np.array([[0.0], [1.0], [2.0], [3.0]])
    relevant = np.array([False, True, False, True])
    weights = np.array([1, 3, 2, 1])
    again = np.repeat(np.arange(4), weights)
    repeated = fit_logistic(evidence[again], relevant[again], np.full(7, 1e6))
    assert fit_logistic(evidence, relevant, weights * 1e6) == pytest.approx(repeated, rel=1e-4)


@pytest.mark.parametrize("same", [False, True])
def test_separable_and_constant_evidence_has_a_finite_fit(same):
    evidence = np.column_stack((np.arange(30.0), np.ones(30)))
    relevant = np.full(30, True) if same else evidence[:, 0] > 14
    fitted = fit_logistic(evidence, relevant, np.ones(30))
    assert np.isfinite(fitted).all()
    assert np.abs(fitted).max() < 100
    assert fitted[2] == 0
    assert fit_logistic(np.empty((0, 2)), np.empty(0, bool), np.empty(0)) == (0, 0, 0)


def test_evidence_that_differs_by_rounding_alone_has_no_weight():
    # All words of every query are in its first hit, so that all shares are 1, but for the order of the sums.
    shares = np.ones(40, np.float32)
    shares[::3] = np.nextafter(np.float32(1), np.float32(0))
    evidence = np.column_stack((np.arange(40.0), shares))
    relevant = shares == 1
    fitted = fit_logistic(evidence, relevant, np.ones(40))
    assert fitted[2] == 0
    assert np.abs(fitted).max() < 100


@pytest.fixture
def retriever(tmp_path, random_model):
    random_model(CONFIG, texts=WORDS).save(tmp_path / "model")
    lines = [json.dumps({"_id": f"d{n}", "text": text}) for n, text in enumerate(TEXTS)]
    (tmp_path / "corpus.jsonl").write_text("\n".join(lines))
    build(tmp_path / "corpus.jsonl", tmp_path / "model", tmp_path / "index")
    with Retriever.open(tmp_path / "index") as opened:
        yield opened


def fitted(retriever, queries, judged):
    rankings = {mode: retriever.rank(queries, DEPTH, mode) for mode in MODES}
    return fit_calibration(retriever, queries, judged, rankings)


def test_a_fit_on_an_index_tells_relevant_hits_from_others(retriever):
    queries = [" ".join(text.split()[:3]) for text in TEXTS[:80]]
    judged = [{f"d{n}": 1, "not in the index": 1, "d199": 0} for n in range(80)]
    calibration = fitted(retriever, queries, judged)
    assert calibration.queries == 80
    fresh = [" ".join(text.split()[:3]) for text in TEXTS[80:160]]
    ranking = retriever.rank(fresh, 10, "hybrid")
    evidence = retriever.evidence(fresh, ranking.rows)
    likely = np.array([calibration.modes["hybrid"].probabilities(each) for each in evidence])
    relevant = ranking.rows == np.arange(80, 160)[:, None]
    assert likely[relevant].mean() > 0.8
    assert likely[~relevant].mean() < 0.05
    assert calibration_error(likely.ravel(), relevant.ravel()) < 0.05


def test_hidden_answers_make_the_first_hit_less_likely(retriever, monkeypatch):
    queries = [" ".join(text.split()[:3]) for text in TEXTS[:80]]
    judged = [{f"d{n}": 1} for n in range(80)]
    foreign = retriever.evidence(["zzz qqq"], retriever.rank(["zzz qqq"], 3, "hybrid").rows)[0]
    likely = {}
    for share in (0.0, 0.2):
        monkeypatch.setattr("retrieval.training.fitting.calibrate.UNANSWERED", share)
        likely[share] = fitted(retriever, queries, judged).modes["hybrid"].probabilities(foreign)[0]
    assert likely[0.2] < likely[0.0]


def test_words_that_no_document_has_give_no_likely_hit_even_where_every_dev_query_is_answered(retriever):
    queries, judged = list(TEXTS[:40]), [{f"d{n}": 1} for n in range(40)]
    calibration = fitted(retriever, queries, judged)
    words = ["xyzzy qwerty", "wwq", "皮卡丘"]
    foreign = retriever.evidence(words, retriever.rank(words, 3, "dense").rows)
    known = retriever.evidence(queries, retriever.rank(queries, 3, "dense").rows)
    for mode in ("dense", "hybrid"):
        likely = calibration.modes[mode].probabilities
        assert max(likely(each)[0] for each in foreign) < 0.5
        assert min(likely(each)[0] for each in known) > 0.8


def test_foreign_words_are_of_the_script_of_the_query():
    (text,) = _foreign(["copy 2 files: 复制"])
    assert re.fullmatch(r"[a-z]{4} [a-z] [a-z]{5}: [一-鿿]{2}", text)
    assert _foreign(["copy 2 files: 复制"]) == [text]


def test_few_queries_give_no_calibration(retriever):
    queries, judged = list(TEXTS[:LEAST_QUERIES]), [{f"d{n}": 1} for n in range(LEAST_QUERIES)]
    assert fitted(retriever, queries, judged) is not None
    assert fitted(retriever, queries[1:], judged[1:]) is None


def test_queries_without_a_relevant_hit_give_low_probabilities(retriever):
    calibration = fitted(retriever, list(TEXTS[:40]), [{"elsewhere": 1}] * 40)
    evidence = retriever.evidence(TEXTS[:1], np.arange(10)[None])
    for mode in MODES:
        assert calibration.modes[mode].probabilities(evidence[0]).max() < 0.05


def test_the_first_hit_of_the_better_ranking_is_likelier_at_the_same_evidence(retriever):
    """The first hits of the ranking that is fitted as dense are right, those of the other one wrong."""
    queries = [" ".join(text.split()[:3]) for text in TEXTS[:80]]
    judged = [{f"d{n}": 1} for n in range(80)]
    good = retriever.rank(queries, DEPTH, "hybrid")
    bad = Ranking(good.scores[:, 1:], good.rows[:, 1:])
    fitted = fit_calibration(retriever, queries, judged, {"dense": good, "lexical": bad})
    evidence = retriever.evidence(queries, good.rows[:, :1])
    likely = {
        mode: np.mean([fitted.modes[mode].probabilities(each)[0] for each in evidence])
        for mode in ("dense", "lexical")
    }
    assert likely["dense"] > 0.8
    assert likely["lexical"] < likely["dense"] - 0.2


def test_queries_that_are_judged_by_clicks_fit_no_probability(retriever):
    queries = {f"q{n}": text for n, text in enumerate(TEXTS)}
    dev = {f"q{n}": {f"d{n}": 1} for n in range(len(TEXTS))}
    data = TrainingData([], queries, {}, dev)
    judged = {query: dev[query] for query in list(dev)[:100]}
    some = replace(data, shown={query: {"d0"} for query in dev if query not in judged}).judged_by_people()
    assert some == replace(data, dev=judged)
    hybrid = retriever.rank([queries[query] for query in judged], DEPTH, "hybrid")
    assert dev_calibration(retriever, some, rank_dev(retriever, data).only(some.dev), hybrid) is not None
    none = replace(data, shown=dict.fromkeys(dev, ("d0",))).judged_by_people()
    assert (
        dev_calibration(retriever, none, rank_dev(retriever, none), retriever.rank([], DEPTH, "hybrid"))
        is None
    )


@pytest.mark.parametrize("name", ["cosine", "bm25", "share"])
def test_more_evidence_never_makes_a_hit_less_likely(retriever, name):
    """Judged so that the hits with the least of one kind of evidence are right."""
    queries = [" ".join(text.split()[: 1 + n % 4]) + " unknown" * (n % 3) for n, text in enumerate(TEXTS)]
    ranking = retriever.rank(queries, DEPTH, "dense")
    values = retriever.evidence(queries, ranking.rows)[:, :, EVIDENCE.index(name)]
    ids = [document.id for document in retriever.index.texts(retriever.index.rows().tolist())]
    judged = [
        {ids[row]: int(value <= np.median(values)) for row, value in zip(rows, each, strict=True)}
        for rows, each in zip(ranking.rows.tolist(), values, strict=True)
    ]
    calibration = fit_calibration(retriever, queries, judged, {"dense": ranking}).modes["dense"]
    for weights in (calibration.first, calibration.further):
        others = [weight for place, weight in enumerate(weights[1:]) if place != EVIDENCE.index("words")]
        assert min(others) >= 0
