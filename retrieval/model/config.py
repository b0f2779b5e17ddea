"""What a model is made of, as data: saved as JSON beside the weights, read without torch.

In: JSON text. Out: a frozen dataclass. Unknown keys, NaN and values out of range are errors that name the
    key.
"""

from __future__ import annotations

import json
import math
import sys
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

from index.errors import FormatVersionError, InputError

FORMAT_VERSION = 1

TowerKind = Literal["lstm", "cnn", "dnn", "bag"]
Pooling = Literal["last", "mean", "max", "attention"]
Forget = Literal["learned", "one"]
Tie = Literal["none", "table", "all"]


@dataclass(frozen=True)
class ModelConfig:
    """The shape of a two-tower model; both towers have it.

    tower: lstm, cnn, dnn (DSSM) or bag. word_dim: width of a word's row; 0 lets the trigrams feed the body
        directly, as in the papers.
    hidden: LSTM cells (each way), CNN feature maps or DSSM layer width. dimension: width of the embedding.
    pooling: how LSTM outputs or CNN features become one vector; "attention" lets the body weigh the word rows
    instead. residual: add the average of the word rows to the body's output (the embedding is then a linear
    map of the body's output plus that average). bidirectional: a second LSTM reads from the right.
    forget: "one" fixes the forget gate open. tie: "all" gives both towers the same weights,
    "table" the same feature rows, each with a body of its own.
    query_words, document_words: how many words of a text count. whole_words: frequent words have a row of
    their own beside their trigrams'. gamma: the smoothing factor of the softmax.
    dense_share: weight of the dense ranking in hybrid search, 0 to 1, chosen on dev.
    """

    tower: TowerKind = "lstm"
    word_dim: int = 256
    hidden: int = 64
    dimension: int = 256
    pooling: Pooling = "mean"
    residual: bool = True
    bidirectional: bool = False
    forget: Forget = "learned"
    tie: Tie = "all"
    query_words: int = 64
    document_words: int = 128
    whole_words: bool = True
    gamma: float = 20.0
    dense_share: float = 0.65
    format_version: int = FORMAT_VERSION

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self))
        for field in fields(self):
            _check(field.name, getattr(self, field.name), hints[field.name])
        lowest = {"word_dim": 0, "hidden": 1, "dimension": 1, "query_words": 1, "document_words": 1}
        for name, least in lowest.items():
            if not least <= getattr(self, name) <= 65_536:
                raise InputError(f"{name} must be from {least} to 65536, not {getattr(self, name)}")
        if not (math.isfinite(self.gamma) and self.gamma > 0):
            raise InputError(f"gamma must be a positive number, not {self.gamma}")
        if not 0 <= self.dense_share <= 1:
            raise InputError(f"dense_share must be from 0 to 1, not {self.dense_share}")
        if self.tower in ("lstm", "cnn") and self.residual and self.word_dim != self.dimension:
            raise InputError("a residual path needs word_dim equal to dimension")
        if self.pooling == "attention" and not (self.tower in ("lstm", "cnn") and self.residual):
            raise InputError(
                "attention weighs the word rows of an LSTM or CNN tower; it needs the residual path"
            )
        states = self.hidden * (2 if self.bidirectional else 1)
        if self.tower == "lstm" and not self.residual and self.dimension != states:
            raise InputError(
                f"without a residual path the embedding is the LSTM's output: dimension must be {states}"
            )


def preset(tower: TowerKind, paper: bool = False) -> ModelConfig:
    """The measured best shape of a tower, or the one its paper describes.

    paper: separate towers, trigrams only feeding the body directly, the LSTM's embedding its last output, 300
    wide layers and a 128 wide output for DSSM and CNN-DSSM.
    """
    if not paper:
        if tower == "dnn":
            return ModelConfig(tower, hidden=256, pooling="mean", residual=False)
        if tower == "bag":  # has no body
            return ModelConfig(tower)
        return ModelConfig(tower, pooling="attention", tie="table")
    if tower == "bag":
        raise InputError("the bag is in no paper; leave --paper out")
    hidden, dimension = (128, 128) if tower == "lstm" else (300, 128)
    pooling: Pooling = "last" if tower == "lstm" else "max"
    return ModelConfig(tower, 0, hidden, dimension, pooling, False, tie="none", whole_words=False)


def _check(name: str, value: Any, kind: Any) -> None:
    choices = get_args(kind)
    if choices:
        if value not in choices:
            raise InputError(f"{name} must be one of {', '.join(choices)}, not {value!r}")
    elif kind is float:
        if type(value) not in (int, float) or abs(value) > sys.float_info.max:
            raise InputError(f"{name} must be a number, not {value!r}")
    elif type(value) is not kind:
        raise InputError(f"{name} must be of type {kind.__name__}, not {value!r}")


def to_json(config: ModelConfig) -> str:
    """The config as a JSON document."""
    return json.dumps(asdict(config), indent=2) + "\n"


def read_config(path: Path) -> ModelConfig:
    """Read a config. Raises InputError for anything but a complete, valid one, FormatVersionError for
    another version's.
    """
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"not readable as JSON ({error}); restore the model folder", path=path) from error
    if not isinstance(content, dict):
        raise InputError("must be a JSON object; restore the model folder", path=path)
    version = content.get("format_version")
    if version != FORMAT_VERSION:
        raise FormatVersionError(
            f"{path}: format version {version!r}, this program reads {FORMAT_VERSION}; "
            "train again or use the program that wrote it"
        )
    names = {field.name for field in fields(ModelConfig)}
    for problem, keys in (("unknown", content.keys() - names), ("missing", names - content.keys())):
        if keys:
            raise InputError(f"{problem} key {', '.join(sorted(keys))}; restore the model folder", path=path)
    try:
        return ModelConfig(**content)
    except InputError as error:
        raise InputError(str(error), path=path) from error
