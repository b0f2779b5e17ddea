"""The calibration of a model: from what is known of a query and a hit to the probability of relevance.

In: a JSON file beside the weights, or fitted numbers. Out: probabilities. Knows nothing of how the evidence
is found or how the numbers are fitted.

Two logistic regressions, one of the first hit of a ranking and one of those after it:

    probability = 1 / (1 + exp(-(intercept + sum of weight * evidence)))

The margins of a further hit are its cosine and BM25 minus those of the first one: a hit that looks good is
less likely relevant beside one that looks better. An unknown key, NaN or an infinite number in the file is an
error that names it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from index.disk.opening import read_file
from index.errors import FormatVersionError, InputError

FORMAT_VERSION = 1

# What is known of a query and a document, in this order; see `retrieval.search.evidence`.
EVIDENCE = ("cosine", "bm25", "share", "words")
MARGINS = ("cosine_margin", "bm25_margin")
_FIRST = ("intercept", *EVIDENCE)
_FURTHER = (*_FIRST, *MARGINS)
_HALF = np.float32(0.5)
_LARGEST = 1e6  # of any number; larger ones are of a damaged file and could overflow


class Calibration(NamedTuple):
    """The fitted numbers.

    first: of the first hit of a ranking: intercept and a weight for each of `EVIDENCE`.
    further: of the hits after it: the same, and a weight for each of `MARGINS`.
    queries: how many dev queries they were fitted on.
    """

    first: Sequence[float]
    further: Sequence[float]
    queries: int

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


def to_json(calibration: Calibration) -> str:
    """The calibration as a JSON document."""
    content = {
        "format_version": FORMAT_VERSION,
        "first": dict(zip(_FIRST, calibration.first, strict=True)),
        "further": dict(zip(_FURTHER, calibration.further, strict=True)),
        "queries": calibration.queries,
    }
    return json.dumps(content, indent=2) + "\n"


def read_calibration(path: Path) -> Calibration | None:
    """Read a calibration file; None if there is none, as beside models of earlier programs.

    Raises InputError if it is not complete and valid, FormatVersionError if it has another format version,
    StorageError if no more files can be opened.
    """
    try:
        content = json.loads(read_file(path, links=True).decode())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(path, f"not readable as JSON ({error})") from error
    version = content.get("format_version") if isinstance(content, dict) else FORMAT_VERSION
    if version != FORMAT_VERSION:
        raise FormatVersionError(
            f"{path}: format version {str(version)[:40]!r}, this program reads {FORMAT_VERSION}; "
            "train again or use the program that wrote it"
        )
    _check_keys(path, "the file", content, ("format_version", "first", "further", "queries"))
    queries = content["queries"]
    if type(queries) is not int or queries < 1:
        raise _damaged(path, f"queries must be a whole number from 1, not {str(queries)[:40]}")
    first = _numbers(path, "first", content["first"], _FIRST)
    further = _numbers(path, "further", content["further"], _FURTHER)
    return Calibration(first, further, queries)


def _numbers(path: Path, part: str, content: Any, names: Sequence[str]) -> tuple[float, ...]:
    _check_keys(path, part, content, names)
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
