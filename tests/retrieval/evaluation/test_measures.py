import math
import random
import shutil
import subprocess
import sys

import numpy as np
import pytest

from index.errors import InputError, MissingExtraError
from retrieval.evaluation.measures import (
    DEFAULT_MEASURES,
    RunMeasures,
    ann_recall,
    evaluate_run,
    latency_percentiles,
    parse_measure,
)
from retrieval.evaluation.runs import ranking

Judged = dict[str, dict[str, int]]
Ranked = dict[str, dict[str, float]]


def by_hand(judged: dict[str, int], scores: dict[str, float]) -> dict[str, float]:
    """The measures from their definitions, one query at a time."""
    order = sorted(scores, key=lambda name: (np.float32(scores[name]), name), reverse=True)
    grades = [max(0, judged.get(name, 0)) for name in order]
    relevant = sum(grade > 0 for grade in judged.values())
    ideal = sorted((max(0, grade) for grade in judged.values()), reverse=True)

    def gain(values: list[int]) -> float:
        return sum(value / math.log2(rank + 1) for rank, value in enumerate(values[:10], 1))

    found = [rank for rank, grade in enumerate(grades, 1) if grade > 0]
    precisions = [sum(other <= rank for other in found) / rank for rank in found]
    return {
        "nDCG@10": gain(grades) / gain(ideal) if relevant else 0.0,
        "R@1": sum(rank <= 1 for rank in found) / relevant if relevant else 0.0,
        "R@10": sum(rank <= 10 for rank in found) / relevant if relevant else 0.0,
        "R@100": sum(rank <= 100 for rank in found) / relevant if relevant else 0.0,
        "RR@10": 1 / found[0] if found and found[0] <= 10 else 0.0,
        "AP": sum(precisions) / relevant if relevant else 0.0,
    }


def thousand_rankings() -> tuple[Judged, Ranked]:
    """Graded judgements; rankings full of ties, some only in float32; some queries missing."""
    draw = random.Random(5)
    qrels: Judged = {}
    run: Ranked = {}
    for number in range(1000):
        query = f"q{number}"
        # Documents may be called as queries are, and as the query itself is.
        pool = [f"d{i}" for i in range(draw.randint(1, 150))] + [query, "q0", "文"]
        qrels[query] = {
            name: draw.choice((0, 0, 1, 2, 3)) for name in draw.sample(pool, draw.randint(1, len(pool)))
        }
        if number % 10:
            returned = draw.sample(pool, draw.randint(0, len(pool)))
            run[query] = {name: draw.randint(0, 5) / 3 + draw.choice((0.0, 1e-12)) for name in returned}
    run["unjudged"] = {"d1": 1.0}
    return qrels, run


def test_measures_agree_with_their_definitions_and_trec_eval_on_a_thousand_rankings() -> None:
    pytrec_eval = pytest.importorskip("pytrec_eval")
    qrels, run = thousand_rankings()
    names = {
        "nDCG@10": "ndcg_cut_10",
        "nDCG": "ndcg",
        "R@1": "recall_1",
        "R@10": "recall_10",
        "R@100": "recall_100",
        "AP": "map",
        "MAP@10": "map_cut_10",
        "P@5": "P_5",
        "RR": "recip_rank",
        "Success@5": "success_5",
    }
    scores = evaluate_run(qrels, run, [*names, "RR@10"])
    assert scores.query_ids == tuple(qrels)
    trec = pytrec_eval.RelevanceEvaluator(qrels, set(names.values())).evaluate(run)
    for row, query in enumerate(scores.query_ids):
        expected = by_hand(qrels[query], run.get(query, {}))
        for measure, value in expected.items():
            assert scores.of(measure)[row] == pytest.approx(value, abs=1e-9), (query, measure)
        for measure, name in names.items():
            value = trec.get(query, {}).get(name, 0.0)
            assert scores.of(measure)[row] == pytest.approx(value, abs=1e-9), (query, measure)


