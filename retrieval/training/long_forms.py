"""The rows of abbreviations, which stay near those of the words that they stand for.

In: a table of feature rows and a `TrainingSet`. Out: the table, changed in place. Training moves only the
rows of words in its pairs. Without this module, an abbreviation in no pair would stay where it started, while
the words of its long form move. Knows nothing of how the rows learn.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from retrieval.training.examples.training_set import TrainingSet


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
    """When the block ends, move the rows of abbreviations as the rows of their long forms have moved.

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
    features, offsets = data.long_forms.values, data.long_forms.offsets[:-1]
    return F.embedding_bag(_ids(features), table, _ids(offsets), mode="sum")


@torch.no_grad()
def _add(table: Tensor, data: TrainingSet, rows: Tensor) -> None:
    table.index_add_(0, _ids(data.abbreviations), rows)


def _ids(array: NDArray[np.integer[Any]]) -> Tensor:
    """A copy of the array as int64: torch warns of arrays in files, because these are read-only."""
    return torch.from_numpy(array.astype(np.int64))
