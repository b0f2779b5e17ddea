"""How to train: the settings of a training, and those that follow from the size of its data.

In: a `TrainingSet`. Out: numbers. Knows nothing of models.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from retrieval.training.examples.batches import FULL_EPOCH, draw_pseudo_queries
from retrieval.training.examples.training_set import TrainingSet

# With many judged pairs, the least weight of the distillation loss, as a share of the recipe's `teaching`.
MIN_TEACHING_SHARE = 0.05
# Passes over the pairs, and the fewest steps. A small data set is passed over more often. With 500 pairs of
# `tldr-zh`, 4 steps an epoch, 12 epochs reach .512 on dev, 36 reach .554, and 60 .548.
EPOCHS = 12
LEAST_STEPS = 120


@dataclass(frozen=True)
class Recipe:
    """How to train. The defaults are the measured ones, see benchmarks/NOTES.md."""

    epochs: int | None = None  # at most, for early stopping may end it before; None as `epochs_of` says
    batch: int = 512  # pairs a step, over all ranks
    learning_rate: float = 3e-3  # of Adam, at its peak; falls linearly from there
    warmup: int = 50  # steps in which the rate rises, but at most a tenth of all steps
    floor: float = 0.02  # the lowest rate, as a share of the peak
    body: float = 3.0  # the rate of the body as a multiple of the word rows', if it weighs words
    teaching: float = 100.0  # weight of the distillation loss without judged pairs; less with many
    dropout: float = 0.2  # share of the entries of word rows that are dropped
    clip: float = 5.0  # largest norm of the gradient
    patience: int = 6  # early stopping: epochs without a better dev score
    seed: int = 0  # of batches and dropout
    members: int = 3  # models to train and merge, see `retrieval.training.members`
    peepholes: bool = True  # whether those of an LSTM are learned; else they stay zero, as in a plain LSTM


def epochs_of(recipe: Recipe, data: TrainingSet) -> int:
    """How many epochs a training has: those of the recipe, or as many as a data set of this size needs."""
    if recipe.epochs is not None:
        return recipe.epochs
    pseudo = len(draw_pseudo_queries(data, np.random.default_rng(recipe.seed)))
    steps = math.ceil(data.judged_pairs / recipe.batch) + math.ceil(pseudo / recipe.batch)
    return max(EPOCHS, math.ceil(LEAST_STEPS / max(1, steps)))


def teaching_of(recipe: Recipe, data: TrainingSet) -> float:
    """The weight of the distillation loss, lower with more judged pairs."""
    return recipe.teaching * max(MIN_TEACHING_SHARE, 1 - data.judged_pairs / FULL_EPOCH)
