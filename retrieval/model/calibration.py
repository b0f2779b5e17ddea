"""The calibration of a model: it turns evidence about a query and a hit into a probability of relevance.

In: a JSON file beside the weights, or fitted numbers. Out: probabilities. Knows nothing of how the evidence
is found or how the numbers are fitted.

Each mode of search has two logistic regressions, one for the first hit of a ranking and one for later hits:

    probability = 1 / (1 + exp(-(intercept + sum of weight * evidence)))

Modes share no numbers: with the same evidence, a hit of a better ranking is relevant more often than a hit of
a worse one. The margins of a further hit are its cosine and BM25 minus those of the first one: a hit that
looks good is less likely relevant beside one that looks better. An unknown key, NaN or an infinite number in
the file is an error that names it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from index.disk.opening import read_file
from index.errors import FormatVersionError, InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORMAT_VERSION = 3
# The evidence that each later version added. In older files its weight is 0.
_SINCE = {2: "cosine_logit", 3: "matched"}

# What is known of a query and a document, in this order; see `retrieval.search.evidence`.
EVIDENCE = ("cosine", "bm25", "share", "words", "cosine_logit", "matched")
MARGINS = ("cosine_margin", "bm25_margin")
_MODES = ("dense", "lexical", "hybrid")
_FIRST = ("intercept", *EVIDENCE)
_FURTHER = (*_FIRST, *MARGINS)
_HALF = np.float32(0.5)
_LARGEST = 1e6  # of any number; a larger one is damage, and could overflow


class ModeCalibration(NamedTuple):
    """The fitted numbers of one mode.

    first: of the first hit of a ranking: intercept and a weight for each of `EVIDENCE`.
    further: of the hits after it: the same, and a weight for each of `MARGINS`.
    """

    first: Sequence[float]
    further: Sequence[float]

    def probabilities(self, evidence: NDArray[np.float32]) -> NDArray[np.float32]:
        """The probabilities that hits are relevant, float32 (hits,).

        evidence: float32 (hits, EVIDENCE), that of the first hit of the ranking first.
        """
        if not len(evidence):
            return np.empty(0, np.float32)
        margins = np.array(self.further[len(_FIRST) :], np.float32)
        weights = np.array(self.further[1 : len(_FIRST)], np.float32)
        weights[: len(margins)] += margins  # a margin is a hit's own evidence minus that of the first hit
        odds = evidence @ weights + (self.further[0] - evidence[0, : len(margins)] @ margins)
        odds[0] = evidence[0] @ np.array(self.first[1:], np.float32) + self.first[0]
        # The logistic function by tanh, which does not overflow.
        probabilities: NDArray[np.float32] = np.tanh(odds * _HALF) * _HALF + _HALF
        return probabilities


class Calibration(NamedTuple):
    """The fitted numbers of all modes.

    modes: by the name of the mode.
    queries: how many dev queries they were fitted on.
    """

    modes: Mapping[str, ModeCalibration]
    queries: int


def to_json(calibration: Calibration) -> str:
    """The calibration as a JSON document."""
    content = {
        "format_version": FORMAT_VERSION,
        "queries": calibration.queries,
        "modes": {
            mode: {
                "first": dict(zip(_FIRST, fitted.first, strict=True)),
                "further": dict(zip(_FURTHER, fitted.further, strict=True)),
            }
            for mode, fitted in calibration.modes.items()
        },
    }
    return json.dumps(content, indent=2) + "\n"


def read_calibration(path: Path) -> Calibration | None:
    """Read a calibration file; None if there is none, as in models of earlier versions.

    Raises InputError if it is not complete and valid, FormatVersionError if it has another format version,
    StorageError if it may not be read or no more files can be opened.
    """
    try:
        content = json.loads(read_file(path, links=True).decode())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(path, f"not readable as JSON ({error})") from error
    version = content.get("format_version") if isinstance(content, dict) else FORMAT_VERSION
    if version == 1:
        content = _of_version_1(path, content)
    elif version not in tuple(_SINCE):  # not in the dict: a list has no hash
        raise FormatVersionError(
            f"{path}: format version {str(version)[:40]!r}, this program reads {FORMAT_VERSION}; "
            "train again or use the program that wrote it"
        )
    _check_keys(path, "the file", content, ("format_version", "queries", "modes"))
    queries, modes = content["queries"], content["modes"]
    if type(queries) is not int or queries < 1:
        raise _damaged(path, f"queries must be a whole number from 1, not {str(queries)[:40]}")
    _check_keys(path, "modes", modes, _MODES)
    later = dict.fromkeys((name for since, name in _SINCE.items() if since > version), 0)
    return Calibration({mode: _mode(path, mode, modes[mode], later) for mode in _MODES}, queries)


def _of_version_1(path: Path, content: dict[str, Any]) -> dict[str, Any]:
    """The content of a file of format version 1 in the form of this version: one fit for all modes."""
    _check_keys(path, "the file", content, ("format_version", "first", "further", "queries"))
    parts = {name: content[name] for name in ("first", "further")}
    return {"format_version": 1, "queries": content["queries"], "modes": dict.fromkeys(_MODES, parts)}


def _mode(path: Path, mode: str, content: Any, later: Mapping[str, int]) -> ModeCalibration:
    _check_keys(path, mode, content, ("first", "further"))
    return ModeCalibration(
        _numbers(path, f"{mode}.first", content["first"], _FIRST, later),
        _numbers(path, f"{mode}.further", content["further"], _FURTHER, later),
    )


def _numbers(
    path: Path, part: str, content: Any, names: Sequence[str], later: Mapping[str, int]
) -> tuple[float, ...]:
    """The numbers with these names. later: those that the file lacks, with their values."""
    _check_keys(path, part, content, [name for name in names if name not in later])
    content = {**content, **later}
    for name in names:
        value = content[name]
        if type(value) not in (int, float) or not abs(value) <= _LARGEST:  # NaN is not either
            raise _damaged(
                path, f"{part}.{name} must be a number of at most {_LARGEST:.0f}, not {str(value)[:40]}"
            )
    return tuple(float(content[name]) for name in names)


def _check_keys(path: Path, part: str, content: Any, names: Sequence[str]) -> None:
    if not isinstance(content, dict):
        raise _damaged(path, f"{part} must be a JSON object")
    for problem, keys in (("unknown", content.keys() - set(names)), ("missing", set(names) - content.keys())):
        if keys:
            raise _damaged(path, f"{problem} key {', '.join(sorted(keys))[:200]} in {part}")


def _damaged(path: Path, problem: str) -> InputError:
    return InputError(f"{' '.join(problem.split())}; restore the model folder", path=path)
