"""The model folder: a trained model on disk.

In: arrays, config and vocabulary, or a folder. Out: a folder, or a `TrainedModel`. Needs no torch; knows
nothing of training.

config.json            `ModelConfig`
vocabulary.json        `Vocabulary`
vocabulary.safetensors the same, sorted, for a quick start; models of earlier versions have none
weights.safetensors    `query.*` and `document.*`, or `both.*` if the towers are one; no `document.table` if
                       they share the table; tables in int8 with one scale for each row
rescoring.safetensors  `Rescorer`; only if the model has learned to re-score
calibration.json       `Calibration`; not there if the model was trained without dev queries
training.json          how the model was trained and its dev scores; for people, not needed to encode
report/                the same as a web page (`retrieval.training.report`); not copied into an index
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast, get_args

import numpy as np

from index.disk.files import write_atomically
from index.errors import CorruptError, InputError
from retrieval.model.calibration import Calibration, read_calibration
from retrieval.model.calibration import to_json as to_calibration_json
from retrieval.model.config import ModelConfig, Side, Tie, read_config, to_json
from retrieval.model.encoder import Encoder
from retrieval.model.rescoring import Rescorer, WordVectors
from retrieval.model.vocabulary_table import load_vocabulary, save_vocabulary
from retrieval.model.weights import Table, quantise, read_weights, write_weights
from retrieval.model.word_rows import WordRows
from retrieval.text.vocabulary import Vocabulary

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from index.protocol import OpenIndex


class ModelFiles(NamedTuple):
    """The names of the files in a model folder."""

    config: str = "config.json"
    vocabulary: str = "vocabulary.json"
    table: str = "vocabulary.safetensors"
    weights: str = "weights.safetensors"
    rescoring: str = "rescoring.safetensors"
    calibration: str = "calibration.json"
    training: str = "training.json"


FILES = ModelFiles()


class TrainedModel(NamedTuple):
    """A model read from its folder."""

    folder: Path
    config: ModelConfig
    vocabulary: Vocabulary
    arrays: Mapping[str, NDArray[Any]]  # memory maps, by their names in the weights file
    calibration: Calibration | None = None

    def table(self, side: Side) -> Table:
        """The table of feature rows that the tower of a side reads. Raises CorruptError for other scales."""
        name = f"{table_owner(self.config.tie, side)}.table"
        values, scales = self.arrays[name], self.arrays.get(f"{name}_scales")
        if scales is not None and (
            values.dtype != np.int8 or scales.dtype != np.float32 or scales.shape != (len(values), 1)
        ):
            raise self.mismatch_error(f"{name}_scales does not fit the table")
        return Table(values, scales)

    def body(self, side: Side) -> dict[str, NDArray[Any]]:
        """The other arrays of the tower of a side, by their names within its body."""
        start = f"{'both' if self.config.tie == 'all' else side}.body."
        return {
            name.removeprefix(start): array for name, array in self.arrays.items() if name.startswith(start)
        }

    def word_rows(self, side: Side) -> WordRows:
        """The rows of words for the tower of a side."""
        return WordRows(self.vocabulary, self.table(side))

    def encoder(self, side: Side, rows: WordRows | None = None, *, compiled: bool = False) -> Encoder:
        """The tower of a side, ready to encode.

        side: which tower.
        rows: of words, if they are at hand.
        compiled: see `Encoder`.
        Raises InputError if there is no such side; CorruptError if its arrays are not those of the config or
        are not finite.
        """
        limit = self.config.word_limit(side)
        try:
            encoder = Encoder(self.config, rows or self.word_rows(side), self.body(side), limit, compiled)
            finite = np.isfinite(encoder.encode(["two words"])).all()
        except (KeyError, ValueError, IndexError, TypeError) as error:
            raise self.mismatch_error(f"{type(error).__name__}: {error}") from error
        if not finite:
            raise self.mismatch_error("not finite")
        return encoder

    def rescorer(self) -> Rescorer | None:
        """What the model has learned of re-scoring; None if it has learned nothing, or for another version.

        Raises CorruptError for a damaged file.
        """
        path = self.folder / FILES.rescoring
        if self.config.tie == "none" or not path.is_file():
            return None
        return Rescorer.load(path, self.table("query").values.shape[1])

    def reads_queries(self) -> bool:
        """Whether documents are found by the queries that they are known to answer, too."""
        rescorer = self.rescorer()
        return rescorer is not None and rescorer.reads_queries

    def word_vectors(self) -> WordVectors | None:
        """What gives the words of many documents as vectors; None if the model does not re-score."""
        rescorer = self.rescorer()
        if rescorer is None:
            return None
        rows = self.word_rows("document")
        rows.expect_many()
        return WordVectors(rows, rescorer)

    def mismatch_error(self, problem: str) -> CorruptError:
        """The error to raise for weights that are not those of the config."""
        reason = " ".join(problem.split())
        return CorruptError(
            f"{self.folder / FILES.weights}: does not fit {FILES.config} ({reason}); restore the model folder"
        )


def table_owner(tie: Tie, side: Side) -> str:
    """The name in the weights file of the tower whose table a side reads."""
    return {"all": "both", "table": "query", "none": side}[tie]


def read_model(folder: Path) -> TrainedModel:
    """Read a model folder.

    Raises InputError, FormatVersionError or CorruptError, each naming the file; StorageError if a file may
    not be read or no more files can be opened.
    """
    if not (folder / FILES.config).is_file():
        raise InputError(f"not a model folder (no {FILES.config}); `peephole train` makes one", path=folder)
    config = read_config(folder / FILES.config)
    vocabulary = load_vocabulary(folder / FILES.vocabulary, folder / FILES.table)
    arrays = read_weights(folder / FILES.weights)
    model = TrainedModel(folder, config, vocabulary, arrays, read_calibration(folder / FILES.calibration))
    for prefix in dict.fromkeys(table_owner(config.tie, side) for side in get_args(Side)):
        table = arrays.get(f"{prefix}.table")
        if table is None or table.ndim != 2 or len(table) != len(vocabulary):
            raise CorruptError(
                f"{folder / FILES.weights}: {prefix}.table does not fit the vocabulary; "
                "restore the model folder"
            )
    return model


def read_model_of(index: OpenIndex) -> TrainedModel:
    """The model inside an index.

    Raises what `read_model` does, and CorruptError for a file that the index's manifest does not name: no
    checksum covers it.
    """
    optional = (FILES.table, FILES.rescoring, FILES.calibration)
    there = [name for name in optional if (index.model_folder / name).exists()]
    for name in (FILES.config, FILES.vocabulary, FILES.weights, *there):
        path = index.model_folder / name
        if f"{index.model_folder.name}/{name}" not in index.manifest.files:
            raise CorruptError(f"{path}: the manifest does not name it; restore it or build the index again")
    return read_model(index.model_folder)


def write_model(
    folder: Path,
    config: ModelConfig,
    vocabulary: Vocabulary,
    arrays: Mapping[str, NDArray[np.float32]],
    training: Mapping[str, Any],
    *,
    calibration: Calibration | None = None,
    small: bool = True,
    rescorer: Rescorer | None = None,
) -> None:
    """Write a model folder.

    The config is written last, so that a folder with a config is complete.

    folder: where to write; made if it is not there.
    config: the settings.
    vocabulary: the features.
    arrays: float32 weights, by their names in the weights file.
    training: what goes into training.json.
    calibration: from evidence to probabilities; None for none.
    small: whether tables are stored in int8.
    rescorer: what the model has learned of re-scoring; None for a model without.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stored: dict[str, NDArray[Any]] = {}
    for name, array in arrays.items():
        if small and name.endswith(".table"):
            table = quantise(array)
            stored |= {name: table.values, f"{name}_scales": cast("NDArray[Any]", table.scales)}
        else:
            stored[name] = array
    # Without a config the folder is not a model: an old config never stands beside new weights.
    (folder / FILES.config).unlink(missing_ok=True)
    save_vocabulary(vocabulary, folder / FILES.vocabulary, folder / FILES.table)
    write_weights(folder / FILES.weights, stored)
    if rescorer is None:
        (folder / FILES.rescoring).unlink(missing_ok=True)
    else:
        rescorer.save(folder / FILES.rescoring)
    (folder / FILES.calibration).unlink(missing_ok=True)  # one of other weights
    if calibration is not None:
        write_atomically(folder / FILES.calibration, to_calibration_json(calibration).encode())
    write_atomically(folder / FILES.training, (json.dumps(training, indent=2) + "\n").encode())
    write_atomically(folder / FILES.config, to_json(config).encode())
