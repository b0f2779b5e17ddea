"""A data set from a click log: its graded pairs, divided into train, dev and test.

In: a log and the documents that it is about. Out: a BEIR folder. Queries go into the splits by a hash of
their text, 80 : 10 : 10, so that a query has the same split in every log. Few queries are all for training.
Knows nothing of models or indexes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from index.documents.store import Document
from index.errors import InputError
from index.values import Progress, no_progress
from retrieval.data.beir import Content, Mark, check_beir_output, write_beir
from retrieval.data.clicks.grading import LEAST_CLICKS, GradedPairs, grade_pairs
from retrieval.data.clicks.log import ClickLog, ReadLog, query_key
from retrieval.data.clicks.propensity import Propensities, estimate_propensities
from retrieval.data.clicks.reading import read_click_log
from retrieval.data.columns.names import USUAL, ColumnNames
from retrieval.data.dataset import open_dataset
from retrieval.data.queries import Qrels
from retrieval.data.splits import MIN_QUERIES_TO_SPLIT, SPLITS, split_of_id

_MARK = Mark("clicks.json", "peephole corpus clicks")


@dataclass(frozen=True)
class ClickCounts:
    """What a log held, and what became of it."""

    rows: int
    rows_of_unknown_documents: int  # passed over
    queries: int
    clicks: int
    impressions: int | None  # None if the log does not tell
    average_rate: float  # clicks over examined impressions
    documents: int  # of the corpus
    pairs: int  # kept
    pairs_by_grade: dict[str, int]
    queries_by_split: dict[str, int]  # kept
    queries_with_few_clicks: int  # left out: no document has enough clicks
    queries_without_preference: int  # left out: no document is clicked clearly more than the average
    propensity_by_rank: dict[str, float]  # empty if no correction was possible
    not_corrected_because: str  # "" if it was


@dataclass(frozen=True)
class ClickData:
    """A data set in memory, and how it came to be."""

    content: Content
    counts: ClickCounts


def write_click_corpus(
    log: Path,
    corpus: Path | str,
    output: Path,
    *,
    least_clicks: int = LEAST_CLICKS,
    missing_ok: bool = False,
    columns: ColumnNames = USUAL,
    progress: Progress = no_progress,
) -> ClickCounts:
    """Write the graded pairs of a click log and the corpus as a BEIR folder, whole or not at all.

    log, corpus, least_clicks, missing_ok, columns, progress: as for `read_click_data`.
    output: the folder to write; one that this function wrote before is replaced.
    Raises what `read_click_data` and `write_beir` raise.
    """
    check_beir_output(output, _MARK)
    data = read_click_data(
        log, corpus, least_clicks=least_clicks, missing_ok=missing_ok, columns=columns, progress=progress
    )
    write_beir(output, data.content, _MARK, asdict(data.counts))
    return data.counts


def read_click_data(
    log: Path,
    corpus: Path | str,
    *,
    least_clicks: int = LEAST_CLICKS,
    missing_ok: bool = False,
    columns: ColumnNames = USUAL,
    progress: Progress = no_progress,
) -> ClickData:
    """Read a log and the documents that it is about, and grade its pairs.

    log: the log, see `retrieval.data.clicks.reading`.
    corpus: what `open_dataset` opens: documents, or a data set with documents.
    least_clicks: a query and a document with fewer are no pair.
    missing_ok: pass over rows of documents that the corpus lacks.
    columns: role to the columns that the user names, for a corpus that is a table of pairs.
    progress: called as the documents are read and when the log's turn has come.
    Raises what `open_dataset`, its documents and `read_click_log` raise, and InputError if no pair is left.
    """
    documents = []
    for document in open_dataset(corpus, columns).documents():
        documents.append(document)
        progress("documents", len(documents), None)
    progress("clicks", 0, None)
    read = read_click_log(log, {document.id for document in documents}, missing_ok=missing_ok)
    propensities = estimate_propensities(read.log)
    pairs = grade_pairs(read.log, propensities, least_clicks=least_clicks)
    if not len(pairs):
        raise InputError(
            f"no document has {least_clicks} clicks and clearly more of them than the average; "
            "give a longer log, or lower --least-clicks",
            path=log,
        )
    queries, qrels = split_pairs(read.log, pairs)
    counts = _counts(read, documents, propensities, pairs, qrels)
    return ClickData(Content(documents, queries, qrels), counts)


def split_pairs(log: ClickLog, pairs: GradedPairs) -> tuple[dict[str, str], dict[str, Qrels]]:
    """The texts of the queries by id, a hash of the text, and the qrels of each split that has any."""
    ids = {row: click_query_id(log.queries[row]) for row in np.unique(pairs.query).tolist()}
    found: dict[str, Qrels] = {split: {} for split in SPLITS}
    for row, document, grade in zip(
        *(a.tolist() for a in (pairs.query, pairs.document, pairs.grade)), strict=True
    ):
        split = split_of_id(ids[row]) if len(ids) >= MIN_QUERIES_TO_SPLIT else "train"
        found[split].setdefault(ids[row], {})[log.documents[document]] = grade
    queries = {query_id: log.queries[row] for row, query_id in ids.items()}
    return queries, {split: qrels for split, qrels in found.items() if qrels}


def click_query_id(text: str) -> str:
    """The id of a query of a log: a hash of its text, but for case and white space."""
    return hashlib.sha256(query_key(text).encode(errors="replace")).hexdigest()[:16]


def _counts(
    read: ReadLog,
    documents: Sequence[Document],
    propensities: Propensities,
    pairs: GradedPairs,
    qrels: dict[str, Qrels],
) -> ClickCounts:
    log, known = read.log, bool(read.log.impressions.all())
    grades, sizes = np.unique(pairs.grade, return_counts=True)
    return ClickCounts(
        rows=read.rows,
        rows_of_unknown_documents=read.rows_passed_over,
        queries=len(log.queries),
        clicks=int(log.clicks.sum()),
        impressions=int(log.impressions.sum()) if known else None,
        average_rate=round(pairs.average, 4),
        documents=len(documents),
        pairs=len(pairs),
        pairs_by_grade=dict(zip(map(str, grades.tolist()), sizes.tolist(), strict=True)),
        queries_by_split={split: len(qrels.get(split, ())) for split in SPLITS},
        queries_with_few_clicks=pairs.queries_with_few_clicks,
        queries_without_preference=pairs.queries_without_preference,
        propensity_by_rank=propensities.by_rank(),
        not_corrected_because=propensities.why_equal,
    )
