"""A tower: a table of feature rows, and a body above it.

In: a `TextBatch`, the features of each word and the words of each text. Out: unit embeddings float32
(texts, dimension). The row of a word is the sum of the rows of its features. Knows nothing of strings, losses
or the other tower.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from retrieval.model.config import ModelConfig, TowerKind
from retrieval.towers.belt import BeltBody
from retrieval.towers.bodies import BagBody, CnnBody, DnnBody, LstmBody, TextBatch

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
