"""Compiled loops against numpy: candidates, their features, and whole searches."""

from __future__ import annotations

import sys
from functools import partial

import numpy as np
import pytest

from index.interaction.matches import Matches
from index.lexical.bm25 import WordMatch
from index.ranking import Ranking
from retrieval.model.calibration import ModeCalibration
from retrieval.model.rescoring import Rescorer
from retrieval.search.compiled import (
    _log,
    compiled_merged,
    compiled_order,
    compiled_probabilities,
    compiled_word_features,
)
from retrieval.search.evidence import probabilities_of_known
from retrieval.search.features import (
    NAMES,
    OF_CANDIDATES,
    OF_WORDS,
    Candidates,
    features_of_words,
    word_features,
)
from retrieval.search.found import Known
from retrieval.search.fusion import fuse
from retrieval.search.merging import merged
from retrieval.search.ordering import Compared, order
from retrieval.search.retriever import Retriever


def ranking(generator: np.random.Generator, found: int, depth: int = 50) -> Ranking:
    """Of so many documents among 80."""
    rows, scores = np.full((1, depth), -1), np.full((1, depth), -np.inf, np.float32)
    rows[0, :found] = generator.permutation(80)[:found]
    scores[0, :found] = np.sort(generator.random(found))[::-1]
    return Ranking(scores, rows)


@pytest.mark.parametrize("sizes", [(50, 50), (50, 0), (0, 3), (0, 0), (1, 50)])
@pytest.mark.parametrize("most", [100, 50, 1])
def test_documents_of_two_rankings_are_those_of_numpy(sizes: tuple[int, int], most: int):
    generator = np.random.default_rng(sum(sizes))
    dense, lexical = (ranking(generator, size) for size in sizes)
    expected, found = (one(dense, lexical, most, 0.7) for one in (merged, compiled_merged))
    every = {*dense.rows[0].tolist(), *lexical.rows[0].tolist()} - {-1}
    likeliest = fuse(dense, lexical, min(most, len(every)), 0.7).rows[0]
    assert found.rows.tolist() == sorted(likeliest.tolist())
    for name in ("rows", "others", "dense_ranks", "lexical_ranks"):
        assert np.array_equal(getattr(found, name), getattr(expected, name))
        assert getattr(found, name).dtype == getattr(expected, name).dtype
    assert np.array_equal(found.cosines[~found.others], expected.cosines[~expected.others])


def random_matches(generator: np.random.Generator, words: int, documents: int) -> Matches:
    lengths = generator.integers(0, 9, (documents, 3))
    lengths[::2, 2] = 0  # without known queries
    full = lengths > 0
    best = generator.uniform(-0.3, 1, (words, documents, 3)) * full
    soft = generator.uniform(0, 4, (words, documents, 3)) ** 3 * full
    counts = generator.uniform(0, 5, (3, documents, 3)) * full
    return Matches(*(part.astype(np.float32) for part in (best, soft, counts)), lengths)


def random_candidates(generator: np.random.Generator, count: int) -> Candidates:
    scores, shares, cosines = generator.random((3, count)).astype(np.float32)
    ranks = (generator.integers(0, 51, count) for _ in range(2))
    return Candidates(cosines * 2 - 1, WordMatch(scores * 20, shares, 21.0, 3), *ranks, 50)


@pytest.mark.parametrize("words", [1, 7, 40])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_compiled_features_are_those_of_numpy(words: int, seed: int):
    generator = np.random.default_rng(seed)
    count = 60
    weights = generator.uniform(0, 2, words).astype(np.float32)
    inside = generator.random(count) < 0.4
    parts = [(mask, random_matches(generator, words, np.count_nonzero(mask))) for mask in (inside, ~inside)]
    for matches in (parts, parts[:1], [(slice(None), random_matches(generator, words, count))]):
        expected = features_of_words(count, matches, weights, word_features)
        found = features_of_words(count, matches, weights, compiled_word_features)
        assert (found.shape, found.dtype) == ((count, len(NAMES)), np.float32)
        for name, column, wanted in zip(NAMES, found.T, expected.T, strict=True):
            np.testing.assert_allclose(column, wanted, rtol=1e-6, atol=1e-6, err_msg=name)


def test_log_is_that_of_numpy():
    x = np.concatenate((np.geomspace(1e-30, 1e30, 100_001), [0.01, 1, 2, 3])).astype(np.float32)
    expected = np.log(x.astype(np.float64))
    _log(x)
    np.testing.assert_allclose(x, expected, rtol=1e-7, atol=1e-8)


