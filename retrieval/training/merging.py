"""Merges several trained models, the members, into one. They differ only in their first weights.

In: trained models of one config and vocabulary, and the training texts. Out: a model of the same config, as
large and as fast as one of them.

The first directions of the word rows are random, and the trained rows depend on them. The mean of the cosines
of several members is a better score than the cosine of any one (deep ensembles: Lakshminarayanan et al. 2017,
Simple and Scalable Predictive Uncertainty Estimation using Deep Ensembles). This mean is the cosine of their
concatenated embeddings. An embedding is a weighted sum of word rows. If the members weigh words alike, their
concatenated embeddings are such sums, too. Of these, the principal directions are kept, as many as an
embedding has numbers: what the members have in common is long there, and what is random in each is short. On
`tldr-zh` 256 of 768 directions rank better than all (benchmarks/NOTES.md). The concatenated rows, projected
to these directions, are the rows of a single tower, which weighs words as the first member does.

At the end, everything is rotated at random, which changes no cosine. Without that, the first numbers of an
embedding would be large and the last ones small, and quantisers, which treat all numbers alike, would lose
more. Knows nothing of how the members are trained.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from retrieval.model.config import ModelConfig, Side
from retrieval.text.vocabulary import Ragged
from retrieval.towers.two_tower import TwoTower
from retrieval.training.examples.training_set import TrainingSet

# Texts of each kind, passages and judged queries, that the principal directions are found in.
_MOST_TEXTS = 20_000
_TEXTS_AT_ONCE = 4096
# The weights of LSTM and CNN that are multiplied by word rows, (any, row width).
_READ_ROWS = (".input", ".window")


def can_merge(config: ModelConfig) -> bool:
    """Whether models of this config can be merged: their embeddings must be sums of word rows."""
    return config.tower == "bag" or config.pooling == "attention"


@torch.no_grad()
def merged(members: Sequence[TwoTower], data: TrainingSet) -> TwoTower:
    """One model made of several members. A single member is returned as it is.

    members: trained models of one config, which `can_merge`, and one vocabulary.
    data: the training texts.
    """
    first = members[0]
    if len(members) == 1:
        return first
    # Each column has unit length, and each member has some of the rows. The factor gives the rows of the
    # merged table the length that they have in a member.
    width = first.config.dimension
    directions = _principal_directions(members, data) @ _rotation(width) / len(members) ** 0.5
    of_first = directions[:width] * len(members)
    states = [member.state_dict() for member in members]
    weights = dict(states[0])
    for name, weight in states[0].items():
        if name.endswith(".table"):
            # One by one, for the rows of all members side by side may need much memory.
            parts = directions.split(width)
            weights[name] = torch.zeros_like(weight)
            for state, part in zip(states, parts, strict=True):
                weights[name].addmm_(state[name], part)
        elif name.endswith(_READ_ROWS):
            weights[name] = weight @ of_first
    model = TwoTower(first.config, first.vocabulary)
    model.load_state_dict(weights)
    return model


def _principal_directions(members: Sequence[TwoTower], data: TrainingSet) -> Tensor:
    """Those of the members' embeddings side by side, float32 (members x dimension, dimension).

    The columns are of unit length.
    """
    width = members[0].config.dimension
    products = torch.zeros(len(members) * width, len(members) * width)
    sides: tuple[tuple[Side, Ragged, int], ...] = (
        ("document", data.documents, len(data.documents)),
        ("query", data.queries, len(data.relevant)),
    )
    for side, texts, count in sides:
        rows = _drawn(count)
        for start in range(0, len(rows), _TEXTS_AT_ONCE):
            some = texts.take(rows[start : start + _TEXTS_AT_ONCE])
            embeddings = [member.encode_words(side, some, data.features) for member in members]
            together = torch.from_numpy(np.concatenate(embeddings, axis=1))
            products.addmm_(together.t(), together)
    directions: Tensor = torch.linalg.eigh(products).eigenvectors[:, -width:]
    return directions


def _rotation(size: int) -> Tensor:
    """A random orthogonal matrix, float32 (size, size), always the same one."""
    numbers = torch.randn(size, size, generator=torch.Generator().manual_seed(0))
    rotation: Tensor = torch.linalg.qr(numbers).Q
    return rotation


def _drawn(count: int) -> NDArray[np.int64]:
    """The rows of some of `count` texts, at even distances."""
    return np.linspace(0, count, min(count, _MOST_TEXTS), endpoint=False).astype(np.int64)
