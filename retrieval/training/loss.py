"""The training objective: softmax over scaled cosines with in-batch negatives, and distillation.

In: unit embeddings of the queries and documents of a batch. Out: a scalar. Huang et al. 2013 (DSSM),
equations 4 and 5:

    P(D+ | Q) = exp(gamma cos(Q, D+)) / sum_D exp(gamma cos(Q, D))
    loss = -log P(D+ | Q)

The sum runs over the documents of the batch: the documents of the other queries are the negatives, and the
query's given negatives, if there are any. Masked are false negatives, which are documents of the batch that
are relevant to the query as well, and the given negatives of other queries.

Each function can compute the part of some `rows` only. The parts of disjoint rows sum to the value for all
rows, so that several processes can share the work and its gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

ALL_ROWS = slice(None)


def softmax_loss(
    queries: Tensor,
    documents: Tensor,
    gamma: float,
    false_negatives: Tensor,
    weights: Tensor | None = None,
    rows: slice = ALL_ROWS,
) -> Tensor:
    """Mean of -log P over the queries; document i is the positive of query i.

    queries: float32 (n, d), unit length.
    documents: float32 (m, d), m >= n, unit length.
    gamma: the scale of the cosines.
    false_negatives: bool (n, m), True for what is masked: another relevant document, others' negatives.
    weights: float32 (n,), the weight of each pair in the mean; equal by default.
    rows: the queries whose part is returned.
    """
    logits = (gamma * queries[rows] @ documents.t()).masked_fill(false_negatives[rows], -torch.inf)
    losses = F.cross_entropy(logits, torch.arange(len(queries))[rows], reduction="none")
    if weights is None:
        return losses.sum() / len(queries)
    return (losses * weights[rows]).sum() / weights.sum()


def distillation_loss(student: Tensor, teacher: Tensor, rows: slice = ALL_ROWS) -> Tensor:
    """Mean squared difference between the cosines that student and teacher give to all pairs of some texts.

    student: float32 (n, d), rows of unit length.
    teacher: float32 (n, e), rows of unit length.
    rows: the texts whose part is returned.
    Only cosines are compared, so the two spaces may differ in axes and dimension.
    """
    differences = student[rows] @ student.t() - teacher[rows] @ teacher.t()
    return differences.square().sum() / len(student) ** 2


class HardNegativeStatistics(NamedTuple):
    """Means over the queries of a batch.

    `hardest` and `share` leave out queries without a negative; both are 0 if no query has one.
    """

    positive: float  # cosine of the query with its positive
    hardest: float  # cosine of the query with its hardest negative, the nearest one
    share: float  # softmax probability of the hardest negative


def _own(sums: Tensor) -> Tensor:
    return sums


@torch.no_grad()
def hard_negative_statistics(
    queries: Tensor,
    documents: Tensor,
    gamma: float,
    false_negatives: Tensor,
    rows: slice = ALL_ROWS,
    total: Callable[[Tensor], Tensor] = _own,
) -> HardNegativeStatistics:
    """How hard the in-batch negatives are.

    queries, documents, gamma, false_negatives: as for `softmax_loss`.
    rows: the queries to look at here.
    total: called with sums over these queries, float32 (5,); returns the sums over all queries, of all ranks.
    """
    cosines = (queries[rows] @ documents.t()).masked_fill(false_negatives[rows], -torch.inf)
    probabilities = F.softmax(gamma * cosines, 1)
    own = torch.arange(len(queries))[rows, None]
    positive = cosines.gather(1, own).sum()
    hardest = cosines.scatter_(1, own, -torch.inf).max(1)
    negative = torch.isfinite(hardest.values)
    shares = probabilities.gather(1, hardest.indices[:, None])[negative, 0].sum()
    counts = torch.tensor([len(own), int(negative.sum())])
    sums = total(torch.stack((positive, hardest.values[negative].sum(), shares, *counts.float())))
    count, with_negative = sums[3].clamp(min=1), sums[4].clamp(min=1)
    return HardNegativeStatistics(
        *(float(value) for value in (sums[0] / count, *(sums[1:3] / with_negative)))
    )
