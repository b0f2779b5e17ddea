"""How an index takes queries: what no document has, what is read otherwise, and the best hit."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from retrieval.evaluation.coverage import Coverage, coverage_of, unknown_words
from retrieval.search.hits import Hit
from retrieval.search.retriever import Retriever


@pytest.fixture
def retriever(calibrated) -> Iterator[Retriever]:
    with Retriever.open(calibrated.index) as opened:
        yield opened


@pytest.mark.parametrize(
    ("query", "unknown"),
    [
        ("copy a whole folder", ()),
        ("Copying the FOLDERS", ()),  # other forms of words that documents have
        ("copy a Unicorn to the unicorn's stable", ("unicorn", "unicorn's", "stable")),
        ("启动 数据库", ("数据", "据库")),
        ("unpack --unicorn-feed now", ("unicorn", "feed", "now")),
        ("the", ("the",)),
        ("?!", ()),
    ],
)
def test_words_that_no_document_has(retriever, query, unknown):
    assert unknown_words(retriever.index, query) == unknown


def test_queries_are_searched_for_as_they_are_read(retriever):
    queries = ["copy a whole folder", "list a direcotry", "unicorns"] * 50
    told = []
    found = coverage_of(retriever, queries, progress=lambda *each: told.append(each))
    assert told == [("queries", 64, 150), ("queries", 128, 150), ("queries", 150, 150)]
    assert [each.query for each in found] == queries
    assert [(each.searched, each.unknown) for each in found[:3]] == [
        ("copy a whole folder", ()),
        ("list a directory", ()),
        ("unicorns", ("unicorns",)),
    ]
    for each in found[:3]:
        (best,) = retriever.search(each.query, 1)
        assert each.best is not None and each.best.id == best.id
        assert each.best.probability == pytest.approx(best.probability, abs=1e-5)


def test_no_queries_need_no_search(retriever):
    assert coverage_of(retriever, []) == []


@pytest.mark.parametrize(
    ("probability", "unlikely"), [(0.0, True), (0.29, True), (0.3, False), (None, False)]
)
def test_a_hit_is_unlikely_below_a_probability_that_is_known(probability, unlikely):
    hit = Hit(1, "a", 1.0, "", "", probability=probability)
    assert Coverage("q", "q", (), hit).is_unlikely(0.3) is unlikely
    assert not Coverage("q", "q", (), None).is_unlikely(0.3)
