"""LSTM-DSSM that starts as a conveyor belt of words: `--tower lstm --paper`.

In: a `TextBatch`, and the rows of its words. Out: embeddings, as in `retrieval.towers.bodies`.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from retrieval.model.config import ModelConfig
from retrieval.towers.bodies import Body, TextBatch, lstm_of
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
        controlling = lstm_of(self.layers).size - width
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
        lstm = lstm_of(self.layers)
        n = lstm.size
        inputs = cast(Tensor, lstm.input).view(4, n, -1)
        return inputs, lstm.recurrent.view(4, n, n), lstm.bias.view(4, n), lstm.peepholes

    def project(self, rows: Tensor) -> Tensor:
        """See `Body.project`: the inputs of the small LSTM, the logit of the input gate, and tanh(w)."""
        inputs, _, bias, _ = self.gates()
        width = self.carrying
        weights = torch.cat((inputs[:3, width:].flatten(0, 1), inputs[0, :width].mean(0, keepdim=True)))
        biases = torch.cat((bias[:3, width:].flatten(), bias[0, :width].mean(0, keepdim=True)))
        gates, logit = torch.split(torch.addmm(biases, rows, weights.t()), [len(weights) - 1, 1], 1)
        closed = bias[3, width:].detach().expand(len(rows), -1)
        return torch.cat((gates, closed, logit, torch.tanh(rows)), 1)

    def compose(self, projected: Tensor, rows: Tensor, batch: TextBatch) -> Tensor:
        """See `Body.compose`."""
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
