"""Tuning in a process of its own, while the caller writes the rest of a segment.

In: what `index.dense.tuning.tune` takes, with the file of the vectors. Out: what it returns. Python writes
postings and words while FAISS tunes, so on two cores both together take hardly longer than the longer of the
two alone. A thread would not do: it would wait for Python's lock. Knows nothing of documents.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO, cast

import numpy as np

from index.cores import cores
from index.dense.tuning import SMALL, Candidate, Goal, Tuning, tune
from index.dense.vectors import StoredVectors
from index.disk.files import storing
from index.values import Progress, Vectors

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


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
    With one core or few vectors, or if no process can be started, this one tunes, before the block.
    """

    def tuned() -> Tuning:
        return tune(StoredVectors(file, count, dimension), queries, goal, path, progress)

    process = _started() if cores() > 1 and count >= SMALL else None
    if process is None:
        tuning = tuned()
        yield lambda: tuning
        return
    with process:
        try:
            asked = {
                "file": os.fspath(file),
                "count": count,
                "dimension": dimension,
                "queries": None if queries is None else len(queries),
                "goal": goal.to_mapping(),
                "path": os.fspath(path),
            }
            with suppress(OSError):  # it has died
                to_process = cast(IO[bytes], process.stdin)
                to_process.write(json.dumps(asked).encode() + b"\n")
                to_process.write(b"" if queries is None else np.ascontiguousarray(queries, "<f4").data)
                to_process.flush()
            yield lambda: _answer(process, path, progress) or tuned()
        finally:
            process.kill()
            with suppress(OSError):  # what it had not read
                cast(IO[bytes], process.stdin).close()


def _started() -> subprocess.Popen[bytes] | None:
    """A process that tunes; None if the system starts no more."""
    with suppress(OSError):
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "index.dense.beside"],
            env=os.environ | dict.fromkeys(_THREADS, str(cores() - 1)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # what fails there is done again here, where errors show
        )
    return None


def _answer(process: subprocess.Popen[bytes], path: Path, progress: Progress) -> Tuning | None:
    """What the process found; None if it failed, which leaves no files."""
    progress("tuning", 0, 1)
    answer = cast(IO[bytes], process.stdout).read()
    progress("tuning", 1, 1)
    if answer:
        tried = tuple(Candidate(**each) for each in json.loads(answer)["tried"])
        return Tuning(tried, tried[json.loads(answer)["chosen"]])
    process.kill()
    process.wait()
    with storing(path):
        for left in (path, *path.parent.glob(f"{path.name}.*")):
            left.unlink(missing_ok=True)
    return None


def main() -> None:
    """Tune as standard input says, and write the result to standard output."""
    # Ctrl-C reaches every process of the terminal; the parent alone handles it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    source = sys.stdin.buffer
    asked = json.loads(source.readline())
    queries = None
    if asked["queries"] is not None:
        size = 4 * asked["queries"] * asked["dimension"]
        queries = np.frombuffer(source.read(size), "<f4").reshape(-1, asked["dimension"])
    threading.Thread(target=_end_with, args=(source,), daemon=True).start()
    vectors = StoredVectors(Path(asked["file"]), asked["count"], asked["dimension"])
    tuning = tune(vectors, queries, Goal.of(asked["goal"]), Path(asked["path"]))
    answer = {"tried": [asdict(each) for each in tuning.tried], "chosen": tuning.tried.index(tuning.chosen)}
    sys.stdout.buffer.write(json.dumps(answer).encode())
    sys.stdout.buffer.flush()
    os._exit(0)  # the waiting thread holds standard input


def _end_with(source: IO[bytes]) -> None:
    """End this process with its input, which ends even if the parent is killed."""
    source.read()
    os._exit(1)


if __name__ == "__main__":
    main()
