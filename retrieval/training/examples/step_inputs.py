"""What a training step reads: its batch as words and features, and the dropout of its word rows.

Inputs are made in a thread beside the step before: drawing dropout takes a tenth of a step, on one core.
Knows nothing of models.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from retrieval.model.config import Side
from retrieval.text.vocabulary import Ragged
from retrieval.towers.bodies import TextBatch, dropout_noise, text_batch
from retrieval.training.distributed import Ranks
from retrieval.training.examples.batches import Batch, make_batch, remove_words
from retrieval.training.examples.training_set import TrainingSet

T = TypeVar("T")


@dataclass(frozen=True)
class SideInput:
    """The queries or the documents of a step."""

    texts: Ragged  # of all ranks, as words
    count: int  # how many of them this rank encodes
    own: TextBatch  # those; one text if there are none, for every rank takes part in the backward pass
    noise: Tensor | None  # float32 (distinct words of `own`, row width), see `dropout_noise`; None for none


@dataclass(frozen=True)
class StepInput:
    """What a step reads."""

    batch: Batch
    sides: Mapping[Side, SideInput]  # queries first


@dataclass(frozen=True)
class StepSeeds:
    """What a step draws from. A step that is repeated after a resume draws the same."""

    negatives: tuple[int, ...]  # the given negatives of queries that have many
    dropout: int  # unsigned, 32 bits


def step_input(
    data: TrainingSet,
    pairs: NDArray[np.int64],
    seeds: StepSeeds,
    dropout: float,
    widths: Mapping[Side, int],
    ranks: Ranks,
) -> StepInput:
    """The input of a step.

    data: the training set.
    pairs: int64 (n,), rows of `data.pairs`.
    seeds: what to draw from.
    dropout: share of the entries of word rows that are dropped.
    widths: of the word rows of each side's tower.
    ranks: the processes that share the batch.
    """
    batch = make_batch(data, pairs, np.random.default_rng(seeds.negatives))
    texts: dict[Side, Ragged] = {
        "query": data.queries.take(batch.queries),
        "document": remove_words(data.documents.take(batch.documents), batch.removed_words),
    }
    generator = torch.Generator().manual_seed(seeds.dropout)
    sides: dict[Side, SideInput] = {}
    for side, some in texts.items():
        share = np.arange(len(some))[ranks.share(len(some))]
        own = some.take(share if len(share) else np.arange(1))
        noise = _noise(some, own, widths[side], dropout, generator, ranks) if dropout else None
        sides[side] = SideInput(some, len(share), text_batch(own, data.features), noise)
    return StepInput(batch, sides)


def _noise(
    texts: Ragged,
    own: Ragged,
    width: int,
    dropout: float,
    generator: torch.Generator,
    ranks: Ranks,
) -> Tensor:
    """Dropout of the rows of the distinct words of `own`: this rank's part of the noise of the batch."""
    words = np.unique(texts.values)
    noise = dropout_noise(len(words), width, dropout, generator)
    if ranks.size == 1:
        return noise
    return noise[torch.from_numpy(np.searchsorted(words, np.unique(own.values)))]


def made_ahead(makers: Iterable[Callable[[], T]]) -> Iterator[T]:
    """The results of the makers, in order. Each is called in a thread while the result before it is used."""
    with ThreadPoolExecutor(1) as thread:
        following: Future[T] | None = None
        for maker in makers:
            made, following = following, thread.submit(maker)
            if made is not None:
                yield made.result()
        if following is not None:
            yield following.result()
