"""Matches of words: numpy against a loop over every word, and compiled loops against numpy."""

from __future__ import annotations

import numpy as np
import pytest

from index.interaction.matches import FIELDS, SAME, Comparison, Matches, matches_of


def compared(seed: int, documents: int, table: int, query: int, most_words: int) -> Comparison:
    """Random words; some fields have none."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, most_words + 1, (documents, FIELDS))
    cosines = rng.uniform(-1, 1, (table, query)).astype(np.float32)
    places = rng.integers(0, table, lengths.sum())
    return Comparison(cosines, rng.uniform(0, 3, table).astype(np.float32), places, lengths)


def assert_equal(found: Matches, want: Matches) -> None:
    for name, one, other in zip(Matches._fields, found, want, strict=True):
        assert one.shape == other.shape, name
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5, err_msg=name)


def test_matches_are_those_of_a_loop():
    comparison = compared(1, 5, 9, 3, 4)
    matches = matches_of(comparison)
    at = 0
    for document, lengths in enumerate(comparison.lengths.tolist()):
        for field, length in enumerate(lengths):
            cosines = comparison.cosines[comparison.places[at : at + length]]
            weights = comparison.weights[comparison.places[at : at + length]]
            at += length
            best = cosines.max(axis=0) if length else [0, 0, 0]
            nearest = cosines.max(axis=1)
            counts = weights.sum(), (weights * nearest).sum(), weights[nearest > SAME].sum()
            place = slice(None), document, field
            np.testing.assert_allclose(matches.best[place], best)
            np.testing.assert_allclose(matches.soft[place], (np.maximum(cosines, 0) ** 4).sum(0), rtol=1e-5)
            np.testing.assert_allclose(matches.counts[place], counts, rtol=1e-5)


def test_as_many_places_as_words_may_be_in_any_order():
    cosines = np.array([[0.1], [0.2], [0.3]], np.float32)
    lengths = np.array([[1, 2, 0]])
    matches = matches_of(Comparison(cosines, np.array([1, 2, 4], np.float32), np.array([2, 0, 1]), lengths))
    np.testing.assert_allclose(matches.best[0], [[0.3, 0.2, 0]])
    np.testing.assert_allclose(matches.counts[0], [[4, 3, 0]])


@pytest.mark.parametrize("seed", range(20))
def test_compiled_loops_match_as_numpy_does(seed: int):
    from index.interaction.compiled import compiled_matches

    rng = np.random.default_rng(seed)
    documents, size, query, most = (
        int(rng.integers(low, high)) for low, high in ((0, 9), (1, 60), (1, 20), (0, 30))
    )
    vectors = rng.integers(-127, 128, (size, 8)).astype(np.int8)
    scales = (1 / np.maximum(np.linalg.norm(vectors.astype(np.float32), axis=1), 1)).astype(np.float32)
    units = rng.normal(size=(query, 8)).astype(np.float32)
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    units[0] = vectors[0] * scales[0]  # the same word
    comparison = compared(seed, documents, size, query, most)
    comparison = comparison._replace(cosines=(vectors @ units.T) * scales[:, None])
    ends = np.concatenate(([0], np.cumsum(comparison.lengths)))
    bounds = ends[FIELDS * np.arange(documents)[:, None] + np.arange(FIELDS + 1)]
    words = comparison.places.astype(np.int32)
    found = compiled_matches((vectors, scales, comparison.weights), words, bounds, units)
    assert_equal(found, matches_of(comparison))
