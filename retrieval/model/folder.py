"""The model folder: what a trained model is on disk, read without torch.

config.json            ModelConfig
vocabulary.json        Vocabulary
weights.safetensors    `query.*` and `document.*`, or `both.*` when the towers are one, and no
                       `document.table` when they share it; tables in int8 with row scales
training.json          how it was trained and what it reached on dev (for people; nothing reads it back to
                       serve)
report/                the same as a page (`retrieval.training.report`); no index takes it in
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from index.disk.files import write_atomically
from index.errors import CorruptError, InputError
from retrieval.model.config import ModelConfig, Tie, read_config, to_json
from retrieval.model.encoder import Encoder
from retrieval.model.weights import Table, quantise, read_weights, write_weights
from retrieval.text.vocabulary import Vocabulary

Side = Literal["query", "document"]


@dataclass(frozen=True)
class ModelFiles:
    """The names in a model folder."""

    config: str = "config.json"
    vocabulary: str = "vocabulary.json"
    weights: str = "weights.safetensors"
    training: str = "training.json"


FILES = ModelFiles()


@dataclass(frozen=True)
class SavedModel:
    """A model read from disk: its arrays are memory maps."""

    folder: Path
    config: ModelConfig
    vocabulary: Vocabulary
    arrays: Mapping[str, NDArray[Any]]

    def table(self, side: Side) -> Table:
        """The feature rows that a tower reads."""
        prefix = table_owner(self.config.tie, side)
        return Table(self.arrays[f"{prefix}.table"], self.arrays.get(f"{prefix}.table_scales"))

    def body(self, side: Side) -> dict[str, NDArray[Any]]:
        """The other arrays of a tower, by their names within its body."""
        start = f"{'both' if self.config.tie == 'all' else side}.body."
        return {
            name.removeprefix(start): array for name, array in self.arrays.items() if name.startswith(start)
        }

    def encoder(self, side: Side) -> Encoder:
        """A tower ready to encode. Raises CorruptError if its arrays are not those of the config, or not
        finite.
        """
        limit = self.config.query_words if side == "query" else self.config.document_words
        try:
            encoder = Encoder(self.config, self.vocabulary, self.table(side), self.body(side), limit)
            sound = np.isfinite(encoder.encode(["two words"])).all()
        except (KeyError, ValueError, IndexError, TypeError) as error:
            raise self.unfit(f"{type(error).__name__}: {error}") from error
        if not sound:
            raise self.unfit("not finite")
        return encoder

    def unfit(self, problem: str) -> CorruptError:
        """The error of weights that are not those of the config."""
        reason = " ".join(problem.split())
        return CorruptError(
            f"{self.folder / FILES.weights}: does not fit {FILES.config} ({reason}); restore the model folder"
        )


def table_owner(tie: Tie, side: Side) -> str:
    """The name of the tower whose table a side reads."""
    return {"all": "both", "table": "query", "none": side}[tie]


def read_model(folder: Path) -> SavedModel:
    """Read a model folder. Raises InputError, FormatVersionError or CorruptError, each naming the file."""
    if not (folder / FILES.config).is_file():
        raise InputError(f"not a model folder (no {FILES.config}); `peephole train` makes one", path=folder)
    config = read_config(folder / FILES.config)
    vocabulary = Vocabulary.load(folder / FILES.vocabulary)
    arrays = read_weights(folder / FILES.weights)
    model = SavedModel(folder, config, vocabulary, arrays)
    sides: tuple[Side, ...] = ("query", "document")
    for prefix in dict.fromkeys(table_owner(config.tie, side) for side in sides):
        table = arrays.get(f"{prefix}.table")
        if table is None or table.ndim != 2 or len(table) != len(vocabulary):
            raise CorruptError(
                f"{folder / FILES.weights}: {prefix}.table does not fit the vocabulary; "
                "restore the model folder"
            )
    return model


def write_model(
    folder: Path,
    config: ModelConfig,
    vocabulary: Vocabulary,
    arrays: Mapping[str, NDArray[np.float32]],
    training: Mapping[str, Any],
    *,
    small: bool = True,
) -> None:
    """Write a model folder, config last, so that a folder with a config is complete. small: tables in
    int8.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stored: dict[str, NDArray[Any]] = {}
    for name, array in arrays.items():
        if small and name.endswith(".table"):
            table = quantise(array)
            assert table.scales is not None
            stored |= {name: table.values, f"{name}_scales": table.scales}
        else:
            stored[name] = array
    # From here until the new config is there the folder is no model: never an old config with new weights.
    (folder / FILES.config).unlink(missing_ok=True)
    vocabulary.save(folder / FILES.vocabulary)
    write_weights(folder / FILES.weights, stored)
    write_atomically(folder / FILES.training, (json.dumps(training, indent=2) + "\n").encode())
    write_atomically(folder / FILES.config, to_json(config).encode())
