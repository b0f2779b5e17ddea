"""The two-tower model as a torch module: a query tower and a document tower with one vocabulary.

In: texts. Out: unit embeddings. Knows nothing of losses or indexes. Training uses this module; search uses
`retrieval.model.encoder`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from retrieval.model.calibration import Calibration
from retrieval.model.config import ModelConfig, Side
from retrieval.model.folder import read_model, table_owner, write_model
from retrieval.model.rescoring import Rescorer
from retrieval.text.vocabulary import Lexicon, Ragged, Vocabulary, ragged
from retrieval.towers.bodies import text_batch
from retrieval.towers.tower import Tower

_BATCH_TEXTS = 512


class TwoTower(nn.Module):
    """The two-tower model.

    With tie="all" both sides are one tower, named `both`. With tie="table" the document tower reads the table
    of the query tower.

    >>> model = TwoTower.load(Path("my.model"))                                # doctest: +SKIP
    >>> model.encode_queries(["list files by size"]).shape                     # doctest: +SKIP
    (1, 256)
    """

    def __init__(self, config: ModelConfig, vocabulary: Vocabulary) -> None:
        super().__init__()
        self.config = config
        self.vocabulary = vocabulary
        self.rescorer: Rescorer | None = None
        first = Tower(config, len(vocabulary))
        if config.tie == "all":
            towers = {"both": first}
        else:
            owner = first if config.tie == "table" else None
            towers = {"query": first, "document": Tower(config, len(vocabulary), owner)}
        self.towers = nn.ModuleDict(towers)

    def tower(self, side: Side) -> Tower:
        """The tower of a side."""
        return cast(Tower, self.towers["both" if "both" in self.towers else side])

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit embeddings float32 (n, dimension) of n queries."""
        return self._encode("query", texts)

    def encode_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit embeddings float32 (n, dimension) of n documents."""
        return self._encode("document", texts)

    def _encode(self, side: Side, texts: Sequence[str]) -> NDArray[np.float32]:
        lexicon = Lexicon(self.vocabulary)
        word_ids = ragged([lexicon.word_ids(text, self.config.word_limit(side)) for text in texts])
        return self.encode_words(side, word_ids, lexicon.features())

    @torch.no_grad()
    def encode_words(self, side: Side, word_ids: Ragged, features: Ragged) -> NDArray[np.float32]:
        """Unit embeddings float32 (n, dimension) of n texts that are split into words.

        side: which of the two towers encodes.
        word_ids: of each text, rows of `features`.
        features: feature ids of each word.
        """
        embeddings = torch.empty(len(word_ids), self.config.dimension)
        # Texts of similar length are encoded together, so that most steps of the LSTM have all texts.
        order = np.argsort(-word_ids.lengths(), kind="stable")
        for start in range(0, len(order), _BATCH_TEXTS):
            rows = order[start : start + _BATCH_TEXTS]
            embeddings[torch.from_numpy(rows)] = self.tower(side)(text_batch(word_ids.take(rows), features))
        return embeddings.numpy()

    def save(
        self,
        folder: Path,
        training: Mapping[str, Any] | None = None,
        *,
        calibration: Calibration | None = None,
        small: bool = True,
    ) -> None:
        """Write the model folder, see `retrieval.model.folder`.

        folder: where to write; made if it is not there.
        training: what goes into training.json.
        calibration: from evidence to probabilities; None for none.
        small: whether feature tables are stored in int8.
        """
        arrays = {name: tensor.detach().numpy() for name, tensor in self.towers.state_dict().items()}
        write_model(
            *(folder, self.config, self.vocabulary, arrays, training or {}),
            calibration=calibration,
            small=small,
            rescorer=self.rescorer,
        )

    @classmethod
    def load(cls, folder: Path | str) -> TwoTower:
        """Read a model folder, with tables in int8 turned into float32.

        Raises what `read_model` raises, and CorruptError if the weights are not those of the config.
        """
        saved = read_model(Path(folder))
        model = cls(saved.config, saved.vocabulary)
        model.rescorer = saved.rescorer()
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
                raise saved.mismatch_error(str(error)) from error
        return model