def test_usual_measures_need_no_library_and_others_say_which(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ir_measures", None)
    scores = evaluate_run({"q": {"a": 1}}, {"q": {"b": 2.0, "a": 1.0}}, ["RR", "P@2", "Success@1"])
    assert scores.means() == {"RR": 0.5, "P@2": 0.5, "Success@1": 0.0}
    with pytest.raises(MissingExtraError, match=r"'Bpref' needs ir_measures.*pip install ir-measures"):
        evaluate_run({"q": {"a": 1}}, {}, ["Bpref"])


def test_query_missing_from_the_run_counts_as_zero() -> None:
    scores = evaluate_run({"a": {"d": 1}, "b": {"d": 1}}, {"b": {"d": 0.5}, "c": {"d": 1.0}})
    assert scores.query_ids == ("a", "b")
    assert scores.means() == dict.fromkeys(DEFAULT_MEASURES, 0.5)
    assert evaluate_run({"a": {"d": 1}}, {}).mean("RR@10") == 0.0
    assert evaluate_run({"a": {"d": 1}}, {"a": {}}).mean("nDCG@10") == 0.0


def test_document_named_as_the_query_is_one_like_any_other() -> None:
    run = {"q": {"q": 3.0, "d": 2.0}}
    assert evaluate_run({"q": {"q": 1}}, run).mean("RR@10") == 1.0
    # Not dropped: it takes the first rank from the relevant one.
    assert evaluate_run({"q": {"d": 1}}, run).mean("RR@10") == 0.5


def test_query_with_nothing_relevant_counts_zero_and_negative_grades_are_not_relevant() -> None:
    assert evaluate_run({"q": {"d": 0}}, {"q": {"d": 1.0}}).means() == dict.fromkeys(DEFAULT_MEASURES, 0.0)
    scores = evaluate_run({"q": {"a": -1, "b": 1}}, {"q": {"a": 2.0, "b": 1.0}})
    assert scores.mean("nDCG@10") == pytest.approx(1 / math.log2(3))


def test_any_measure_of_ir_measures_may_be_asked_for_and_keeps_its_name() -> None:
    pytest.importorskip("ir_measures")
    qrels = {"q": {"a": 2, "b": 1}}
    scores = evaluate_run(
        qrels, {"q": {"b": 2.0, "a": 1.0}}, ["P(rel=2)@1", "MRR", "Success@1", "IPrec@0.5", "RR"]
    )
    assert scores.means() == {"P(rel=2)@1": 0.0, "MRR": 1.0, "Success@1": 1.0, "IPrec@0.5": 1.0, "RR": 1.0}
    assert list(scores.values) == ["P(rel=2)@1", "MRR", "Success@1", "IPrec@0.5", "RR"]


def test_names_mean_the_measures_of_ir_measures() -> None:
    pytest.importorskip("ir_measures")
    from ir_measures import ERR, Bpref, IPrec, P, nDCG

    assert parse_measure("Bpref") == Bpref
    assert parse_measure("ERR@20") == ERR @ 20
    assert parse_measure("P(rel=2)@5") == P(rel=2) @ 5
    assert parse_measure("IPrec@0.1") == IPrec @ 0.1
    assert parse_measure("nDCG(dcg='log2')@10") == nDCG(dcg="log2") @ 10


@pytest.mark.skipif(shutil.which("perl") is None, reason="ir-measures computes ERR with perl")
def test_measures_of_other_programs_take_any_id() -> None:
    """The program behind ERR reads a text with spaces between columns, and queries that are numbers."""
    pytest.importorskip("ir_measures")
    qrels = {"how to copy": {"man page 1": 2, "man page 2": 1}, "文": {"é": 4}}
    run = {"how to copy": {"man page 2": 2.0, "man page 1": 1.0}, "文": {"x": 2.0, "é": 1.0}}
    scores = evaluate_run(qrels, run, ["ERR@10", "Bpref"])
    # A reader is satisfied by a document of grade g with the probability (2^g - 1) / 16.
    expected = [1 / 16 + (15 / 16) * (3 / 16) / 2, 15 / 16 / 2]
    np.testing.assert_allclose(scores.of("ERR@10"), expected, atol=1e-5)
    np.testing.assert_array_equal(scores.of("Bpref"), 1)


@pytest.mark.parametrize("name", ["ERR@10", "nDCG(dcg='exp-log2')@10"])
def test_grades_that_a_measure_does_not_know_are_told_in_one_line(
    name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("ir_measures")
    with pytest.raises(InputError, match=r"^cannot compute .*@10 \(it knows no grades above 4\); choose"):
        evaluate_run({"q": {"d": 5}}, {"q": {"d": 1.0}}, [name, "Bpref"])
    assert capfd.readouterr().err == ""  # perl would tell of its temporary files
    assert evaluate_run({"q": {"d": 5}}, {"q": {"d": 1.0}}, ["Bpref"]).mean("Bpref") == 1


@pytest.mark.parametrize(
    "name",
    [
        *("nope@10", "nDCG@0", "R@0", "R@-1", "P(cutoff=0)", "R@99999999999", "R", "nDCG@x", "", "a b"),
        *("R@10; R@5", "nDCG(foo=1)@3", "(" * 500, "RBP", "P(rel=0)@5", "IPrec@1.5"),
    ],
)
def test_bad_measure_is_named(name: str) -> None:
    with pytest.raises(InputError, match="measure") as caught:
        evaluate_run({"q": {"a": 1}}, {"q": {"a": 1.0}}, ["nDCG@10", name])
    assert repr(name) in str(caught.value)


def test_measure_that_fails_while_computed_is_an_input_error(monkeypatch: pytest.MonkeyPatch) -> None:
    ir_measures = pytest.importorskip("ir_measures")

    def fail(*_: object) -> object:
        raise RuntimeError("perl is\nmissing")

    monkeypatch.setattr(ir_measures, "iter_calc", fail)
    with pytest.raises(InputError, match="perl is missing"):
        evaluate_run({"q": {"a": 1}}, {"q": {"a": 1.0}}, ["Bpref"])


def test_nan_score_and_missing_judgements_are_refused() -> None:
    with pytest.raises(InputError, match="query 'q' is NaN"):
        evaluate_run({"q": {"a": 1}}, {"q": {"a": math.nan}})
    with pytest.raises(InputError, match="no judged queries"):
        evaluate_run({}, {"q": {"a": 1.0}})
    with pytest.raises(InputError, match="'AP' was not computed"):
        evaluate_run({"q": {"a": 1}}, {}).mean("AP")


def test_ranking_breaks_ties_of_float32_by_id_downwards() -> None:
    assert ranking({"a": 1.0, "c": 0.5, "b": 1.0 + 1e-12, "d": -1.0}) == ["b", "a", "c", "d"]


def test_ann_recall_counts_the_share_of_exact_neighbours() -> None:
    exact = [[1, 2, 3], [4, 5, 6]]
    assert ann_recall([[1, 2, 3], [6, 5, 4]], exact, 3) == 1.0
    assert ann_recall([[1, 9, 2], [4, -1, -1]], exact, 2) == 0.5
    assert ann_recall([[1, 1, 1], [0, 0, 0]], exact, 3) == pytest.approx((1 / 3 + 0) / 2)


def test_ann_recall_takes_a_tied_row_for_the_last_one() -> None:
    exact = [[1, 2, 3, 4]]
    scores = np.array([[0.9, 0.5, 0.5 - 1e-8, 0.4]], np.float32)
    assert ann_recall([[1, 3]], exact, 2) == 0.5
    assert ann_recall([[1, 3]], exact, 2, scores) == 1.0
    assert (
        ann_recall([[3, 2]], exact, 2, scores) == 1.0
    )  # found both tied rows but not the first: no more than k
    assert ann_recall([[1, 4]], exact, 2, scores) == 0.5


def test_ann_recall_of_a_corpus_smaller_than_k() -> None:
    assert ann_recall([[1, 0, -1]], [[0, 1, -1]], 3) == 1.0
    assert ann_recall([[-1]], [[-1]], 1) == 1.0


def test_ann_recall_agrees_with_sets_on_random_rows() -> None:
    random_rows = np.random.default_rng(0)
    exact = np.array([random_rows.permutation(30)[:10] for _ in range(50)])
    approximate = np.array([random_rows.permutation(30)[:10] for _ in range(50)])
    expected = np.mean([len(set(a[:5]) & set(e[:5])) / 5 for a, e in zip(approximate, exact, strict=True)])
    assert ann_recall(approximate, exact, 5) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("approximate", "exact", "k"), [([[1]], [[1], [2]], 1), ([1], [1], 1), ([[1]], [[1]], 0)]
)
def test_ann_recall_refuses_shapes_that_do_not_fit(approximate: object, exact: object, k: int) -> None:
    with pytest.raises(InputError, match="cannot be compared"):
        ann_recall(approximate, exact, k)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="cannot be compared"):
        ann_recall([[1]], [[1]], 1, [[0.5, 0.4]])


def test_latency_is_in_milliseconds() -> None:
    assert latency_percentiles(i / 1000 for i in range(101)) == pytest.approx(
        {"p50": 50, "p95": 95, "p99": 99}
    )
    with pytest.raises(InputError, match="no query was timed"):
        latency_percentiles([])


def test_importing_evaluation_does_not_import_its_measures() -> None:
    code = (
        "import sys; import retrieval.evaluation.measures, retrieval.evaluation.evaluate;"
        "print([m for m in ('ir_measures', 'pytrec_eval', 'torch', 'matplotlib') if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("ndcg@10", "unknown measure 'ndcg@10'; write nDCG@10"),
        ("p(rel=2)@5", "unknown measure 'p(rel=2)@5'; write P(rel=2)@5"),
        ("best", "unknown measure 'best'; write one as in nDCG@10, AP, R@100, P(rel=2)@5"),
    ],
)
def test_a_measure_in_other_case_is_told_as_it_is_written(name: str, told: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_measure(name)
    assert str(caught.value) == told


def test_means_have_the_names_of_their_measures() -> None:
    assert RunMeasures(("q",), {"AP": np.array([0.25])}).means() == {"AP": 0.25}
