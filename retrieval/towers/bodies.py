"""The towers: DSSM, CNN-DSSM, LSTM-DSSM and, as a control, a bag of trigrams.

In: a `TextBatch`, word features and where each word stands. Out: embeddings float32 (texts, dimension), of
unit length. Knows nothing of strings, losses or the other tower.

Every tower works in two strides, so that what depends on the word alone is done once a distinct word (and, at
inference, once in a process' life, see `retrieval.model.encoder`):

    rows     a word's row is the sum of its features' rows; `project` turns it into what the body reads
    texts    `compose` joins the projected words of each text, in order, into the embedding
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from retrieval.model.config import ModelConfig, TowerKind
from retrieval.text.vocabulary import Ragged
from retrieval.towers.peephole.layer import PeepholeLSTM, pack


@dataclass(frozen=True)
class TextBatch:
    """Texts as words and words as features, each distinct word once.

    features, feature_offsets: int64, feature ids of the distinct words end to end, and where each word's
        begin.
    words: int64 (total words,), for each place in the texts end to end the number of its distinct word.
    lengths: int64 (texts,), words a text, at least 1.
    """

    features: Tensor
    feature_offsets: Tensor
    words: Tensor
    lengths: Tensor

    @property
    def offsets(self) -> Tensor:
        """Where each text begins in `words`, int64 (texts,)."""
        return torch.cumsum(self.lengths, 0) - self.lengths


def text_batch(texts: Ragged, features: Ragged) -> TextBatch:
    """The batch of texts given as word ids, where `features` holds the feature ids of every word (see
    `Lexicon`).
    """
    distinct, places = np.unique(texts.values, return_inverse=True)
    used = features.take(distinct.astype(np.int64))
    return TextBatch(
        torch.from_numpy(used.values.astype(np.int64)),
        torch.from_numpy(used.offsets[:-1]),
        torch.from_numpy(places.astype(np.int64)),
        torch.from_numpy(texts.lengths()),
    )


def glorot(weight: Tensor) -> None:
    """Uniform within +-sqrt(6 / (fan in + fan out)), the papers' initialisation (Huang et al. 2013, section
    3.4).
    """
    bound = (6 / sum(weight.shape)) ** 0.5
    nn.init.uniform_(weight, -bound, bound)


def mean_of(rows: Tensor, batch: TextBatch) -> Tensor:
    """Average of `rows` (distinct words, width) over each text's words, (texts, width)."""
    return F.embedding_bag(batch.words, rows, batch.offsets, mode="mean")


def weighted(rows: Tensor, logits: Tensor, batch: TextBatch) -> Tensor:
    """Sum of `rows` (distinct words, width) over each text's words, each weighed by the logistic function of
    its logit, (total words,); (texts, width).
    """
    weights = torch.sigmoid(logits)
    return F.embedding_bag(batch.words, rows, batch.offsets, mode="sum", per_sample_weights=weights)


class Body(nn.Module):
    """What a tower does with word rows `row_width` wide."""

    row_width: int

    def project(self, rows: Tensor) -> Tensor:
        """What `compose` reads of each distinct word, (distinct words, any width), from its row."""
        return rows

    def compose(self, projected: Tensor, batch: TextBatch) -> Tensor:
        """Embeddings (texts, dimension), not yet of unit length."""
        raise NotImplementedError


class BagBody(Body):
    """The average of the word rows: no order, no layers. The honest control for the sequence models."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.row_width = config.dimension

    def compose(self, projected: Tensor, batch: TextBatch) -> Tensor:
        return mean_of(projected, batch)


class DnnBody(Body):
    """DSSM (Huang et al. 2013): trigram counts of the whole text -> tanh -> tanh -> tanh.

    The rows are the first layer: summed over the text they are W1 x, and `hidden` wide.
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

    def compose(self, projected: Tensor, batch: TextBatch) -> Tensor:
        counts = F.embedding_bag(batch.words, projected, batch.offsets, mode="sum")
        first = torch.tanh(counts + self.first_bias)
        second = torch.tanh(first @ self.second.t() + self.second_bias)
        return torch.tanh(second @ self.third.t() + self.third_bias)


