"""TwoTower: a query tower and a document tower with one vocabulary, as torch modules.

In: texts. Out: unit embeddings. Training, saving and loading go through here; serving uses
    `retrieval.model.encoder` instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from retrieval.model.config import ModelConfig
from retrieval.model.folder import SavedModel, Side, read_model, table_owner, write_model
from retrieval.text.vocabulary import Lexicon, Ragged, Vocabulary, ragged
from retrieval.towers.bodies import Tower, text_batch

_BATCH = 512


class TwoTower(nn.Module):
    """The model. With tie="all" both sides are one tower, under the name `both`; with tie="table" the
    document tower reads the query tower's table.

    >>> model = TwoTower.load(Path("my.model"))                                # doctest: +SKIP
    >>> model.encode_queries(["list files by size"]).shape                     # doctest: +SKIP
    (1, 256)
    """

    def __init__(self, config: ModelConfig, vocabulary: Vocabulary) -> None:
        super().__init__()
        self.config = config
        self.vocabulary = vocabulary
        first = Tower(config, len(vocabulary))
        if config.tie == "all":
            towers = {"both": first}
        else:
            lender = first if config.tie == "table" else None
            towers = {"query": first, "document": Tower(config, len(vocabulary), lender)}
        self.towers = nn.ModuleDict(towers)

    def tower(self, side: Side) -> Tower:
        """The tower of a side."""
        tower = self.towers["both" if "both" in self.towers else side]
        assert isinstance(tower, Tower)
        return tower

    def limit(self, side: Side) -> int:
        """Words of a text that count on a side."""
        return self.config.query_words if side == "query" else self.config.document_words

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit embeddings float32 (n, dimension) of n queries."""
        return self._encode("query", texts)

    def encode_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit embeddings float32 (n, dimension) of n documents."""
        return self._encode("document", texts)

    def _encode(self, side: Side, texts: Sequence[str]) -> NDArray[np.float32]:
        lexicon = Lexicon(self.vocabulary)
        numbered = ragged([lexicon.word_ids(text, self.limit(side)) for text in texts])
        return self.embed(side, numbered, lexicon.features()).numpy()

    @torch.no_grad()
    def embed(self, side: Side, texts: Ragged, features: Ragged) -> torch.Tensor:
        """Unit embeddings (n, dimension) of texts given as word ids into `features`, without gradients."""
        embeddings = torch.empty(len(texts), self.config.dimension)
        # Texts of one length together: the LSTM's steps are then full to the end.
        order = np.argsort(-texts.lengths(), kind="stable")
        for start in range(0, len(order), _BATCH):
            rows = order[start : start + _BATCH]
            embeddings[torch.from_numpy(rows)] = self.tower(side)(text_batch(texts.take(rows), features))
        return embeddings

    def save(self, folder: Path, training: Mapping[str, Any] | None = None, *, small: bool = True) -> None:
        """Write the model folder; small: feature tables in int8 (see `retrieval.model.folder`)."""
        arrays = {name: tensor.detach().numpy() for name, tensor in self.towers.state_dict().items()}
        write_model(folder, self.config, self.vocabulary, arrays, training or {}, small=small)

    @classmethod
    def load(cls, folder: Path | str) -> TwoTower:
        """Read a model folder; its weights are those the encoder would use. Raises what `read_model`
        raises.
        """
        return cls.from_saved(read_model(Path(folder)))

    @classmethod
    def from_saved(cls, saved: SavedModel) -> TwoTower:
        """The torch form of a saved model."""
        model = cls(saved.config, saved.vocabulary)
        for name, tower in model.towers.items():
            side: Side = "document" if name == "document" else "query"
            state = {
                f"body.{part}": torch.from_numpy(np.array(array)) for part, array in saved.body(side).items()
            }
            try:
                if name == table_owner(saved.config.tie, side):
                    state["table"] = torch.from_numpy(np.array(saved.table(side).rows(slice(None))))
                tower.load_state_dict(state)
            except (RuntimeError, ValueError) as error:
                raise saved.unfit(str(error)) from error
        return model
