"""The calibration of a model: from what is known of a query and a document to the probability that it answers.

In: a JSON file beside the weights, or fitted numbers. Out: probabilities. Knows nothing of how the evidence is
found or how the numbers are fitted.

    probability = 1 / (1 + exp(-(intercept + sum of weight * evidence)))

An unknown key, NaN or an infinite number in the file is an error that names it.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index.disk.opening import read_file
from index.errors import FormatVersionError, InputError

FORMAT_VERSION = 1

# What is known of a query and a document, in the order in which it is weighed; see retrieval/search/evidence.py.
EVIDENCE = ("cosine", "bm25", "share", "unknown", "words")
_LARGEST = 1e6  # of any weight; larger ones are of a damaged file and could overflow


@dataclass(frozen=True)
class Calibration:
    """The fitted numbers.

    intercept: the log odds without evidence.
    weights: one for each of `EVIDENCE`.
    queries: how many dev queries they were fitted on.
    """

    intercept: float
    weights: tuple[float, ...]
    queries: int

    def probabilities(self, evidence: NDArray[np.float32]) -> NDArray[np.float32]:
        """The probability that each document is relevant, float32 (...). evidence: float32 (..., EVIDENCE)."""
        odds = evidence @ np.array(self.weights, np.float32) + np.float32(self.intercept)
        # By tanh, which does not overflow.
        probabilities: NDArray[np.float32] = np.float32(0.5) * np.tanh(odds / 2) + np.float32(0.5)
        return probabilities


def to_json(calibration: Calibration) -> str:
    """The calibration as a JSON document."""
    content = {
        "format_version": FORMAT_VERSION,
        "intercept": calibration.intercept,
        "weights": dict(zip(EVIDENCE, calibration.weights, strict=True)),
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
    if not isinstance(content, dict):
        raise _damaged(path, "must be a JSON object")
    version = content.get("format_version")
    if version != FORMAT_VERSION:
        raise FormatVersionError(
            f"{path}: format version {version!r}, this program reads {FORMAT_VERSION}; "
            "train again or use the program that wrote it"
        )
    _check_keys(path, "key", content, ("format_version", "intercept", "weights", "queries"))
    weights, queries = content["weights"], content["queries"]
    if not isinstance(weights, dict):
        raise _damaged(path, "weights must be a JSON object")
    _check_keys(path, "weight", weights, EVIDENCE)
    for name, value in {"intercept": content["intercept"], **weights}.items():
        if type(value) not in (int, float) or not abs(value) <= _LARGEST:  # NaN is not either
            raise _damaged(path, f"{name} must be a number of at most {_LARGEST:.0f}, not {str(value)[:40]}")
    if type(queries) is not int or queries < 1:
        raise _damaged(path, f"queries must be a whole number from 1, not {str(queries)[:40]}")
    return Calibration(
        float(content["intercept"]), tuple(float(weights[name]) for name in EVIDENCE), queries
    )


def _check_keys(path: Path, kind: str, content: dict[str, Any], names: tuple[str, ...]) -> None:
    for problem, keys in (("unknown", content.keys() - set(names)), ("missing", set(names) - content.keys())):
        if keys:
            raise _damaged(path, f"{problem} {kind} {', '.join(sorted(keys))[:200]}")


def _damaged(path: Path, problem: str) -> InputError:
    return InputError(f"{' '.join(problem.split())}; restore the model folder", path=path)
