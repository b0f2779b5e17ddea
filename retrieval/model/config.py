"""The settings of a model, stored as JSON beside its weights.

In: a JSON file. Out: a `ModelConfig`. An unknown key, NaN or a value out of range is an error that names the
key. Knows nothing of weights; needs no torch.
"""

import json
import math
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self, get_args

from index.disk.opening import read_file
from index.errors import FormatVersionError, InputError

FORMAT_VERSION = 1

Side = Literal["query", "document"]  # which of the two towers
TowerKind = Literal["lstm", "cnn", "dnn", "bag"]  # dnn: DSSM; bag: average of the word rows
Pooling = Literal["attention", "belt", "last", "max", "mean"]
Tie = Literal["none", "table", "all"]

# The poolings of each kind of tower; DSSM and the bag have one only.
_POOLINGS: dict[TowerKind, tuple[Pooling, ...]] = {
    "lstm": ("attention", "belt", "last"),
    "cnn": ("attention", "max"),
    "dnn": ("mean",),
    "bag": ("mean",),
}


class _Settings(NamedTuple):
    """The fields of `ModelConfig`, which checks them."""

    tower: TowerKind = "lstm"
    word_dim: int = 256  # width of a word row; 0: trigrams feed the body directly, as in the papers
    hidden: int = 64  # LSTM cells, CNN feature maps or DSSM layer width
    dimension: int = 256  # width of the embedding
    pooling: Pooling = "attention"  # how the words become one vector
    tie: Tie = "all"  # what the towers share: all weights, the table of feature rows, or none
    query_words: int = 64  # words of a query that are read
    document_words: int = 128  # words of a document that are read
    whole_words: bool = True  # frequent words have a feature row of their own beside their trigrams
    gamma: float = 20.0  # smoothing factor of the softmax
    dense_share: float = 0.65  # weight of the dense ranking in hybrid search, 0 to 1, tuned on dev
    format_version: int = FORMAT_VERSION


class ModelConfig(_Settings):
    """The settings of a two-tower model; both towers have the same.

    Poolings:
    attention: the embedding is the sum of the word rows, each weighted by the LSTM or CNN.
    last: the embedding is the last output of the LSTM, as in its paper.
    belt: the same, of an LSTM that starts as a conveyor belt; see `retrieval.towers.belt`.
    max: the embedding is a layer over the maximum of each CNN feature, as in its paper.
    mean: the only pooling of dnn and bag; set for them whatever is given.

    Raises InputError for a setting that is out of range, or that contradicts another. A named tuple, because
    each `peephole search` makes this class anew, which takes a frozen data class ten times as long.
    """

    __slots__ = ()

    def __new__(cls, *settings: Any, **named: Any) -> Self:
        """A checked configuration; `settings` and `named` as of any named tuple."""
        config = super().__new__(cls, *settings, **named)
        for name, annotation in _Settings.__annotations__.items():
            _check(name, getattr(config, name), annotation)
        poolings = _POOLINGS[config.tower]
        if len(poolings) == 1 and config.pooling != poolings[0]:
            return config._replace(pooling=poolings[0])
        config._check_ranges()
        config._check_pooling()
        return config

    @classmethod
    def _make(cls, iterable: Iterable[Any]) -> Self:  # type: ignore[override]
        """What `_replace` calls: a changed configuration is checked as well."""
        return cls(*iterable)

    def word_limit(self, side: Side) -> int:
        """How many words of a text the tower of a side reads. Raises InputError if there is no such side."""
        if side not in get_args(Side):
            raise InputError(f"there is no side {side!r}; the sides are {' and '.join(get_args(Side))}")
        return self.query_words if side == "query" else self.document_words

    def _check_ranges(self) -> None:
        minima = {"word_dim": 0, "hidden": 1, "dimension": 1, "query_words": 1, "document_words": 1}
        for name, minimum in minima.items():
            if not minimum <= getattr(self, name) <= 65_536:
                raise InputError(f"{name} must be from {minimum} to 65536, not {getattr(self, name)}")
        if not (math.isfinite(self.gamma) and self.gamma > 0):
            raise InputError(f"gamma must be a positive number, not {self.gamma}")
        if not 0 <= self.dense_share <= 1:
            raise InputError(f"dense_share must be from 0 to 1, not {self.dense_share}")

    def _check_pooling(self) -> None:
        """Check the pooling and the widths that it needs."""
        poolings = _POOLINGS[self.tower]
        if self.pooling not in poolings:
            raise InputError(
                f"pooling must be {' or '.join(poolings)} for the tower {self.tower}, not {self.pooling!r}; "
                "other ways were removed, train again"
            )
        if self.pooling == "attention" and self.word_dim != self.dimension:
            raise InputError("with attention the embedding is a sum of word rows: word_dim must be dimension")
        if self.pooling in ("belt", "last") and self.dimension != self.hidden:
            raise InputError(
                f"with pooling {self.pooling} the embedding is the LSTM's output: "
                f"dimension must be {self.hidden}"
            )
        if self.pooling == "belt" and not 0 < self.word_dim < self.hidden:
            raise InputError(
                "with pooling belt word_dim of the cells carry words: it must be less than hidden"
            )


def preset(tower: TowerKind, paper: bool = False) -> ModelConfig:
    """The settings that measured best for a kind of tower, or with `paper` those of its paper.

    In their papers the embedding of the LSTM is its last output, and that of the CNN a layer over the maxima
    of its features; DSSM has no other form. Here they read the word rows of the other towers and start as
    sums of them, for a thousand pairs do not teach that to random weights (`retrieval.training.start`).

    Raises InputError for the bag with paper=True, because it is in no paper.
    """
    if not paper:
        if tower == "dnn":
            return ModelConfig(tower, hidden=256)
        if tower == "bag":  # has no body
            return ModelConfig(tower)
        return ModelConfig(tower, tie="table")
    if tower == "bag":
        raise InputError("the bag is in no paper; leave --paper out")
    if tower == "lstm":
        return ModelConfig(tower, hidden=320, dimension=320, pooling="belt", tie="table")
    if tower == "cnn":
        return ModelConfig(tower, hidden=512, pooling="max", tie="table")
    return preset(tower)


def _check(name: str, value: Any, annotation: Any) -> None:
    choices = get_args(annotation)
    if choices:
        if value not in choices:
            raise InputError(f"{name} must be one of {', '.join(choices)}, not {value!r}")
    elif annotation is float:
        if type(value) not in (int, float) or abs(value) > sys.float_info.max:
            raise InputError(f"{name} must be a number, not {value!r}")
    elif type(value) is not annotation:
        raise InputError(f"{name} must be of type {annotation.__name__}, not {value!r}")


def to_json(config: ModelConfig) -> str:
    """The config as a JSON document."""
    return json.dumps(stored(config), indent=2) + "\n"


def stored(config: ModelConfig) -> dict[str, Any]:
    """The config as a file stores it: its settings and the former settings."""
    return config._asdict() | _former_settings(config)


def _former_settings(config: ModelConfig) -> dict[str, Any]:
    """Settings of format 1 that have only one value left.

    Files keep them, so that earlier programs, which have these settings, can read new files.
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
    """Read a config file.

    Raises InputError if it is not complete and valid, FormatVersionError if it has another format version,
    StorageError if it may not be read or no more files can be opened.
    """
    try:
        content = json.loads(read_file(path, links=True).decode())
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
    settings = set(ModelConfig._fields)
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
