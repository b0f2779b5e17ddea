"""The training objective: softmax over scaled cosines.

In: unit embeddings of queries and documents. Out: a scalar. Huang et al. 2013, eq. 4 and 5:

    P(D+ | Q) = exp(gamma cos(Q, D+)) / sum_D exp(gamma cos(Q, D)),     loss = -log P(D+ | Q)

The sum runs over the documents of the batch and, where given, more of them: each other query's document is a
negative for free. A teacher adds how much it finds each two texts of the batch alike.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


def softmax_loss(
    queries: Tensor, documents: Tensor, gamma: float, known: Tensor, weights: Tensor | None = None
) -> Tensor:
    """Mean of -log P over the queries; document i is the positive of query i.

    queries: (n, d), documents: (m, d), m >= n, of unit length. known: bool (n, m), True where a document is
    another relevant one of the query, which must not count as negative. weights: (n,), how much each pair
    counts; all alike by default.
    """
    logits = (gamma * queries @ documents.t()).masked_fill(known, -torch.inf)
    losses = F.cross_entropy(logits, torch.arange(len(queries)), reduction="none")
    if weights is None:
        return losses.mean()
    return (losses * weights).sum() / weights.sum()


def likeness_loss(pupil: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference between the cosines that two models give the pairs of some texts.

    pupil: (n, d), teacher: (n, e), rows of unit length. What a text means is taken over as its likeness to
    others, so that the models' spaces need not have the same axes, or as many.
    """
    return (pupil @ pupil.t() - teacher @ teacher.t()).square().mean()


class Hardness(NamedTuple):
    """Means over a batch: cosine of the positive, cosine of the nearest negative and its share of the
    probability. The last two leave out queries without a negative, and are 0 where all are.
    """

    positive: float
    hardest: float
    share: float


@torch.no_grad()
def hardness(queries: Tensor, documents: Tensor, gamma: float, known: Tensor) -> Hardness:
    """How hard the negatives of a batch are; arguments as in `softmax_loss`."""
    cosines = (queries @ documents.t()).masked_fill(known, -torch.inf)
    shares = F.softmax(gamma * cosines, 1)
    positive = cosines.diagonal().mean()
    cosines.fill_diagonal_(-torch.inf)
    nearest = cosines.max(1)
    some = torch.isfinite(nearest.values)
    if not some.any():
        return Hardness(float(positive), 0.0, 0.0)
    share = shares.gather(1, nearest.indices[:, None])[some, 0].mean()
    return Hardness(float(positive), float(nearest.values[some].mean()), float(share))
