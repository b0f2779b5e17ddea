"""The rows of abbreviations, which stay near those of the words that they stand for.

In: a table of feature rows and a `TrainingSet`. Out: the table, changed in place. An abbreviation that no
training pair has would stay where it started, while the pairs move the words of its long form. Knows nothing
of how the rows learn.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from retrieval.training.batches import TrainingSet


@torch.no_grad()
def spell_out(table: Tensor, data: TrainingSet) -> None:
    """Add to the row of each abbreviation the rows of the words of its long form.

    table: float32 (features, width), changed in place.
    data: the training texts, with their abbreviations.
    """
    if len(data.abbreviations):
        _add(table, data, _sums(table, data))


@contextmanager
def following_long_forms(tables: Sequence[Tensor], data: TrainingSet) -> Iterator[None]:
    """Whatever moves the rows of long forms meanwhile, the rows of their abbreviations move along.

    tables: float32 (features, width) each, changed in place.
    data: the training texts, with their abbreviations.
    """
    if not len(data.abbreviations):
        yield
        return
    before = [_sums(table, data) for table in tables]
    yield
    for table, sums in zip(tables, before, strict=True):
        _add(table, data, _sums(table, data) - sums)


@torch.no_grad()
def _sums(table: Tensor, data: TrainingSet) -> Tensor:
    """The sum of the rows of each long form, (abbreviations, width)."""
    features = torch.from_numpy(data.long_forms.values.astype(np.int64))
    return F.embedding_bag(features, table, torch.from_numpy(data.long_forms.offsets[:-1]), mode="sum")


@torch.no_grad()
def _add(table: Tensor, data: TrainingSet, rows: Tensor) -> None:
    table.index_add_(0, torch.from_numpy(data.abbreviations), rows)
