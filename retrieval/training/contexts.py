"""The contexts of features: how the passages with a feature differ from all passages.

In: feature rows and a `TrainingSet`. Out: a direction for each feature. This is one step of reflective random
indexing (Cohen, Schvaneveldt & Widdows 2010, Reflective Random Indexing and indirect inference): random rows
of features sum to vectors of passages, and these sum to vectors of features. So features that occur in the
same passages, such as a disease and its abbreviation, become alike without any judged pair. Knows nothing of
towers.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from retrieval.towers.bodies import TextBatch, text_batch
from retrieval.training.examples.batches import FULL_EPOCH
from retrieval.training.examples.training_set import TrainingSet

# The length of a feature's context, as a share of the random direction's. With more, an untrained bag ranks
# `tldr` and `tldr-zh` better, and `medquad`, whose rare names must stay apart, worse.
CONTEXT_SHARE = 0.5
_BATCH_PASSAGES = 1024
# Below this length a sum of passage vectors is made of rounding errors. It is divided by this length.
_LEAST_LENGTH = 1e-3
# A feature that occurs more often in pairs has learned from them.
_RARE = 20


def feature_contexts(rows: Tensor, data: TrainingSet) -> Tensor:
    """The sum of the vectors of a feature's passages, as often as it occurs there.

    A passage's vector is the sum of its features' rows, at unit length, minus the mean of all passages. The
    mean comes from frequent words, and would make all features alike.

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
            # The gradient of a sum adds the vector of the sum to the row of each feature in it.
            sums.backward(F.normalize(sums.detach(), dim=1) - mean)  # type: ignore[no-untyped-call]
    return F.normalize(table.grad, dim=1, eps=_LEAST_LENGTH)


@torch.no_grad()
def turn_to_contexts(table: Tensor, data: TrainingSet, share: float | Tensor) -> None:
    """Turn rows towards the contexts of their features. The length of each row stays the same.

    table: float32 (features, width), changed in place.
    data: the training texts.
    share: the length of a feature's context, as a share of the length of its row: one number for all
        features, or float32 (features, 1).
    """
    lengths = table.norm(dim=1, keepdim=True)
    turned = table + share * lengths * feature_contexts(table, data)
    table.copy_(lengths * F.normalize(turned, dim=1))


def rarely_trained(data: TrainingSet, size: int) -> Tensor:
    """Which of `size` features occur at most `_RARE` times in the texts of pairs, bool (size,).

    The pairs are those that batches are made of. Abbreviations are left out, because their rows follow the
    rows of their long forms.
    """
    pairs = data.pairs if data.judged_pairs < FULL_EPOCH else data.pairs[: data.judged_pairs]
    passages = np.union1d(pairs[:, 1], data.relevant.values)
    counts = np.zeros(size, np.int64)
    for texts, rows in ((data.queries, np.unique(pairs[:, 0])), (data.documents, passages)):
        for start in range(0, len(rows), _BATCH_PASSAGES):
            words = texts.take(rows[start : start + _BATCH_PASSAGES].astype(np.int64)).values
            features = data.features.take(words.astype(np.int64)).values
            counts += np.bincount(features, minlength=size)
    rare = counts <= _RARE
    rare[data.abbreviations] = False
    return torch.from_numpy(rare)


def _passages(data: TrainingSet) -> Iterator[TextBatch]:
    count = len(data.documents)
    for start in range(0, count, _BATCH_PASSAGES):
        passages = np.arange(start, min(start + _BATCH_PASSAGES, count))
        yield text_batch(data.documents.take(passages), data.features)


def _sums(table: Tensor, batch: TextBatch) -> Tensor:
    """The sums (texts, width) of all rows of each text."""
    words = F.embedding_bag(batch.features, table, batch.feature_offsets, mode="sum")
    return F.embedding_bag(batch.words, words, batch.offsets, mode="sum")
