"""Logs that nobody should learn from, and whether they are refused.

In: an index and its data set. Out: a row for each kind of log, with and without the data set: what was
decided and why. Every log is learnt from on a copy of the index. The last kind are people, for comparison.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.learning.people import (
    Behaviour,
    Visits,
    at_random,
    at_random_from_above,
    people,
    record,
    the_last,
    the_second,
)
from index.disk.folder import read_current
from index.disk.verify import verify
from retrieval.data.dataset import Dataset
from retrieval.learning.learn import learn
from retrieval.search.retriever import Retriever

KINDS: tuple[Behaviour, ...] = (at_random, at_random_from_above, the_last, the_second, people)
SESSIONS = 10.0


def poisoned(
    dataset: Dataset, index: Path, work: Path, note: Callable[[dict[str, Any]], None]
) -> list[dict[str, Any]]:
    """Learn from each kind of log, with and without the data set; a row each.

    dataset: the data set, whose training queries are searched.
    index: an index of its documents, which does not change.
    work: a folder for the copies.
    note: called with each row.
    """
    rows = []
    for kind in KINDS:
        log = work / f"{kind.__name__}.jsonl"
        with Retriever.open(index) as retriever:
            record(log, retriever, dataset, dataset.qrels("train"), Visits(kind, SESSIONS))
        for with_data in (False, True):
            rows.append(_row(kind, dataset if with_data else None, index, log, work / "copy"))
            note(rows[-1])
    return rows


def _row(kind: Behaviour, data: Dataset | None, index: Path, log: Path, copy: Path) -> dict[str, Any]:
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(index, copy)
    before, start = read_current(copy), time.perf_counter()
    outcome = learn(copy, log, data)
    return {
        "clicks": kind.__name__,
        "with_data": data is not None,
        "published": outcome.published,
        "reason": outcome.reason,
        "pairs": outcome.counts.click_pairs,
        "trained": outcome.training is not None,
        "live_unchanged": read_current(copy) == before,
        "sound": verify(copy) == [],
        "compared": [each.as_json() for each in outcome.compared],
        "took_s": round(time.perf_counter() - start),
    }
