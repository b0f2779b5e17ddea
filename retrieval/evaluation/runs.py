"""Runs as files that trec_eval reads: `query Q0 document rank score tag` on each line.

In: a `Run` or a path. Out: the file, or the `Run`. Knows nothing of judgements.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

import numpy as np

from index.disk.files import write_atomically
from index.errors import InputError
from retrieval.data.lines import numbered_lines, place

# Query id -> document id -> score, higher is better.
Run: TypeAlias = Mapping[str, Mapping[str, float]]


def ranking(scores: Mapping[str, float]) -> list[str]:
    """Document ids, best first, as trec_eval ranks them: by score in float32, then by id from high to low."""
    values = np.fromiter(scores.values(), np.float32, len(scores)).tolist()
    return [document for _, document in sorted(zip(values, scores, strict=True), reverse=True)]


def write_trec_run(path: Path | str, run: Run, tag: str = "peephole") -> None:
    """Write a run, whole or not at all; queries in the order given, documents from the best.

    Scores are written so that they read back as the same float32. Raises InputError for an id or a tag that
    is empty or holds white space, which the format cannot carry, or a score that is not finite, and
    StorageError if the file cannot be written.
    """
    path = Path(path)
    _check(tag, "the tag")
    content = "".join(line for query in run for line in _lines(query, run, tag)).encode()
    write_atomically(path, content)


def write_mode_runs(path: Path, runs: Mapping[str, Run]) -> None:
    """Write the run of each mode with the mode as tag; of several, each into a file with the mode in its name.

    Raises what `write_trec_run` raises.
    """
    for mode, run in runs.items():
        write_trec_run(path if len(runs) == 1 else path.with_suffix(f".{mode}{path.suffix}"), run, mode)


def _lines(query: str, run: Run, tag: str) -> list[str]:
    _check(query, "query id")
    lines = []
    for rank, document in enumerate(ranking(run[query]), 1):
        _check(document, "document id")
        score = np.float32(run[query][document])
        if not np.isfinite(score):
            raise InputError(
                f"the score of document {document!r} for query {query!r} is {score}; use finite ones"
            )
        lines.append(f"{query} Q0 {document} {rank} {score} {tag}\n")
    return lines


def _check(name: str, what: str) -> None:
    if len(name.split()) != 1 or name != name.strip():
        raise InputError(f"{what} {name!r} is empty or holds white space, which a TREC run cannot; rename it")


def read_trec_run(path: Path | str) -> dict[str, dict[str, float]]:
    """Read a run. Ranks are ignored, as trec_eval does: the scores decide.

    Raises InputError if there is no such file, it is empty, or a line has other than six columns, a score
    that is no finite number, or a document that its query has already.
    """
    run: dict[str, dict[str, float]] = {}
    for number, line in numbered_lines(path, kept=True):
        columns = line.split()
        if len(columns) != 6:
            raise InputError(
                f"{len(columns)} columns; a TREC run has six: query Q0 document rank score tag",
                path=place(path),
                line=number,
            )
        query, _, document, _, score, _ = columns
        found = run.setdefault(query, {})
        if document in found:
            raise InputError(
                f"document {document!r} occurs twice for query {query!r}; keep one",
                path=place(path),
                line=number,
            )
        found[document] = _score(score, path, number)
    if not run:
        raise InputError("holds no results; give a run with at least one", path=place(path))
    return run


def _score(text: str, path: Path | str, number: int) -> float:
    try:
        score = float(text)
    except ValueError:
        score = math.nan
    if not math.isfinite(score):
        raise InputError(f"score {text[:40]!r} is not a finite number", path=place(path), line=number)
    return score
