"""Features against a computation word by word."""

from __future__ import annotations

import math

import numpy as np
import pytest

from index.interaction.matches import Comparison, Matches, matches_of
from index.lexical.bm25 import WordMatch
from retrieval.search.features import (
    NAMES,
    OF_TITLE_AND_TEXT,
    Candidates,
    add_candidate_features,
    features_of_words,
    shares_of,
    word_features,
)

RNG = np.random.default_rng(5)
# Words of the title, of the text and of the known queries of four documents, by number; one has no title, one
# no words, two no queries.
DOCUMENTS = [([0, 1], [1, 2, 3], [4, 5]), ([], [4], []), ([], [], []), ([5], [0, 5, 2], [3])]
COSINES = RNG.uniform(-1, 1, (6, 3)).astype(np.float32)
COSINES[0, 1] = 0.99
WEIGHTS = RNG.uniform(0.1, 2, 6).astype(np.float32)
QUERY_WEIGHTS = np.array([1, 3, 0.5], np.float32)


def test_shares_of_words_that_weigh_nothing_are_nothing():
    assert shares_of(np.array([1, 3], np.float32)).tolist() == [0.25, 0.75]
    assert shares_of(np.zeros(2, np.float32)).tolist() == [0, 0]


def features(candidates, matches, weights, of_words):
    table = features_of_words(len(candidates.cosines), matches, weights, of_words)
    add_candidate_features(table, candidates, len(weights))
    return table


def candidates() -> Candidates:
    matches = WordMatch(np.array([2, 0, 0, 4], np.float32), np.array([0.5, 0, 0, 0.9], np.float32), 6.0, 3)
    return Candidates(
        np.array([0.8, 0.4, 0.1, 0.5], np.float32), matches, np.array([0, 2, 3, 1]), np.array([1, 9, 9, 0]), 5
    )


def matches() -> Matches:
    places = np.array([word for fields in DOCUMENTS for field in fields for word in field])
    lengths = np.array([list(map(len, fields)) for fields in DOCUMENTS])
    return matches_of(Comparison(COSINES, WEIGHTS, places, lengths))


@pytest.fixture
def table() -> dict[str, list[float]]:
    found = features(candidates(), [(slice(None), matches())], QUERY_WEIGHTS, word_features)
    assert found.dtype == np.float32
    return dict(zip(NAMES, found.T.tolist(), strict=True))


def test_features_of_the_rankings(table: dict[str, list[float]]):
    assert table["cosine"] == pytest.approx([0.8, 0.4, 0.1, 0.5])
    assert table["cosine below best"] == pytest.approx([0, -0.4, -0.7, -0.3])
    assert table["BM25 share of best"] == pytest.approx([0.5, 0, 0, 1])
    assert table["dense rank"] == pytest.approx([math.log1p(rank) for rank in (0, 2, 3, 1)])
    assert table["lexical rank"] == pytest.approx([math.log1p(rank) for rank in (1, 6, 6, 0)])
    assert table["best BM25"] == pytest.approx([math.log1p(4)] * 4)
    assert table["best share of query terms"] == pytest.approx([0.9] * 4)
    assert table["query words"] == pytest.approx([math.log1p(3)] * 4)