def random_rescorer(generator: np.random.Generator, units: int) -> Rescorer:
    width = len(NAMES)
    arrays = [generator.normal(size=size) for size in ((units, width), units, units, width)]
    return Rescorer(*(each.astype(np.float32) for each in (np.ones((1, 1)), np.ones(1), np.ones(1), *arrays)))


@pytest.mark.parametrize("units", [1, 48])
@pytest.mark.parametrize("count", [1, 90])
def test_the_compiled_order_is_that_of_numpy(units: int, count: int):
    generator = np.random.default_rng(units)
    candidates = random_candidates(generator, count)
    table = np.zeros((count, len(NAMES)), np.float32)
    table[:, OF_CANDIDATES:] = generator.normal(size=(count, OF_WORDS))
    compared = Compared(np.sort(generator.permutation(1000)[:count]), candidates, 3, table)
    rescorer = random_rescorer(generator, units)
    rows, scores = np.full((2, count), -1), np.full((2, count), -1, np.float32)
    order(rescorer, compared._replace(table=table.copy()), rows[0], scores[0])
    compiled_order(rescorer.transposed(), compared._replace(table=table.copy()), rows[1], scores[1])
    assert sorted(rows[0].tolist()) == compared.rows.tolist()
    assert np.array_equal(*rows)
    np.testing.assert_allclose(*scores, rtol=1e-5, atol=1e-5)
    assert (scores[1, 0], scores[1, -1]) == (1, 0 if count > 1 else 1)


def test_equal_candidates_are_in_the_order_of_their_rows():
    generator = np.random.default_rng(0)
    same = np.ones(9, np.float32)
    candidates = Candidates(
        same, WordMatch(same, same, 1.0, 1), np.zeros(9, np.int64), np.zeros(9, np.int64), 50
    )
    rescorer = random_rescorer(generator, 4)
    compared = Compared(np.arange(0, 90, 10), candidates, 1, np.zeros((9, len(NAMES)), np.float32))
    for ordered in (partial(order, rescorer), partial(compiled_order, rescorer.transposed())):
        rows, scores = np.full(9, -1), np.zeros(9, np.float32)
        ordered(compared, rows, scores)
        assert rows.tolist() == list(range(0, 90, 10))
        assert scores.tolist() == [1] * 9


@pytest.mark.parametrize("hits", [0, 1, 10, 50])
def test_compiled_probabilities_are_those_of_numpy(hits: int):
    generator = np.random.default_rng(hits)
    candidates = random_candidates(generator, 50)
    candidates.matches.shares[::3] = 0  # documents without a word of the query
    fitted = ModeCalibration(*(tuple(generator.normal(size=size).tolist()) for size in (7, 9)))
    known = Known(np.sort(generator.permutation(1000)[:50]), candidates.cosines, candidates.matches)
    rows = generator.permutation(known.rows)[:hits]
    found, expected = (one(fitted, known, rows) for one in (compiled_probabilities, probabilities_of_known))
    assert found.shape == (hits,)
    assert found.dtype == expected.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-6)
    for missing in (-1, 1000):
        for one in (compiled_probabilities, probabilities_of_known):
            assert one(fitted, known, np.append(rows, missing)) is None


QUERIES = ("list files of a folder", "启动 nginx", "unpack archive.tar", "text and matrices", "zzz")


@pytest.mark.parametrize("mode", ["hybrid", "dense", "lexical"])
def test_a_server_finds_what_a_search_from_the_shell_finds(calibrated, mode):
    with Retriever.open(calibrated.index) as plain, Retriever.open(calibrated.index, kept_bytes=1) as server:
        assert server._opened.tower._encoder._compose_one is not None
        for query in QUERIES:
            expected, found = (each.search(query, 5, mode) for each in (plain, server))
            assert [hit.id for hit in found] == [hit.id for hit in expected]
            for name in ("score", "probability"):
                values = [[getattr(hit, name) for hit in hits] for hits in (found, expected)]
                np.testing.assert_allclose(*values, atol=2e-6)


def test_without_numba_a_server_searches_as_the_shell_does(calibrated, monkeypatch):
    for package in ("dense", "lexical", "interaction"):
        monkeypatch.setitem(sys.modules, f"index.{package}.compiled", None)  # its import fails
    for package in ("model", "search"):
        monkeypatch.setitem(sys.modules, f"retrieval.{package}.compiled", None)
    with Retriever.open(calibrated.index) as plain, Retriever.open(calibrated.index, kept_bytes=1) as server:
        for query in QUERIES:
            assert server.search(query, 5) == plain.search(query, 5)
