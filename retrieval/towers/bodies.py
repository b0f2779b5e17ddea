"""The towers: DSSM, CNN-DSSM, LSTM-DSSM and, as a control, a bag of trigrams.

In: a `TextBatch`, the features of each word and the words of each text. Out: unit embeddings float32
(texts, dimension). Knows nothing of strings, losses or the other tower.

The row of a word is the sum of the rows of its features. Every body then works in two stages:

    project    once for each distinct word: word rows to whatever the body reads
    compose    once for each text: the projections of its words, in order, to the embedding

`retrieval.model.encoder` caches the projections at inference.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from retrieval.model.config import ModelConfig, TowerKind
from retrieval.text.vocabulary import Ragged
from retrieval.towers.peephole.layer import PeepholeLSTM, pack, peephole_lstm

# The first biases of the cells of `BeltBody` that carry words, by gate i, f, g, o. Half of each word is taken
# in, and .9991 of the cell's content stays at each step.
_CARRYING_BIASES = (0.0, 7.0, 0.0, 1.0)
# For its small LSTM: the bias of the output gate, and the standard deviation of what its outputs, with the
# gate half open, would add to the input gate of the carrying cells.
_CONTROL_OUTPUT_BIAS = -4.0
_CONTROL_STD = 0.3
# How much larger the recurrent weights are than in an LSTM whose output gate starts half open.
BELT_CONTROL_GAIN = 0.5 * (1 + math.exp(-_CONTROL_OUTPUT_BIAS))
# The length of its word rows at the start, as a share of that in other towers. tanh hardly bends short rows.
BELT_ROW_LENGTH = 0.2


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
        return _lstm_of(self.layers).gate_inputs(rows)

    def compose(self, projected: Tensor, rows: Tensor, batch: TextBatch) -> Tensor:
        packing = pack(batch.lengths)
        y = _lstm_of(self.layers)(projected, packing.counts, batch.words[packing.gather])
        places = torch.arange(len(batch.words))
        packed = torch.empty_like(places).index_copy_(0, packing.gather, places)  # row of y of each place
        if self.attention is None:
            return F.embedding(packed[batch.offsets + batch.lengths - 1], y)
        return weighted_sum(rows, (y @ self.attention)[packed], batch)


class BeltBody(Body):
    """LSTM-DSSM whose cell state works as a conveyor belt from the start; the embedding is y(T).

    Its equations and its stored weights are those of `LstmBody` with pooling="last". It differs in where
    it starts, and in which weights it learns. The first cells, one for each entry of a word row w(t), carry
    the words, and all have the same input gate, so that each word has one weight, as with attention:

        i(t) = sigm(v . w(t) + a . z(t-1) + b)
        c(t) = f c(t-1) + i(t) tanh(w(t)),    f nearly 1
        y(t) = o tanh(c(t)),                  o fixed

    The other cells, with outputs z, are an LSTM of their own. It reads the words and moves the input gate.
    Its output gates stay nearly closed, so that z hardly shows in the embedding. With output gates that
    learn, dev fell from .50 to .34 in three epochs on `tldr`, perhaps because an open z learns the training
    set by heart. All further weights of the carrying cells are zero and stay so. This is why only the
    recurrence of the small LSTM is computed step by step. Weights that stand in many places (v, a and b) are
    read as the mean of these places. Their gradients are equal, so they stay equal.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.row_width = config.word_dim
        self.carrying = config.word_dim
        self.layers = nn.ModuleList([PeepholeLSTM(config.word_dim, config.hidden)])
        self._start()

    @torch.no_grad()
    def _start(self) -> None:
        width = self.carrying
        controlling = _lstm_of(self.layers).size - width
        inputs, recurrent, bias, _ = self.gates()
        # Of the carrying cells g reads the word alone, and the other gates their biases alone.
        inputs[:, :width] = 0
        inputs[2, :width] = torch.eye(width)
        bias[:, :width] = torch.tensor(_CARRYING_BIASES)[:, None]
        # The small LSTM has its usual first weights, made up for the short rows and its small outputs.
        glorot_bound = (6 / (controlling + width)) ** 0.5
        nn.init.uniform_(inputs[:, width:], -glorot_bound, glorot_bound)
        inputs[:, width:] /= BELT_ROW_LENGTH
        inputs[3] = 0
        bias[3, width:] = _CONTROL_OUTPUT_BIAS
        recurrent.zero_()
        glorot_bound = (6 / (2 * controlling)) ** 0.5
        recurrent[:, width:, width:].uniform_(-glorot_bound, glorot_bound).mul_(BELT_CONTROL_GAIN)
        recurrent[3] = 0
        recurrent[0, :width, width:] = torch.randn(controlling) * _CONTROL_STD * BELT_CONTROL_GAIN

    def gates(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Views of the weights by gate (i, f, g, o): inputs, recurrent, bias, peepholes (i, f, o)."""
        lstm = _lstm_of(self.layers)
        n = lstm.size
        inputs = cast(Tensor, lstm.input).view(4, n, -1)
        return inputs, lstm.recurrent.view(4, n, n), lstm.bias.view(4, n), lstm.peepholes

    def project(self, rows: Tensor) -> Tensor:
        inputs, _, bias, _ = self.gates()
        width = self.carrying
        weights = torch.cat((inputs[:3, width:].flatten(0, 1), inputs[0, :width].mean(0, keepdim=True)))
        biases = torch.cat((bias[:3, width:].flatten(), bias[0, :width].mean(0, keepdim=True)))
        gates, logit = torch.split(torch.addmm(biases, rows, weights.t()), [len(weights) - 1, 1], 1)
        closed = bias[3, width:].detach().expand(len(rows), -1)
        return torch.cat((gates, closed, logit, torch.tanh(rows)), 1)

    def compose(self, projected: Tensor, rows: Tensor, batch: TextBatch) -> Tensor:
        _, recurrent, bias, peepholes = self.gates()
        width, lengths = self.carrying, batch.lengths
        inputs = projected.shape[1] - width - 1
        control = inputs // 4
        packing = pack(lengths)
        own = torch.cat((recurrent[:3, width:, width:], recurrent.new_zeros(1, control, control)))
        z = peephole_lstm(
            projected[:, :inputs],
            own.flatten(0, 1),
            torch.cat((peepholes[:2, width:], peepholes.new_zeros(1, control))),
            packing.counts,
            batch.words[packing.gather],
        )
        places = torch.arange(len(batch.words))
        packed = torch.empty_like(places).index_copy_(0, packing.gather, places)
        moved = (z @ recurrent[0, :width, width:].mean(0))[packed]
        before = moved.roll(1).index_fill(0, batch.offsets, 0)
        left = batch.offsets.repeat_interleave(lengths) + lengths.repeat_interleave(lengths) - 1 - places
        kept = torch.sigmoid(bias[1, 0].detach()) ** left
        weights = torch.sigmoid(projected[batch.words, inputs] + before) * kept
        words = projected[:, inputs + 1 :].contiguous()
        cells = F.embedding_bag(batch.words, words, batch.offsets, mode="sum", per_sample_weights=weights)
        last = F.embedding(packed[batch.offsets + lengths - 1], z)
        return torch.cat((torch.sigmoid(bias[3, :width].detach()) * torch.tanh(cells), last), 1)


def _lstm_of(layers: nn.ModuleList) -> PeepholeLSTM:
    """The only layer of an LSTM tower."""
    (layer,) = layers
    return cast(PeepholeLSTM, layer)


_BODIES: dict[TowerKind, type[BagBody | DnnBody | CnnBody | LstmBody]] = {
    "bag": BagBody,
    "dnn": DnnBody,
    "cnn": CnnBody,
    "lstm": LstmBody,
}


class Tower(nn.Module):
    """A table of feature rows, float32 (features, row width), and a body.

    config: the settings of the model.
    features: number of features of the vocabulary.
    table_owner: the tower whose table this one reads; None if it has a table of its own.
    """

    def __init__(self, config: ModelConfig, features: int, table_owner: Tower | None = None) -> None:
        super().__init__()
        self.body = BeltBody(config) if config.pooling == "belt" else _BODIES[config.tower](config)
        if table_owner is None:
            self.table = nn.Parameter(torch.empty(features, self.body.row_width))
            nn.init.normal_(self.table, std=self.body.row_width**-0.5)
        # In a tuple, because torch would register the owner as a part of this tower.
        self._table_owner = (table_owner or self,)

    def forward(self, batch: TextBatch) -> Tensor:
        """Unit embeddings float32 (texts, dimension) of a batch."""
        (rows,) = self.word_rows(batch)
        return self.embed(rows, batch)

    def word_rows(self, *batches: TextBatch) -> Sequence[Tensor]:
        """The rows of the distinct words of each batch, float32 (distinct words, row width).

        The batches are looked up together, because each look-up gives the whole table a gradient, which is
        zero in most rows.
        """
        features = torch.cat([batch.features for batch in batches])
        shifts = accumulate((len(batch.features) for batch in batches), initial=0)
        offsets = torch.cat(
            [batch.feature_offsets + shift for batch, shift in zip(batches, shifts, strict=False)]
        )
        rows = F.embedding_bag(features, self._table_owner[0].table, offsets, mode="sum")
        return torch.split(rows, [len(batch.feature_offsets) for batch in batches])

    def embed(self, rows: Tensor, batch: TextBatch, noise: Tensor | None = None) -> Tensor:
        """Unit embeddings float32 (texts, dimension) of a batch.

        rows: float32 (distinct words, row width), as `word_rows` returns them.
        batch: the texts.
        noise: float32 (distinct words, row width), factors of the entries of the word rows; see
            `dropout_noise`.
        """
        if noise is not None:
            rows = rows * noise
        embeddings: Tensor = self.body.compose(self.body.project(rows), rows, batch)
        return F.normalize(embeddings, dim=1)

    def reads_table_of(self, other: Tower) -> bool:
        """Whether both towers have one table."""
        return self._table_owner[0] is other._table_owner[0]