@pytest.mark.parametrize("field", ["document", "title", "known queries"])
def test_features_of_the_words_are_those_of_a_loop(table: dict[str, list[float]], field: str):
    shares = QUERY_WEIGHTS / QUERY_WEIGHTS.sum()
    for number, (title, text, queries) in enumerate(DOCUMENTS):
        asked = [queries] if queries else []
        runs = {"title": [title], "known queries": [queries], "document": [title, text, *asked]}[field]
        # A title or text without words matches with 0, and the document is the best of its fields.
        best = [
            max(max((float(COSINES[word, query]) for word in run), default=0.0) for run in runs)
            for query in range(3)
        ]
        places = [word for run in runs for word in run]
        assert table[f"query in {field}"][number] == pytest.approx(np.dot(shares, best), abs=1e-5)
        for threshold in (0.3, 0.5, 0.7, 0.95):
            above = sum(share for share, cosine in zip(shares, best, strict=True) if cosine > threshold)
            assert table[f"query above {threshold} in {field}"][number] == pytest.approx(above, abs=1e-6)
        counts = [sum(max(float(COSINES[word, query]), 0) ** 4 for word in places) for query in range(3)]
        want = sum(share * math.log(count + 0.01) for share, count in zip(shares, counts, strict=True))
        assert table[f"soft count in {field}"][number] == pytest.approx(want, rel=1e-4)
        places = [word for run in (runs[:2] if field == "document" else runs) for word in run]
        weight = sum(float(WEIGHTS[word]) for word in places)
        matched = sum(float(WEIGHTS[word] * COSINES[word].max()) for word in places)
        same = sum(float(WEIGHTS[word]) for word in places if COSINES[word].max() > 0.95)
        assert table[f"{field} in query"][number] == pytest.approx(matched / max(weight, 1e-6), abs=1e-5)
        assert table[f"{field} same in query"][number] == pytest.approx(same / max(weight, 1e-6), abs=1e-5)
        if field != "known queries":
            assert table[f"{field} words"][number] == pytest.approx(math.log1p(len(places)))
        if field == "document":
            assert table["least matched in document"][number] == pytest.approx(min(best), abs=1e-6)


def test_without_known_queries_the_other_features_stay_as_they_were():
    # As a program computes them that knows titles and texts alone.
    places = np.array([word for fields in DOCUMENTS for field in fields[:2] for word in field])
    lengths = np.array([[len(title), len(text), 0] for title, text, _ in DOCUMENTS])
    bare = matches_of(Comparison(COSINES, WEIGHTS, places, lengths))
    found = features(candidates(), [(slice(None), bare)], QUERY_WEIGHTS, word_features)
    whole = features(candidates(), [(slice(None), matches())], QUERY_WEIGHTS, word_features)
    none = [number for number, fields in enumerate(DOCUMENTS) if not fields[2]]
    assert np.array_equal(found[none], whole[none])
    # Whether a document has known queries says nothing by itself: only what they share with the query counts.
    names = [name for name, known in zip(NAMES, ~OF_TITLE_AND_TEXT, strict=True) if known]
    assert len(names) == 8
    assert "known queries words" not in names
    assert not found[:, ~OF_TITLE_AND_TEXT & ~np.isin(NAMES, ["soft count in known queries"])].any()


def test_candidates_of_several_segments_have_the_same_features():
    whole = features(candidates(), [(slice(None), matches())], QUERY_WEIGHTS, word_features)
    parts = []
    for numbers in ([2, 0], [3, 1]):
        inside = np.isin(np.arange(4), numbers)
        chosen = [DOCUMENTS[number] for number in sorted(numbers)]
        places = np.array([word for fields in chosen for field in fields for word in field], np.int64)
        lengths = np.array([list(map(len, fields)) for fields in chosen])
        parts.append((inside, matches_of(Comparison(COSINES, WEIGHTS, places, lengths))))
    assert np.allclose(features(candidates(), parts, QUERY_WEIGHTS, word_features), whole, atol=1e-6)


@pytest.mark.parametrize("seed", range(10))
def test_a_compiled_loop_computes_the_same_features(seed: int):
    compiled = pytest.importorskip("retrieval.search.compiled", reason="needs numba")
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 4, (int(rng.integers(0, 9)), 3))
    lengths[rng.random(len(lengths)) < 0.4, 2] = 0  # without known queries
    size, words = int(lengths.sum()), int(rng.integers(1, 6))
    cosines = rng.uniform(-1, 1, (8, words)).astype(np.float32)
    cosines[0, 0] = 0.97
    weights = rng.uniform(0, 2, 8).astype(np.float32)
    matched = matches_of(Comparison(cosines, weights, rng.integers(0, 8, size), lengths))
    shares = rng.dirichlet(np.ones(words)).astype(np.float32)
    found, want = compiled.compiled_word_features(matched, shares), word_features(matched, shares)
    assert found.shape == want.shape
    assert np.allclose(found, want, atol=2e-6)
