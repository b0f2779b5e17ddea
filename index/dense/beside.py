"""Tuning in a process of its own, while the caller writes the rest of a segment.

In: what `index.dense.tuning.tune` takes, with the file of the vectors. Out: what it returns. Knows nothing of
documents.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from index.beside import do_work, work_beside
from index.cores import cores
from index.dense.tuning import SMALL, Candidate, Goal, Tuning, tune
from index.dense.vectors import StoredVectors
from index.disk.files import storing
from index.values import Progress, Vectors


@contextmanager
def tuning_beside(
    file: Path,
    count: int,
    dimension: int,
    queries: Vectors | None,
    goal: Goal,
    path: Path,
    progress: Progress,
) -> Iterator[Callable[[], Tuning]]:
    """Tune during the block. Yields a function that waits for the result, and raises what `tune` raises.

    file: of the stored vectors.
    count: how many they are.
    dimension: their width.
    queries, goal, path, progress: as for `tune`.
    With one core or few vectors this process tunes, before the block; if the other one fails, when the
    caller waits.
    """

    def tuned() -> Tuning:
        return tune(StoredVectors(file, count, dimension), queries, goal, path, progress)

    if cores() == 1 or count < SMALL:
        tuning = tuned()
        yield lambda: tuning
        return
    asked = {
        "file": os.fspath(file),
        "count": count,
        "dimension": dimension,
        "queries": queries is not None,
        "goal": goal.to_mapping(),
        "path": os.fspath(path),
    }
    data = b"" if queries is None else np.ascontiguousarray(queries, "<f4").tobytes()
    with work_beside("index.dense.beside", asked, data, cores() - 1) as answer:

        def wait() -> Tuning:
            progress("tuning", 0, 1)
            found = answer()
            if found is None:
                _remove(path)
                return tuned()
            progress("tuning", 1, 1)
            tried = tuple(Candidate(**each) for each in found["tried"])
            return Tuning(tried, tried[found["chosen"]])

        yield wait


def _remove(path: Path) -> None:
    """Remove what a process that failed has left."""
    with storing(path):
        for left in (path, *path.parent.glob(f"{path.name}.*")):
            left.unlink(missing_ok=True)


def _tune(asked: Mapping[str, Any], data: bytes) -> dict[str, Any]:
    queries = np.frombuffer(data, "<f4").reshape(-1, asked["dimension"]) if asked["queries"] else None
    vectors = StoredVectors(Path(asked["file"]), asked["count"], asked["dimension"])
    tuning = tune(vectors, queries, Goal.of(asked["goal"]), Path(asked["path"]))
    return {"tried": [asdict(each) for each in tuning.tried], "chosen": tuning.tried.index(tuning.chosen)}


if __name__ == "__main__":
    do_work(_tune)
