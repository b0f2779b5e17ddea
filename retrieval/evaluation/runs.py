"""TREC runs and their files, which trec_eval reads: `query Q0 document rank score tag` on each line.

In: a `Run` or a path. Out: the file, or the `Run`. Knows nothing of qrels.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TypeAlias

import numpy as np

from index.disk.output import write_output
from index.errors import InputError
from retrieval.data.lines import Place, numbered_lines

# Rankings as TREC has them: query id -> document id -> score; a higher score is better.
Run: TypeAlias = Mapping[str, Mapping[str, float]]


def ranking(scores: Mapping[str, float]) -> list[str]:
    """Document ids, best first, as trec_eval ranks them: by score in float32, then by id in descending order.

    scores: document id to score, of one query.
    """
    values = np.fromiter(scores.values(), np.float32, len(scores)).tolist()
    return [document_id for _, document_id in sorted(zip(values, scores, strict=True), reverse=True)]


def condensed(run: Run, looked_at: Mapping[str, Collection[str]]) -> Run:
    """The run without documents that nobody looked at; the others keep their order (Sakai, SIGIR 2007).

    run: scores by query id and document id.
    looked_at: the documents that count, by query id. For a query that it lacks, all documents count.
    """
    return {
        query: scores
        if query not in looked_at
        else {document: score for document, score in scores.items() if document in looked_at[query]}
        for query, scores in run.items()
    }


def write_trec_run(path: Path | str, run: Run, tag: str = "peephole", *, first_rank: int = 1) -> None:
    """Write a run completely or not at all: queries in the order given, documents from best to worst.

    path: file to write.
    run: scores by query id and document id; they read back as the same float32.
    tag: name of the system, the last column of every line.
    first_rank: of the best document of each query.
    Raises InputError for a folder, for an id or tag that is empty or holds white space, and for a score that
    is not finite, which the format cannot hold; StorageError if the file cannot be written.
    """
    _check(tag, "the tag")
    content = "".join(line for query_id in run for line in _lines(query_id, run, tag, first_rank)).encode()
    write_output(Path(path), content)


def write_mode_runs(path: Path, runs: Mapping[str, Run]) -> list[Path]:
    """Write the run of each mode, with the mode as its tag; returns the files.

    path: the file of a single run; of several, each gets the mode before its suffix, as in run.dense.trec.
    runs: the run of each mode.
    Raises what `write_trec_run` raises.
    """
    files = [path if len(runs) == 1 else path.with_suffix(f".{mode}{path.suffix}") for mode in runs]
    for file, (mode, run) in zip(files, runs.items(), strict=True):
        write_trec_run(file, run, mode)
    return files


def _lines(query_id: str, run: Run, tag: str, first_rank: int) -> list[str]:
    _check(query_id, "query id")
    lines = []
    for rank, document_id in enumerate(ranking(run[query_id]), first_rank):
        _check(document_id, "document id")
        score = np.float32(run[query_id][document_id])
        if not np.isfinite(score):
            raise InputError(
                f"the score of document {document_id!r} for query {query_id!r} is {score}; use finite ones"
            )
        lines.append(f"{query_id} Q0 {document_id} {rank} {score} {tag}\n")
    return lines


def _check(text: str, what: str) -> None:
    if len(text.split()) != 1 or text != text.strip():
        raise InputError(f"{what} {text!r} is empty or holds white space, which a TREC run cannot; rename it")


def read_trec_run(path: Path | str) -> dict[str, dict[str, float]]:
    """Read a run. The scores decide the order; ranks are ignored, as trec_eval ignores them.

    Raises InputError if the file is missing or empty, and for a line that has not six columns, a score that
    is no finite number, or a document that occurs twice for its query.
    """
    run: dict[str, dict[str, float]] = {}
    for place, line in numbered_lines(path, kept=True):
        columns = line.split()
        if len(columns) != 6:
            raise place.error(f"{len(columns)} columns; a TREC run has six: query Q0 document rank score tag")
        query_id, _, document_id, _, score, _ = columns
        scores = run.setdefault(query_id, {})
        if document_id in scores:
            raise place.error(f"document {document_id!r} occurs twice for query {query_id!r}; keep one")
        scores[document_id] = _score(place, score)
    if not run:
        raise Place(path).error("holds no results; give a run with at least one")
    return run


def _score(place: Place, text: str) -> float:
    try:
        score = float(text)
    except ValueError:
        score = math.nan
    if not math.isfinite(score):
        raise place.error(f"score {text[:40]!r} is not a finite number")
    return score
