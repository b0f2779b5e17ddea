"""The first weights of a model: every tower starts as a sum of its word rows, or close to one.

In: a config, a vocabulary and the training texts. Out: a `TwoTower`. Knows nothing of how it is trained.
"""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from retrieval.model.config import ModelConfig
from retrieval.text.vocabulary import Vocabulary
from retrieval.towers.belt import BELT_ROW_LENGTH, BeltBody
from retrieval.towers.bodies import Body, CnnBody, DnnBody
from retrieval.towers.tower import Tower
from retrieval.towers.two_tower import TwoTower
from retrieval.training.contexts import CONTEXT_SHARE, turn_to_contexts
from retrieval.training.examples.training_set import TrainingSet
from retrieval.training.long_forms import spell_out

# Standard deviation of the first weights of attention. From zero it learns too little in a few hundred steps.
ATTENTION_STD = 0.3


@torch.no_grad()
def initial_model(config: ModelConfig, vocabulary: Vocabulary, data: TrainingSet) -> TwoTower:
    """A model whose feature rows have random directions and the length of their inverse document frequency.

    config: the model's configuration.
    vocabulary: of the training texts.
    data: the texts to count document frequencies in and to find contexts in.

    Cosines of sums of random rows estimate cosines of TF-IDF vectors, so that training starts from lexical
    matching and not from noise. A trigram has half the weight of a whole word, because a word has half a
    dozen of them. Each direction is turned towards the feature's contexts, so that words that no training
    pair has start near those that they occur with. An abbreviation that a text defines starts as itself and
    the words of its long form, because a query often has the one and its document only the other. Layers
    above the rows start close to the identity where their widths allow it. The rows are short, so that tanh
    hardly bends them. Adam's steps are then longer in proportion, which does no harm by measurement.
    """
    model = TwoTower(config, vocabulary)
    weights = torch.from_numpy(feature_weights(data, len(vocabulary)))
    whole = torch.tensor([False] * vocabulary.buckets + [name.startswith(" ") for name in vocabulary.names])
    weights *= torch.where(whole, 1.0, 0.5)
    if all(_start_as_sum(cast(Tower, tower).body) for tower in model.towers.values()):
        weights *= BELT_ROW_LENGTH
    for name, parameter in model.named_parameters():
        if name.endswith(".table"):
            parameter.mul_(weights[:, None])
            turn_to_contexts(parameter, data, CONTEXT_SHARE)
            spell_out(parameter, data)
        elif name.endswith(".attention"):
            parameter.normal_(std=ATTENTION_STD)
    return model


def feature_weights(data: TrainingSet, size: int) -> NDArray[np.float32]:
    """Inverse document frequency of each of `size` features, float32 (size,), mean 1 over the features seen.

    Counted over the documents and the judged queries. A feature that is in every text has weight 0; one that
    is in none has the weight of the rarest.
    """
    counts = np.zeros(size, np.int64)
    lengths = data.features.lengths()
    total = 0
    for texts, count in ((data.documents, len(data.documents)), (data.queries, len(data.relevant))):
        for start in range(0, count, 1024):
            part = texts.take(np.arange(start, min(start + 1024, count)))
            owners = np.repeat(np.arange(len(part)), part.lengths())
            features = data.features.take(part.values.astype(np.int64))
            keys = np.unique(np.repeat(owners, lengths[part.values]) * size + features.values)
            counts += np.bincount(keys % size, minlength=size)
        total += count
    weights = np.log((total + 1) / (counts + 1))
    return (weights / max(float(weights[counts > 0].mean()), 1e-6)).astype(np.float32)


def _start_as_sum(body: Body) -> bool:
    """Make the layers of a paper's tower almost the identity, if possible. Returns whether it was."""
    if isinstance(body, DnnBody) and body.third.shape == body.second.shape:
        nn.init.eye_(body.second)
        nn.init.eye_(body.third)
        return True
    if isinstance(body, CnnBody) and body.window is not None and body.output is not None:
        if (body.hidden, len(body.output)) != (2 * body.row_width, body.row_width):
            return False
        # The middle word of a window alone, each entry and its opposite: the embedding is the sum of the
        # largest and the smallest value over time.
        both = torch.cat((torch.eye(body.row_width), -torch.eye(body.row_width)))
        window = torch.zeros(3, *both.shape)
        window[1] = both
        body.window.copy_(window.flatten(0, 1))
        body.output.copy_(both.t())
        return True
    return isinstance(body, BeltBody)
