"""What every test shares: one thread, because the arrays are tiny, and a writer of small data folders."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")

# Split -> query id -> document id -> grade.
Judged = Mapping[str, Mapping[str, Mapping[str, int]]]
WriteBeir = Callable[[Path, Mapping[str, str], Mapping[str, str], Judged], Path]


def _write_beir(
    folder: Path, documents: Mapping[str, str], queries: Mapping[str, str], qrels: Judged
) -> Path:
    (folder / "qrels").mkdir(parents=True)
    for name, texts in (("corpus", documents), ("queries", queries)):
        lines = [json.dumps({"_id": id_, "text": text}) + "\n" for id_, text in texts.items()]
        (folder / f"{name}.jsonl").write_text("".join(lines))
    for split, judged in qrels.items():
        rows = [f"{q}\t{d}\t{grade}\n" for q, grades in judged.items() for d, grade in grades.items()]
        (folder / "qrels" / f"{split}.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(rows))
    return folder


@pytest.fixture(scope="session")
def write_beir() -> WriteBeir:
    """Writes a BEIR folder: texts by id, and the judgements of each split."""
    return _write_beir
