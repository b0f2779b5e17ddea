"""The training objective: softmax over scaled cosines with in-batch negatives, and distillation.

In: unit embeddings of the queries and documents of a batch. Out: a scalar. Huang et al. 2013 (DSSM),
equations 4 and 5:

    P(D+ | Q) = exp(gamma cos(Q, D+)) / sum_D exp(gamma cos(Q, D))
    loss = -log P(D+ | Q)

The sum runs over the documents of the batch: the documents of the other queries are the negatives, and the
query's given negatives, if there are any. Masked are false negatives, which are documents of the batch that
are relevant to the query as well, and the given negatives of other queries.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


def softmax_loss(
    queries: Tensor, documents: Tensor, gamma: float, false_negatives: Tensor, weights: Tensor | None = None
) -> Tensor:
    """Mean of -log P over the queries; document i is the positive of query i.

    queries: float32 (n, d), unit length.
    documents: float32 (m, d), m >= n, unit length.
    gamma: the scale of the cosines.
    false_negatives: bool (n, m), True for what is masked: another relevant document, others' negatives.
    weights: float32 (n,), the weight of each pair in the mean; equal by default.
    """
    logits = (gamma * queries @ documents.t()).masked_fill(false_negatives, -torch.inf)
    losses = F.cross_entropy(logits, torch.arange(len(queries)), reduction="none")
    if weights is None:
        return losses.mean()
    return (losses * weights).sum() / weights.sum()


def distillation_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference between the cosines that student and teacher give to all pairs of some texts.

    student: (n, d), teacher: (n, e), rows of unit length. Only cosines are compared, so that the two spaces
    may differ in axes and dimension.
    """
    return (student @ student.t() - teacher @ teacher.t()).square().mean()


class HardNegativeStatistics(NamedTuple):
    """Means over the queries of a batch.

    `hardest` and `share` leave out queries without a negative; both are 0 if no query has one.
    """

    positive: float  # cosine of the query with its positive
    hardest: float  # cosine of the query with its hardest negative, the nearest one
    share: float  # softmax probability of the hardest negative


@torch.no_grad()
def hard_negative_statistics(
    queries: Tensor, documents: Tensor, gamma: float, false_negatives: Tensor
) -> HardNegativeStatistics:
    """How hard the in-batch negatives are; parameters as for `softmax_loss`."""
    cosines = (queries @ documents.t()).masked_fill(false_negatives, -torch.inf)
    probabilities = F.softmax(gamma * cosines, 1)
    positive = cosines.diagonal().mean()
    cosines.fill_diagonal_(-torch.inf)
    hardest = cosines.max(1)
    has_negative = torch.isfinite(hardest.values)
    if not has_negative.any():
        return HardNegativeStatistics(float(positive), 0.0, 0.0)
    share = probabilities.gather(1, hardest.indices[:, None])[has_negative, 0].mean()
    return HardNegativeStatistics(float(positive), float(hardest.values[has_negative].mean()), float(share))
