"""Learning the vectors of words: the loss against a loop, and a projection that finds what words share."""

from __future__ import annotations

import math

import numpy as np
import pytest

from index.values import no_progress
from retrieval.text.vocabulary import ragged
from retrieval.training.fitting import interaction
from retrieval.training.fitting.interaction import (
    Examples,
    _LateInteraction,
    learn_projection,
    principal_directions,
)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def never() -> bool:
    return False


def test_principal_directions_are_those_of_the_weighted_rows(rng: np.random.Generator):
    rows = rng.normal(size=(30, 6)).astype(np.float32)
    counts = rng.integers(1, 9, 30)
    found = principal_directions(rows, counts)
    repeated = np.repeat(rows / np.linalg.norm(rows, axis=1, keepdims=True), counts, axis=0)
    _, _, directions = np.linalg.svd(repeated, full_matrices=False)
    assert np.abs(found.T @ directions.T) == pytest.approx(np.eye(6), abs=1e-4)


def losses_by_hand(examples: Examples, model: _LateInteraction) -> float:
    parameters = {name: value.detach().numpy() for name, value in model.named_parameters()}
    lengths = np.linalg.norm(examples.rows, axis=1)
    units = examples.rows / lengths[:, None]
    vectors = units @ parameters["projection"]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    weights = lengths / (1 + np.exp(-(units @ parameters["gate"] + parameters["gate_bias"])))
    losses = []
    for asked in range(len(examples.queries)):
        query, candidates = examples.queries[asked], examples.candidates[asked]
        scores = []
        for number in candidates:
            cosines = np.maximum(vectors[query] @ vectors[examples.documents[number]].T, 0)
            a, b = weights[query], weights[examples.documents[number]]
            score = a @ cosines.max(1) / a.sum() + parameters["share"] * (b @ cosines.max(0)) / b.sum()
            scores.append(math.exp(parameters["log_scale"]) * score)
        losses.append(math.log(sum(map(math.exp, scores))) - scores[0])
    return float(np.sum(losses))


def test_the_loss_is_that_of_a_loop_over_words(rng: np.random.Generator):
    words = [rng.permutation(12)[: rng.integers(1, 5)] for _ in range(8)]
    queries = [np.array([1, 3]), np.array([0]), np.array([0, 5, 7])]
    candidates = [np.array([0, 1, 2]), np.array([3, 4]), np.array([5, 6, 7])]
    rows = rng.normal(size=(12, 6)).astype(np.float32)
    examples = Examples(rows, ragged(queries), ragged(words), ragged(candidates))
    model = _LateInteraction(rows, rng.normal(size=(6, 4)).astype(np.float32))
    for parameter in model.parameters():
        parameter.data += 0.3
    assert model(examples, np.arange(3)).item() == pytest.approx(losses_by_hand(examples, model), rel=1e-4)


@pytest.fixture
def synonyms(rng: np.random.Generator) -> Examples:
    """Word i of the queries and word i of the documents share six small entries of a row of thirty."""
    count = 40
    shared = rng.normal(size=(count, 6))
    noise = 2 * rng.normal(size=(2, count, 24))
    rows = np.concatenate([np.concatenate((shared, part), axis=1) for part in noise]).astype(np.float32)
    chosen = [rng.permutation(count)[:2] for _ in range(200)]
    candidates = [np.concatenate(([n], rng.permutation(200)[:8])) for n in range(200)]
    written = ragged([words + count for words in chosen])
    return Examples(rows, ragged(chosen), written, ragged(candidates))


def mean_loss(examples: Examples, projection: np.ndarray) -> float:
    model = _LateInteraction(examples.rows, projection)
    return model(examples, np.arange(len(examples.queries))).item() / len(examples.queries)


def test_learning_finds_what_words_share(synonyms: Examples, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(interaction, "WIDTH", 8)
    monkeypatch.setattr(interaction, "_EPOCHS", 5)
    monkeypatch.setattr(interaction, "_PROJECTION_RATE", 2e-2)
    learned = learn_projection(synonyms, 0, no_progress, never)
    start = principal_directions(synonyms.rows, np.ones(80, np.int64))[:, :8]
    assert mean_loss(synonyms, learned.projection) < 0.5 * mean_loss(synonyms, start)
    assert learned.projection.shape == (30, 8)
    again = learn_projection(synonyms, 0, no_progress, never)
    assert all(np.array_equal(one, other) for one, other in zip(learned, again, strict=True))


def test_without_queries_the_projection_is_where_learning_starts(synonyms: Examples):
    none = synonyms._replace(queries=ragged([]), candidates=ragged([]))
    learned = learn_projection(none, 0, no_progress, never)
    counts = np.bincount(none.documents.values, minlength=80)
    assert np.array_equal(learned.projection, principal_directions(none.rows, counts))
    assert not learned.gate.any()


def test_what_is_learned_does_not_depend_on_the_axes_of_the_rows(
    synonyms: Examples, rng: np.random.Generator
):
    axes = np.linalg.qr(rng.normal(size=(30, 30)))[0].astype(np.float32)
    turned = synonyms._replace(rows=synonyms.rows @ axes)
    units, others = (
        one.rows @ learn_projection(one, 0, no_progress, never).projection for one in (synonyms, turned)
    )
    products = others @ others.T
    rounding = 1e-3 * float(np.abs(products).max())  # without the axes the difference is fifty times that
    assert units @ units.T == pytest.approx(products, abs=rounding)


def test_learning_can_be_interrupted(synonyms: Examples):
    asked = iter([False, False, True])
    with pytest.raises(KeyboardInterrupt):
        learn_projection(synonyms, 0, no_progress, lambda: next(asked))
