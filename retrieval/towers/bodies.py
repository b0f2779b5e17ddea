"""The bodies of the towers: DSSM, CNN-DSSM, LSTM-DSSM and, as a control, a bag of trigrams.

In: a `TextBatch`, and the rows of its words. Out: embeddings float32 (texts, dimension), not normalised.
Knows nothing of strings or losses. `retrieval.towers.belt` has one more.

Every body works in two stages:

    project    once for each distinct word: word rows to whatever the body reads
    compose    once for each text: the projections of its words, in order, to the embedding

`retrieval.model.encoder` caches the projections at inference.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from retrieval.model.config import ModelConfig
from retrieval.text.vocabulary import Ragged
from retrieval.towers.peephole.layer import PeepholeLSTM, pack


@dataclass(frozen=True)
class TextBatch:
    """Texts as words and words as features, each distinct word once."""

    features: Tensor  # int64 (total features,), feature ids of the distinct words, concatenated
    feature_offsets: Tensor  # int64 (distinct words,), where the features of each word begin
    words: Tensor  # int64 (total words,), the distinct word at each place of the concatenated texts
    lengths: Tensor  # int64 (texts,), words of each text, at least 1

    @property
    def offsets(self) -> Tensor:
        """Where each text begins in `words`, int64 (texts,)."""
        return torch.cumsum(self.lengths, 0) - self.lengths


def text_batch(texts: Ragged, features: Ragged) -> TextBatch:
    """The batch of texts given as word ids; `features` has the feature ids of every word (see `Lexicon`)."""
    distinct, places = np.unique(texts.values, return_inverse=True)
    used = features.take(distinct.astype(np.int64))
    return TextBatch(
        torch.from_numpy(used.values.astype(np.int64)),
        torch.from_numpy(used.offsets[:-1]),
        torch.from_numpy(places.astype(np.int64)),
        torch.from_numpy(texts.lengths()),
    )


def glorot(weight: Tensor) -> None:
    """Fill uniformly within +-sqrt(6 / (fan in + fan out)), as in Huang et al. 2013, section 3.4."""
    bound = (6 / sum(weight.shape)) ** 0.5
    nn.init.uniform_(weight, -bound, bound)


def dropout_noise(words: int, width: int, dropout: float, generator: torch.Generator) -> Tensor:
    """Factors of word rows, float32 (words, width), as `torch.nn.functional.dropout` draws them.

    words: number of distinct words.
    width: of their rows.
    dropout: the share of the factors that is 0; the others make up for it.
    generator: draws them.
    """
    return torch.empty(words, width).bernoulli_(1 - dropout, generator=generator).div_(1 - dropout)


def mean_rows(rows: Tensor, batch: TextBatch) -> Tensor:
    """Mean (texts, width) of `rows` (distinct words, width) over the words of each text."""
    return F.embedding_bag(batch.words, rows, batch.offsets, mode="mean")


def weighted_sum(rows: Tensor, logits: Tensor, batch: TextBatch) -> Tensor:
    """Sum of word rows over the words of each text, each weighted by the logistic function of its logit.

    rows: float32 (distinct words, width).
    logits: float32 (total words,), one for each place in the texts.
    batch: the texts.

    Returns float32 (texts, width).
    """
    weights = torch.sigmoid(logits)
    return F.embedding_bag(batch.words, rows, batch.offsets, mode="sum", per_sample_weights=weights)


class Body(nn.Module):
    """The layers of a tower above its word rows."""

    row_width: int  # width of the word rows that it reads

    def project(self, rows: Tensor) -> Tensor:
        """Word rows (distinct words, row width) to what `compose` reads, (distinct words, any width)."""
        return rows

    def compose(self, projected: Tensor, rows: Tensor, batch: TextBatch) -> Tensor:
        """Embeddings float32 (texts, dimension), not normalised.

        projected: float32 (distinct words, any width), as `project` returns them.
        rows: float32 (distinct words, row width), the word rows.
        batch: the texts.
        """
        raise NotImplementedError


class BagBody(Body):
    """The mean of the word rows: no order and no layers. The control for the sequence models."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.row_width = config.dimension

    def compose(self, projected: Tensor, rows: Tensor, batch: TextBatch) -> Tensor:
        return mean_rows(projected, batch)


