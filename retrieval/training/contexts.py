"""The contexts of features: what the passages that a feature occurs in have beyond all passages.

In: feature rows and a `TrainingSet`. Out: a direction for each feature. One step of reflective random
indexing (Cohen, Schvaneveldt & Widdows 2010, Reflective Random Indexing and indirect inference): random rows
of features sum to vectors of passages, and these sum to vectors of features. So features of the same passages
are alike, a disease and its abbreviation for instance, without a judged pair of either. Knows nothing of
towers.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from retrieval.towers.bodies import TextBatch, text_batch
from retrieval.training.batches import TrainingSet

_BATCH_PASSAGES = 1024
# Below this length a sum of passage vectors is made of rounding errors. It is divided by this length.
_LEAST_LENGTH = 1e-3


def feature_contexts(rows: Tensor, data: TrainingSet) -> Tensor:
    """The sum of the vectors of a feature's passages, as often as it occurs there.

    A passage's vector is the sum of its features' rows, of unit length, without the mean of all passages,
    which the frequent words make and which would make all features alike.

    rows: float32 (features, width), random directions of any length.
    data: the texts; of these the passages are read.
    Returns float32 (features, width) of unit length; 0 for a feature in no passage.
    """
    table = rows.detach().clone().requires_grad_()
    table.grad = torch.zeros_like(table)
    mean = torch.zeros(rows.shape[1])
    with torch.no_grad():
        for batch in _passages(data):
            mean += F.normalize(_sums(table, batch), dim=1).sum(0) / len(data.documents)
    with torch.enable_grad():
        for batch in _passages(data):
            sums = _sums(table, batch)
            # The gradient adds to each feature's row what comes in for the sums that the feature is in.
            sums.backward(F.normalize(sums.detach(), dim=1) - mean)  # type: ignore[no-untyped-call]
    return F.normalize(table.grad, dim=1, eps=_LEAST_LENGTH)


def _passages(data: TrainingSet) -> Iterator[TextBatch]:
    count = len(data.documents)
    for start in range(0, count, _BATCH_PASSAGES):
        passages = np.arange(start, min(start + _BATCH_PASSAGES, count))
        yield text_batch(data.documents.take(passages), data.features)


def _sums(table: Tensor, batch: TextBatch) -> Tensor:
    """The sums (texts, width) of all rows of each text."""
    words = F.embedding_bag(batch.features, table, batch.feature_offsets, mode="sum")
    return F.embedding_bag(batch.words, words, batch.offsets, mode="sum")
