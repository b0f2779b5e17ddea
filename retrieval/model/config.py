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
Pooling = Literal["attention", "last", "max", "mean"]
Tie = Literal["none", "table", "all"]

# What each tower can do with its words; DSSM and the bag have no choice.
_POOLINGS: dict[TowerKind, tuple[Pooling, ...]] = {
    "lstm": ("attention", "last"),
    "cnn": ("attention", "max"),
    "dnn": ("mean",),
    "bag": ("mean",),
}


@dataclass(frozen=True)
class ModelConfig:
    """The shape of a two-tower model; both towers have it.

    tower: lstm, cnn, dnn (DSSM) or bag. word_dim: width of a word's row; 0 lets the trigrams feed the body
        directly, as in the papers.
    hidden: LSTM cells, CNN feature maps or DSSM layer width. dimension: width of the embedding.
    pooling: how the words become one vector. With "attention" an LSTM or CNN weighs the word rows, and the
        embedding is their weighted sum. The papers' towers make the embedding themselves: of the LSTM's
        "last" output, or of the "max" of each CNN feature. A dnn or bag has "mean", whatever is given.
    tie: "all" gives both towers the same weights, "table" the same feature rows, each with a body of its own.
    query_words, document_words: how many words of a text count. whole_words: frequent words have a row of
    their own beside their trigrams'. gamma: the smoothing factor of the softmax.
    dense_share: weight of the dense ranking in hybrid search, 0 to 1, chosen on dev.
    """

    tower: TowerKind = "lstm"
    word_dim: int = 256
    hidden: int = 64
    dimension: int = 256
    pooling: Pooling = "attention"
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
        self._settle_pooling()

    def _settle_pooling(self) -> None:
        """Check pooling, and the widths that it asks for; put it right for a tower without a choice."""
        possible = _POOLINGS[self.tower]
        if len(possible) == 1:
            object.__setattr__(self, "pooling", possible[0])
        if self.pooling not in possible:
            raise InputError(
                f"pooling must be {' or '.join(possible)} for the tower {self.tower}, not {self.pooling!r}; "
                "other ways were removed, train again"
            )
        if self.pooling == "attention" and self.word_dim != self.dimension:
            raise InputError("with attention the embedding is a sum of word rows: word_dim must be dimension")
        if self.pooling == "last" and self.dimension != self.hidden:
            raise InputError(
                f"with pooling last the embedding is the LSTM's output: dimension must be {self.hidden}"
            )


def preset(tower: TowerKind, paper: bool = False) -> ModelConfig:
    """The measured best shape of a tower, or the one its paper describes.

    paper: separate towers, trigrams only feeding the body directly, the LSTM's embedding its last output, 300
    wide layers and a 128 wide output for DSSM and CNN-DSSM.
    """
    if not paper:
        if tower == "dnn":
            return ModelConfig(tower, hidden=256)
        if tower == "bag":  # has no body
            return ModelConfig(tower)
        return ModelConfig(tower, tie="table")
    if tower == "bag":
        raise InputError("the bag is in no paper; leave --paper out")
    hidden, dimension = (128, 128) if tower == "lstm" else (300, 128)
    pooling: Pooling = "last" if tower == "lstm" else "max"
    return ModelConfig(tower, 0, hidden, dimension, pooling, tie="none", whole_words=False)


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
    return json.dumps(stored(config), indent=2) + "\n"


def stored(config: ModelConfig) -> dict[str, Any]:
    """The config as a file holds it: its settings, and the former ones."""
    return asdict(config) | _former_settings(config)


def _former_settings(config: ModelConfig) -> dict[str, Any]:
    """Settings of format 1 that have one value left. Files keep them: the programs that have them as settings
    can then read what is written now.
    """
    residual = config.pooling == "attention" or config.tower == "bag"
    return {"residual": residual, "bidirectional": False, "forget": "learned"}


def _check_former_settings(config: ModelConfig, content: dict[str, Any]) -> None:
    for name, value in _former_settings(config).items():
        if json.dumps(content[name]) != json.dumps(value):
            raise InputError(
                f"{name} must be {json.dumps(value)}, not {json.dumps(content[name])[:40]}; "
                "as a setting it was removed, train again"
            )


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
    settings = {field.name for field in fields(ModelConfig)}
    names = settings | _former_settings(ModelConfig()).keys()
    for problem, keys in (("unknown", content.keys() - names), ("missing", names - content.keys())):
        if keys:
            raise InputError(f"{problem} key {', '.join(sorted(keys))}; restore the model folder", path=path)
    try:
        config = ModelConfig(**{name: content[name] for name in settings})
        _check_former_settings(config, content)
    except InputError as error:
        raise InputError(str(error), path=path) from error
    return config
