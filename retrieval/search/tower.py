"""The query tower of an open index, shared by threads.

In: the model inside an index; queries. Out: embeddings. Imports no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from index.errors import InputError
from index.locks import ProcessLock
from retrieval.model.folder import read_model_of
from retrieval.search.rescoring import Rescoring

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from index.protocol import OpenIndex


class QueryTower:
    """A query tower that threads can share: it encodes for one thread at a time.

    fingerprint: of its model.
    dense_share: the weight of the dense ranking in hybrid search.
    rescoring: how its model re-scores the candidates of hybrid search; None if it does not.
    calibration: from evidence to probabilities; None if the model has none.
    vocabulary: the features that the model knows.
    """

    def __init__(self, index: OpenIndex, *, compiled: bool = False) -> None:
        """Open the tower of the model inside an index.

        index: the index.
        compiled: encode and compute features in compiled loops, if numba is there.
        Raises what `read_model_of` does, InputError for a model of another dimension than the index.
        """
        model = read_model_of(index)
        if model.config.dimension != index.dimension:
            raise InputError(
                "the model's dimension is not the index's; build the index again", path=index.model_folder
            )
        self.fingerprint = index.manifest.model_fingerprint
        self.dense_share = model.config.dense_share
        rescorer = model.rescorer()
        rows = model.word_rows("query")  # shared by both: they need the same words at the same time
        self.rescoring = None if rescorer is None else Rescoring(model, rescorer, rows)
        if self.rescoring is not None and compiled:
            self.rescoring.compile()
        self.calibration = model.calibration
        self.vocabulary = model.vocabulary
        self._encoder = model.encoder("query", rows, compiled=compiled)
        self._lock = ProcessLock()

    def encode(self, queries: Sequence[str]) -> NDArray[np.float32]:
        """The embeddings of n queries, float32 (n, dimension), unit length."""
        with self._lock:
            return self._encoder.encode(queries)