class CnnBody(Body):
    """CNN-DSSM, or CLSM (Shen et al. 2014): tanh convolution over windows of three words.

    With pooling="max", as in the paper, the embedding is a layer of tanh over the largest value of each
    feature. With pooling="attention" the features say how much each word row counts in it, as in `LstmBody`.

    A window's product is a sum of three, one a place in it, so each word is projected for all three places
    once and the places are added: h(t) = tanh(L w(t-1) + M w(t) + N w(t+1) + b), with rows of zeros beyond
    both ends.
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
        placed = rows if self.window is None else rows @ self.window.t()
        return placed if self.attention is None else torch.cat((placed, rows), 1)

    def compose(self, projected: Tensor, batch: TextBatch) -> Tensor:
        size = self.hidden
        offsets = batch.offsets
        placed = F.embedding(batch.words, projected[:, : 3 * size])
        features = placed[:, size : 2 * size] + self.window_bias
        inner = torch.ones(len(features), 1)
        inner[offsets] = 0
        features[1:] += placed[:-1, :size] * inner[1:]
        features[:-1] += placed[1:, 2 * size :] * inner[1:]
        if self.attention is not None:
            return weighted(projected[:, 3 * size :], torch.tanh(features) @ self.attention, batch)
        places = torch.arange(len(features))
        pooled = F.embedding_bag(places, torch.tanh(features), offsets, mode="max")
        assert self.output is not None
        return torch.tanh(pooled @ self.output.t())


class LstmBody(Body):
    """LSTM-DSSM (Palangi et al. 2014): a peephole LSTM reads the words; see `retrieval.towers.peephole.layer` for the
    cell.

    pooling="last" is the paper's model: the embedding is y(T). With pooling="attention" the LSTM does not
    make the embedding but says, from the words read so far, how much each word row w(t) counts in it:

        embedding = sum_t sigm(v . y(t)) w(t)
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.row_width = config.word_dim or 4 * config.hidden
        # In a list, for the weights' names in files of format 1.
        self.layers = nn.ModuleList([PeepholeLSTM(config.word_dim or None, config.hidden)])
        attends = config.pooling == "attention"
        self.attention = nn.Parameter(torch.zeros(config.hidden)) if attends else None

    def _lstm(self) -> PeepholeLSTM:
        (layer,) = self.layers
        assert isinstance(layer, PeepholeLSTM)
        return layer

    def project(self, rows: Tensor) -> Tensor:
        inputs = self._lstm().gate_inputs(rows)
        return inputs if self.attention is None else torch.cat((inputs, rows), 1)

    def compose(self, projected: Tensor, batch: TextBatch) -> Tensor:
        lstm = self._lstm()
        gates = 4 * lstm.size
        packing = pack(batch.lengths)
        y = lstm(F.embedding(batch.words[packing.gather], projected[:, :gates]), packing.counts)
        places = torch.arange(len(batch.words))
        packed = torch.empty_like(places).index_copy_(0, packing.gather, places)  # where each word is in y
        if self.attention is None:
            return F.embedding(packed[batch.offsets + batch.lengths - 1], y)
        return weighted(projected[:, gates:], (y @ self.attention)[packed], batch)


_BODIES: dict[TowerKind, type[BagBody | DnnBody | CnnBody | LstmBody]] = {
    "bag": BagBody,
    "dnn": DnnBody,
    "cnn": CnnBody,
    "lstm": LstmBody,
}


class Tower(nn.Module):
    """A table of feature rows and a body. `table` is float32 (features, row width).

    lender: the tower whose table this one reads; then it has none of its own.
    """

    def __init__(self, config: ModelConfig, features: int, lender: Tower | None = None) -> None:
        super().__init__()
        self.body = _BODIES[config.tower](config)
        if lender is None:
            self.table = nn.Parameter(torch.empty(features, self.body.row_width))
            nn.init.normal_(self.table, std=self.body.row_width**-0.5)
        # In a tuple, or torch would count the lender as a part of this tower.
        self._owner = (lender or self,)

    def forward(self, batch: TextBatch, dropout: float = 0.0) -> Tensor:
        """Unit embeddings float32 (texts, dimension). dropout: share of the distinct words' row entries set
        to zero.
        """
        rows = F.embedding_bag(batch.features, self._owner[0].table, batch.feature_offsets, mode="sum")
        rows = F.dropout(rows, dropout, training=dropout > 0)
        joined: Tensor = self.body.compose(self.body.project(rows), batch)
        return F.normalize(joined, dim=1)
