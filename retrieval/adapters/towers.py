"""Both towers of a model, shared by threads.

In: a model folder or an index folder; texts. Out: embeddings. Imports no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from index.disk.folder import is_index
from index.locks import ProcessLock
from index.reader import Index
from retrieval.model.config import Side
from retrieval.model.folder import TrainedModel, read_model, read_model_of


class Towers:
    """The towers of a model; each encodes for one thread at a time.

    folder: of a model, or of an index, whose model is taken.
    Raises what `Index.open` and `read_model` raise.
    """

    def __init__(self, folder: Path | str) -> None:
        model = _model(Path(folder))
        self.dimension = model.config.dimension
        self._encoders = {side: model.encoder(side) for side in _SIDES}
        self._lock = ProcessLock()

    def encode(self, side: Side, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embeddings float32 (n, dimension), unit length, of n texts by the tower of a side."""
        with self._lock:
            return self._encoders[side].encode(texts)


_SIDES: tuple[Side, ...] = ("query", "document")


def _model(folder: Path) -> TrainedModel:
    if not is_index(folder):
        return read_model(folder)
    with Index.open(folder) as index:
        return read_model_of(index)