class DnnBody(Body):
    """DSSM (Huang et al. 2013): trigram counts of the whole text -> tanh -> tanh -> tanh.

    The table of feature rows is the first layer: the rows of a text sum to W1 x, `hidden` wide.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.row_width = config.hidden
        self.first_bias = nn.Parameter(torch.zeros(config.hidden))
        self.second = nn.Parameter(torch.empty(config.hidden, config.hidden))
        self.second_bias = nn.Parameter(torch.zeros(config.hidden))
        self.third = nn.Parameter(torch.empty(config.dimension, config.hidden))
        self.third_bias = nn.Parameter(torch.zeros(config.dimension))
        glorot(self.second)
        glorot(self.third)

    def compose(self, projected: Tensor, rows: Tensor, batch: TextBatch) -> Tensor:
        products = F.embedding_bag(batch.words, projected, batch.offsets, mode="sum")
        first = torch.tanh(products + self.first_bias)
        second = torch.tanh(first @ self.second.t() + self.second_bias)
        return torch.tanh(second @ self.third.t() + self.third_bias)


class CnnBody(Body):
    """CNN-DSSM, or CLSM (Shen et al. 2014): tanh convolution over windows of three words.

    pooling="max" is the model of the paper: the embedding is a tanh layer over the maximum of each feature.
    With pooling="attention" the features weigh the word rows, as in `LstmBody`.

    w(t) is the row of word t, zero beyond both ends of the text. A window is a sum over its three places, so
    each distinct word is projected once for all three (L w, M w and N w), and then they are added:

        h(t) = tanh(L w(t-1) + M w(t) + N w(t+1) + b)
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.hidden = config.hidden
        self.row_width = config.word_dim or 3 * config.hidden
        self.window = (
            nn.Parameter(torch.empty(3 * config.hidden, config.word_dim)) if config.word_dim else None
        )
        self.window_bias = nn.Parameter(torch.zeros(config.hidden))
        attends = config.pooling == "attention"
        self.attention = nn.Parameter(torch.zeros(config.hidden)) if attends else None
        self.output = None if attends else nn.Parameter(torch.empty(config.dimension, config.hidden))
        for weight in (self.window, self.output):
            if weight is not None:
                glorot(weight)

    def project(self, rows: Tensor) -> Tensor:
        return rows if self.window is None else rows @ self.window.t()

    def compose(self, projected: Tensor, rows: Tensor, batch: TextBatch) -> Tensor:
        size = self.hidden
        offsets = batch.offsets
        windows = F.embedding(batch.words, projected)
        features = windows[:, size : 2 * size] + self.window_bias
        inside = torch.ones(len(features), 1)
        inside[offsets] = 0  # no window reaches from one text into the next
        features[1:] += windows[:-1, :size] * inside[1:]
        features[:-1] += windows[1:, 2 * size :] * inside[1:]
        if self.attention is not None:
            return weighted_sum(rows, torch.tanh(features) @ self.attention, batch)
        places = torch.arange(len(features))
        pooled = F.embedding_bag(places, torch.tanh(features), offsets, mode="max")
        return torch.tanh(pooled @ cast(Tensor, self.output).t())


class LstmBody(Body):
    """LSTM-DSSM (Palangi et al. 2014): a peephole LSTM, see `retrieval.towers.peephole.layer`.

    pooling="last" is the model of the paper: the embedding is y(T). With pooling="attention" the LSTM gives
    each word row w(t) a weight that depends on the words up to t:

        embedding = sum_t sigm(v . y(t)) w(t)
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.row_width = config.word_dim or 4 * config.hidden
        # A list of one, because format 1 names the weights `layers.0.*`.
        self.layers = nn.ModuleList([PeepholeLSTM(config.word_dim or None, config.hidden)])
        attends = config.pooling == "attention"
        self.attention = nn.Parameter(torch.zeros(config.hidden)) if attends else None

    def project(self, rows: Tensor) -> Tensor:
        return lstm_of(self.layers).gate_inputs(rows)

    def compose(self, projected: Tensor, rows: Tensor, batch: TextBatch) -> Tensor:
        packing = pack(batch.lengths)
        y = lstm_of(self.layers)(projected, packing.counts, batch.words[packing.gather])
        places = torch.arange(len(batch.words))
        packed = torch.empty_like(places).index_copy_(0, packing.gather, places)  # row of y of each place
        if self.attention is None:
            return F.embedding(packed[batch.offsets + batch.lengths - 1], y)
        return weighted_sum(rows, (y @ self.attention)[packed], batch)


def lstm_of(layers: nn.ModuleList) -> PeepholeLSTM:
    """The only layer of an LSTM tower."""
    (layer,) = layers
    return cast(PeepholeLSTM, layer)
